// Command ferretdb speaks the MongoDB protocol in front of PostgreSQL, with FerretDB as a library.
//
// It is configured by its environment. Clients log in with a PostgreSQL user's name and password
// (mechanism PLAIN), so the process itself holds no secret.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

const (
	// Address to listen on, host:port.
	listenVariable = "FERRETDB_LISTEN"
	// PostgreSQL database that stores the documents, as a URL without user and password.
	postgresVariable = "FERRETDB_POSTGRESQL_URL"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "ferretdb:", err)
		os.Exit(1)
	}
}

func run() error {
	listen, err := required(listenVariable)
	if err != nil {
		return err
	}
	postgres, err := required(postgresVariable)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:      ferretdb.ListenerConfig{TCP: listen},
		Logger:        slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Handler:       "postgresql",
		PostgreSQLURL: postgres,
	})
	if err != nil {
		return err
	}
	return server.Run(ctx)
}

func required(variable string) (string, error) {
	value := os.Getenv(variable)
	if value == "" {
		return "", fmt.Errorf("%s is not set", variable)
	}
	return value, nil
}
