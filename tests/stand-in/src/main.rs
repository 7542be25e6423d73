//! An image as a vendor would bring it: its own port, no probes, root, and a file system that it writes to. It says
//! what it found and answers every connection with nothing.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use stand_in::{PORT, Report};

fn main() -> Result<()> {
    let report = Report {
        user: std::fs::metadata("/proc/self").context("read the own user")?.uid(),
        writes: std::fs::write("/written", "x").is_ok(),
        environment: std::env::vars().collect(),
    };
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).with_context(|| format!("listen on {PORT}"))?;
    println!("{}", serde_json::to_string(&report).context("write the report")?);
    for connection in listener.incoming() {
        drop(connection);
    }
    Ok(())
}
