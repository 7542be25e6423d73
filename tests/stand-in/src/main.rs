//! An image as a vendor would bring it: its own port, no probes, root, and a file system that it writes to. It says
//! what it found and answers every connection with nothing.

use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use stand_in::{PORT, Report};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let report = Report {
        user: std::fs::metadata("/proc/self").context("read the own user")?.uid(),
        writes: std::fs::write("/written", "x").is_ok(),
        environment: std::env::vars().collect(),
    };
    let address = (Ipv4Addr::UNSPECIFIED, PORT);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {PORT}"))?;
    // The first process of a container gets no signal that it does not ask for.
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    println!("{}", serde_json::to_string(&report).context("write the report")?);
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            connection = listener.accept() => drop(connection),
        }
    }
}
