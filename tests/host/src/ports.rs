//! Free TCP ports.

use std::io::ErrorKind;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

const PORTS_TRIED: u16 = 500;

/// A port of `address` on which nothing listens now, as the kernel chooses it.
///
/// Another program can take it before it is used: bind soon, and keep the number only once that worked.
pub fn free(address: IpAddr) -> Result<u16> {
    let listener = TcpListener::bind((address, 0)).with_context(|| format!("find a free port on {address}"))?;
    Ok(listener.local_addr().context("read the port that was found")?.port())
}

/// The first port of `address` from `first` on which nothing listens now.
///
/// Below the range from which the kernel takes ports for outgoing connections (32768 on Linux), a port stays free
/// for a service that is stopped and started again.
pub fn free_from(address: IpAddr, first: u16) -> Result<u16> {
    for port in first..=first.saturating_add(PORTS_TRIED) {
        match TcpListener::bind((address, port)) {
            Ok(_) => return Ok(port),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(error).with_context(|| format!("listen on {address}:{port}")),
        }
    }
    bail!(
        "every port of {address} from {first} to {} is in use",
        first.saturating_add(PORTS_TRIED)
    )
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
        assert!(free_from(address, port).unwrap() > port, "the port itself is taken");
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        let error = free_from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9092).unwrap_err();
        assert_eq!(error.to_string(), "listen on 192.0.2.1:9092");
    }
}
