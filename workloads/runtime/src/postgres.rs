//! How to reach PostgreSQL, by the environment that every workload with it gets.

use crate::env::{Env, EnvError};
use contract::env;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::fmt;

/// A server, and who this workload is to it.
#[derive(Clone)]
pub struct Server {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// Encryption, by libpq's names of the modes.
    pub tls_mode: PgSslMode,
    /// Certificates of the authorities that may sign the server's, in PEM; the public ones when `None`.
    pub tls_authorities: Option<String>,
    /// Most connections of this process.
    pub max_connections: u32,
}

impl Server {
    /// Reads the environment; the error names the variable.
    pub fn from_env(environment: &Env) -> Result<Server, EnvError> {
        let max_connections = environment.parsed_or(env::POSTGRES_MAX_POOL_SIZE, 8)?;
        if max_connections == 0 {
            return Err(EnvError::Wrong {
                name: env::POSTGRES_MAX_POOL_SIZE.to_owned(),
                problem: "must be at least 1".to_owned(),
            });
        }
        Ok(Server {
            host: environment.required(env::POSTGRES_HOST)?,
            port: environment.parsed_or(env::POSTGRES_PORT, 5432)?,
            username: environment.required(env::POSTGRES_USERNAME)?,
            password: environment.required(env::POSTGRES_PASSWORD)?,
            tls_mode: environment.parsed_or(env::POSTGRES_TLS_MODE, PgSslMode::Prefer)?,
            tls_authorities: environment.optional(env::POSTGRES_TLS_CA_PEM),
            max_connections,
        })
    }

    /// How to connect to one of the server's databases; `application` is the name that the server shows.
    pub fn options(&self, database: &str, application: &str) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass()
            .host(&self.host)
            .port(self.port)
            .database(database)
            .username(&self.username)
            .password(&self.password)
            .application_name(application)
            .ssl_mode(self.tls_mode);
        match &self.tls_authorities {
            Some(authorities) => options.ssl_root_cert_from_pem(authorities.clone().into_bytes()),
            None => options,
        }
    }
}

/// Where, and never the password.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}:{}", self.host, self.port)
    }
}

/// The name as SQL takes it, whatever it contains.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(change: (&str, &str)) -> Result<Server, EnvError> {
        let base = [
            (env::POSTGRES_HOST, "postgres"),
            (env::POSTGRES_USERNAME, "user"),
            (env::POSTGRES_PASSWORD, "secret"),
        ];
        Server::from_env(&Env::from_pairs(base.into_iter().chain([change])))
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let server = server(("OTHER", "1")).unwrap();
        assert_eq!((server.port, server.max_connections), (5432, 8));
        assert!(matches!(server.tls_mode, PgSslMode::Prefer));
        let shown = format!("{server:?}");
        assert_eq!(shown, "postgres://postgres:5432");
    }

    #[test]
    fn an_error_names_the_variable() {
        let error = server((env::POSTGRES_MAX_POOL_SIZE, "0")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "environment variable DI_POSTGRES_MAX_POOL_SIZE is wrong: must be at least 1"
        );
        let error = server((env::POSTGRES_TLS_MODE, "always")).unwrap_err();
        assert!(error.to_string().contains(env::POSTGRES_TLS_MODE), "{error}");
    }

    #[test]
    fn a_name_cannot_end_its_quotes() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
