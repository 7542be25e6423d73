//! A relay between clients and a service, where their connections can be cut.

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Everything passes.
    Open,
    /// Connections break, and new ones break at once.
    Broken,
    /// Nothing moves in either direction; all of it comes later.
    Stalled,
    /// Requests arrive, and their answers are lost; then the connections break.
    Deaf,
}

/// Forwards connections until it is dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    way: watch::Sender<Way>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Relay {
    /// Forwards from `address` to `service`.
    pub(crate) async fn between(address: SocketAddr, service: SocketAddr) -> Result<Relay> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("relay from {address} to {service}"))?;
        let (way, ways) = watch::channel(Way::Open);
        let address = listener.local_addr().context("read the relay's address")?;
        let accepting = tokio::spawn(async move {
            loop {
                // Not to be had for a moment, where the process has too many files open.
                if let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(forward(client, service, ways.clone()));
                }
            }
        });
        Ok(Relay {
            address,
            way,
            accepting,
        })
    }

    /// Forwards from a port of the loopback device to `service`.
    pub(crate) async fn before(service: SocketAddr) -> Result<Relay> {
        Relay::between((Ipv4Addr::LOCALHOST, 0).into(), service).await
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens to connections, those that are open included.
    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set(Way::Broken);
    }
}

/// One connection, to its end.
async fn forward(client: TcpStream, service: SocketAddr, ways: watch::Receiver<Way>) {
    let forwarding = async {
        let mut connecting = ways.clone();
        // As a network that is away: the connection is not refused, it does not come about.
        if connecting.wait_for(|way| *way != Way::Stalled).await.is_err() {
            return;
        }
        let Ok(server) = TcpStream::connect(service).await else {
            return;
        };
        // Small answers matter here, and the relay is to be no slower than the wire.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let lost = AtomicBool::new(false);
        tokio::select! {
            () = pump(from_client, to_server, ways.clone(), None) => {}
            () = pump(from_server, to_client, ways.clone(), Some(&lost)) => {}
            () = heard_again(ways.clone(), &lost) => {}
        }
    };
    let mut broken = ways.clone();
    tokio::select! {
        _ = broken.wait_for(|way| *way == Way::Broken) => {}
        () = forwarding => {}
    }
}

/// Ends when answers would pass again after some were lost: the rest of them would make no sense.
async fn heard_again(mut ways: watch::Receiver<Way>, lost: &AtomicBool) {
    while ways.changed().await.is_ok() {
        if *ways.borrow_and_update() != Way::Deaf && lost.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Copies one direction until it ends. `answers` is given for the one from the service, and notes that some were lost.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut ways: watch::Receiver<Way>,
    answers: Option<&AtomicBool>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if ways.wait_for(|way| *way != Way::Stalled).await.is_err() {
            return;
        }
        let way = *ways.borrow();
        match answers {
            Some(lost) if way == Way::Deaf => lost.store(true, Ordering::Relaxed),
            _ => {
                if to.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
