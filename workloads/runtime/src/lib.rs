//! What every workload shares, so that configuration, health, metrics and shutdown are the same in all of them.
//!
//! - [`env`](mod@env): configuration from environment variables, with errors that name the variable
//! - [`kafka`]: client settings for the brokers that the environment names
//! - [`postgres`]: the PostgreSQL server that the environment names
//! - [`health`]: which parts of a workload are ready, and why not
//! - [`metrics`]: Prometheus collectors, registered once
//! - [`http`]: `/healthz`, `/ready`, `/metrics` and the measuring of requests
//! - [`shutdown`]: SIGTERM and SIGINT as a cancellation token
//! - [`telemetry`]: JSON logs
//! - [`tls`]: the one TLS implementation of the process

pub mod env;
pub mod health;
pub mod http;
pub mod kafka;
pub mod metrics;
pub mod postgres;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
