//! Sends believable mobile traffic to a producer, then stays up to be asked what became of it.

use actix_web::{App, HttpServer, web::Data};
use chrono::{DateTime, Utc};
use clap::Parser;
use contract::port;
use generator::{delivery, http, phase::Phase, tally::Tally, traffic};
use std::process::ExitCode;
use std::time::Duration;

/// Believable mobile traffic from a seed.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Base URL of the producer, for example http://mobileforge-producer.demo.svc:8000
    #[arg(long)]
    target: String,
    /// The same seed makes the same records
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// NAME:DURATION@UPLOADS_PER_SECOND[xRECORDS]; a duration of 0s waits for all answers
    #[arg(long, value_delimiter = ',', required = true)]
    phases: Vec<Phase>,
    /// Shares of the sources among the uploads, for example sms=4,events=3
    #[arg(long)]
    mix: Option<traffic::Mix>,
    /// Records happened in the two days before; the present by default
    #[arg(long)]
    now: Option<DateTime<Utc>>,
    /// Most uploads without an answer
    #[arg(long, default_value_t = 256)]
    concurrency: usize,
    /// Seconds to wait for an answer
    #[arg(long, default_value_t = 20)]
    timeout: u64,
    /// Seconds to retry unanswered uploads after the last phase
    #[arg(long, default_value_t = 120)]
    patience: u64,
    /// Port of /progress and /receipts
    #[arg(long, default_value_t = port::GENERATOR)]
    port: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    runtime::telemetry::init("generator");
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the generator stops");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot make the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    #[error("cannot serve HTTP on port {port}: {cause}")]
    Serve { port: u16, cause: std::io::Error },
}

async fn run(arguments: Arguments) -> Result<(), Error> {
    let stop = runtime::shutdown::token();
    let health = runtime::health::Health::new(&[]);
    let tally = Data::new(Tally::default());

    let serve = |cause| Error::Serve {
        port: arguments.port,
        cause,
    };
    let served = tally.clone();
    let server = HttpServer::new(move || {
        App::new()
            .configure(runtime::http::operations(health.clone()))
            .configure(http::routes(served.clone()))
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(2)
    .bind(("0.0.0.0", arguments.port))
    .map_err(serve)?
    .run();
    let handle = server.handle();
    let server = tokio::spawn(server);

    let traffic = traffic::Traffic::new(
        arguments.seed,
        arguments.now.unwrap_or_else(Utc::now),
        arguments.mix.unwrap_or_default(),
    );
    let settings = delivery::Settings {
        target: arguments.target,
        concurrency: arguments.concurrency,
        timeout: Duration::from_secs(arguments.timeout),
        patience: Duration::from_secs(arguments.patience),
    };
    let delivery = delivery::Delivery::new(settings, tally.clone().into_inner())?;
    delivery.run(traffic, arguments.phases, stop.clone()).await;
    let progress = tally.progress();
    tracing::info!(
        sent = progress.total.sent,
        accepted = progress.total.accepted,
        refused = progress.total.refused,
        unknown = progress.total.unknown,
        records = progress.total.records,
        "all phases are over"
    );

    stop.cancelled().await;
    handle.stop(true).await;
    match server.await {
        Ok(ended) => ended.map_err(serve),
        Err(_) => Ok(()),
    }
}
