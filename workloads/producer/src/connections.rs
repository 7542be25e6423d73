//! Connections of clients that take their time. The HTTP server bounds the head of a connection's first request, and
//! the intake the arrival of bodies; what is left are later heads that come byte by byte, and answers that nobody
//! reads. Whoever keeps a connection with either for too long loses it.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{Extensions, ServiceRequest, ServiceResponse},
    middleware::Next,
    rt::net::TcpStream,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    any::Any,
    net::Shutdown,
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};
use tokio::time::interval;

/// Longest time without a request under way: longer than any connection is kept for another request, and enough for
/// the longest answer over a slow line.
const QUIET: Duration = Duration::from_secs(20);
/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(2);
/// Files that are open beside those of clients.
const OTHER_FILES: u64 = 256;
/// Files of a client: its connection, and the handle here.
const FILES: u64 = 2;

/// The connections of this process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    open: Arc<Mutex<Vec<Weak<Connection>>>>,
}

/// A connection, and what its client is at.
#[derive(Debug)]
struct Connection {
    /// The same socket once more, by which it can be cut off.
    socket: std::net::TcpStream,
    activity: Mutex<Activity>,
}

#[derive(Debug)]
struct Activity {
    /// Requests that are being answered.
    under_way: usize,
    /// Since when there is none.
    quiet_since: Instant,
}

/// A request that is being answered.
struct UnderWay(Arc<Connection>);

impl Connections {
    /// To be called with each new connection.
    pub fn opened(&self, stream: &dyn Any, extensions: &mut Extensions) {
        let Some(stream) = stream.downcast_ref::<TcpStream>() else {
            return;
        };
        let socket = match stream.as_fd().try_clone_to_owned() {
            Ok(socket) => socket.into(),
            Err(error) => {
                tracing::warn!(%error, "no file is left to watch a connection by");
                return;
            }
        };
        let connection = Arc::new(Connection {
            socket,
            activity: Mutex::new(Activity {
                under_way: 0,
                quiet_since: Instant::now(),
            }),
        });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push(Arc::downgrade(&connection));
        drop(open);
        extensions.insert(connection);
    }

    /// The middleware's body that notes what a client is at.
    pub async fn watch<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
        let under_way = request.conn_data::<Arc<Connection>>().map(UnderWay::begin);
        let answer = next.call(request).await;
        drop(under_way);
        answer
    }

    /// Cuts off who is quiet for too long. Never returns.
    pub async fn keep_moving(&self) {
        let mut ticks = interval(INTERVAL);
        loop {
            ticks.tick().await;
            let cut_off = self.cut_off(Instant::now());
            if cut_off > 0 {
                tracing::debug!(connections = cut_off, "cut off: their clients were quiet for too long");
            }
        }
    }

    /// Cuts off who has been quiet for too long at `now`, and says how many these are.
    fn cut_off(&self, now: Instant) -> usize {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cut_off = 0;
        open.retain(|connection| {
            let Some(connection) = connection.upgrade() else {
                return false;
            };
            if !connection.is_quiet_at(now) {
                return true;
            }
            // Gone by itself where this fails. The server finds its end, and closes it.
            if connection.socket.shutdown(Shutdown::Both).is_ok() {
                cut_off += 1;
            }
            false
        });
        cut_off
    }
}

impl Connection {
    fn is_quiet_at(&self, now: Instant) -> bool {
        let activity = self.activity.lock().unwrap_or_else(PoisonError::into_inner);
        activity.under_way == 0 && now.saturating_duration_since(activity.quiet_since) > QUIET
    }
}

impl UnderWay {
    fn begin(connection: &Arc<Connection>) -> UnderWay {
        let mut activity = connection.activity.lock().unwrap_or_else(PoisonError::into_inner);
        activity.under_way += 1;
        drop(activity);
        UnderWay(connection.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut activity = self.0.activity.lock().unwrap_or_else(PoisonError::into_inner);
        activity.under_way -= 1;
        activity.quiet_since = Instant::now();
    }
}

/// How many clients this process may serve at a time, `most` where the system allows it. Raises what the process allows
/// itself to what it may.
pub fn room(most: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            limit.current
        }
    };
    // No limit at all where there is no number.
    let Some(files) = files else { return most };
    let room = usize::try_from(files.saturating_sub(OTHER_FILES) / FILES).unwrap_or(usize::MAX);
    if room < most {
        tracing::warn!(
            connections = room,
            "the limit of open files allows fewer clients than usual"
        );
    }
    room.clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read};

    /// A connection as the server sees it, and its client.
    async fn connection(connections: &Connections) -> (Arc<Connection>, std::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut extensions = Extensions::new();
        connections.opened(&stream, &mut extensions);
        (extensions.get::<Arc<Connection>>().unwrap().clone(), client)
    }

    fn is_cut_off(client: &mut std::net::TcpStream) -> bool {
        match client.read(&mut [0]) {
            Ok(0) => true,
            Ok(_) => panic!("nobody has written"),
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                    "{error}"
                );
                false
            }
        }
    }

    #[tokio::test]
    async fn who_is_quiet_for_too_long_is_cut_off_and_who_is_answered_is_not() {
        let connections = Connections::default();
        let (quiet, mut quiet_client) = connection(&connections).await;
        let (busy, mut busy_client) = connection(&connections).await;
        let under_way = UnderWay::begin(&busy);
        let soon = Instant::now() + QUIET - Duration::from_secs(1);
        assert_eq!(connections.cut_off(soon), 0);
        let later = Instant::now() + QUIET + Duration::from_secs(1);
        assert_eq!(connections.cut_off(later), 1);
        assert!(is_cut_off(&mut quiet_client));
        assert!(!is_cut_off(&mut busy_client));
        drop(under_way);
        assert_eq!(
            connections.cut_off(later - Duration::from_secs(2)),
            0,
            "quiet since now"
        );
        assert_eq!(connections.cut_off(later + Duration::from_secs(1)), 1);
        assert!(is_cut_off(&mut busy_client));
        drop((quiet, busy));
    }

    #[tokio::test]
    async fn what_is_closed_is_forgotten() {
        let connections = Connections::default();
        let (gone, _client) = connection(&connections).await;
        drop(gone);
        assert_eq!(connections.cut_off(Instant::now()), 0);
        assert!(connections.open.lock().unwrap().is_empty());
    }
}
