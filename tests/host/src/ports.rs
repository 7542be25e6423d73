//! Free TCP ports.

use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// A port of `address` on which nothing listens now, as the kernel chooses it.
///
/// Another program can take it before it is used: bind soon, and keep the number only once that worked.
pub fn free(address: IpAddr) -> Result<u16> {
    let listener = TcpListener::bind((address, 0)).with_context(|| format!("find a free port on {address}"))?;
    Ok(listener.local_addr().context("read the port that was found")?.port())
}

/// Whether something accepts connections at `address` and `port`.
pub fn is_open(address: IpAddr, port: u16) -> bool {
    TcpStream::connect_timeout(&(address, port).into(), Duration::from_secs(1)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_free_port_can_be_bound() {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let port = free(address).unwrap();
        let _listener = TcpListener::bind((address, port)).unwrap();
        assert!(is_open(address, port));
    }
}
