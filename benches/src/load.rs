//! A load generator for HTTP: one thread, kept connections, requests that are made beforehand, and answers of which no
//! more is read than where they end. It is the same for both sides of a comparison, and shares the machine with them.
//!
//! - [`full`]: as much as so many connections get through, each with one request at a time
//! - [`steady`]: a fixed rate. Requests have their times, and wait for nobody: each is measured from the moment at which
//!   it was to be sent, whenever it was. What a slow server keeps from being sent counts with all of its wait, so that
//!   nothing is omitted (Tene, "How not to measure latency").

use anyhow::{Context, Result, anyhow, bail, ensure};
use hdrhistogram::Histogram;
use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::{JoinSet, LocalSet},
    time::{sleep_until, timeout},
};

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest latency that is told apart from longer ones, microseconds.
const LONGEST: u64 = 60_000_000;
/// An answer's head fits in here, and so does much of its body.
const BUFFER: usize = 64 * 1024;
/// Statuses of answers.
const OK: u16 = 200;
const BUSY: u16 = 503;

/// Where requests go.
#[derive(Debug, Clone)]
pub struct Target {
    /// Address of the server.
    pub address: SocketAddr,
    /// Requests, sent one after the other, and then again from the first.
    pub requests: Arc<[Vec<u8>]>,
    /// Connections.
    pub connections: usize,
    /// Whether 503 is an answer as good as 200, though it is not counted.
    pub may_be_busy: bool,
}

/// How long.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Before anything counts.
    pub warm_up: Duration,
    /// What counts.
    pub measured: Duration,
}

/// A whole request of JSON.
pub fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: producer\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// Requests a second that are answered with 200.
///
/// # Errors
/// When a connection breaks, or a request is answered otherwise.
pub async fn full(target: &Target, span: Span) -> Result<f64> {
    let target = target.clone();
    let answered = on_a_thread(async move |start: Instant| {
        let answered = Rc::new(Cell::new(0_u64));
        let (from, until) = (start + span.warm_up, start + span.warm_up + span.measured);
        let counter = answered.clone();
        on_connections(&target, async move |mut connection: Connection, next: Next| {
            while Instant::now() < until {
                let status = connection.exchange(next.request()).await?;
                if status == OK && (from..until).contains(&Instant::now()) {
                    counter.set(counter.get() + 1);
                }
            }
            Ok(())
        })
        .await?;
        Ok(answered.get())
    });
    Ok(answered.await? as f64 / span.measured.as_secs_f64())
}

/// Latencies at so many requests a second, in microseconds, each from the moment at which the request was to be sent.
///
/// # Errors
/// When a connection breaks, or a request is answered otherwise than with 200.
pub async fn steady(target: &Target, rate: f64, span: Span) -> Result<Histogram<u64>> {
    let target = target.clone();
    on_a_thread(async move |start: Instant| {
        let latencies = Rc::new(RefCell::new(Histogram::new_with_bounds(1, LONGEST, 3)?));
        let (from, until) = (start + span.warm_up, start + span.warm_up + span.measured);
        let recorder = latencies.clone();
        on_connections(&target, async move |mut connection: Connection, next: Next| {
            loop {
                let (number, request) = (next.number(), next.request());
                let due = start + Duration::from_secs_f64(number as f64 / rate);
                if due >= until {
                    return Ok(());
                }
                sleep_until(due.into()).await;
                connection.exchange(request).await?;
                if due >= from {
                    let latency = u64::try_from(due.elapsed().as_micros()).unwrap_or(LONGEST);
                    recorder.borrow_mut().saturating_record(latency);
                }
            }
        })
        .await?;
        let latencies = latencies.borrow().clone();
        Ok(latencies)
    })
    .await
}

/// Runs `work` on a thread of its own, which ends early when nobody waits for it any more.
async fn on_a_thread<T: Send + 'static>(work: impl AsyncFnOnce(Instant) -> Result<T> + Send + 'static) -> Result<T> {
    let (mut done, outcome) = oneshot::channel();
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = runtime.context("start a runtime").and_then(|runtime| {
            LocalSet::new().block_on(&runtime, async {
                tokio::select! {
                    outcome = work(Instant::now()) => outcome,
                    () = done.closed() => bail!("nobody waits for the load any more"),
                }
            })
        });
        // Nobody may wait for it any more.
        let _ = done.send(outcome);
    };
    thread::Builder::new().name("load".to_owned()).spawn(run)?;
    outcome.await.context("the load's thread panicked")?
}

/// Runs `work` on each connection at the same time; the first error ends all of it.
async fn on_connections(
    target: &Target,
    work: impl AsyncFn(Connection, Next) -> Result<()> + Clone + 'static,
) -> Result<()> {
    let next = Next {
        requests: target.requests.clone(),
        sent: Rc::default(),
    };
    ensure!(!target.requests.is_empty(), "there is nothing to send");
    let mut tasks = JoinSet::new();
    for _ in 0..target.connections {
        let connection = Connection::open(target).await?;
        let (work, next) = (work.clone(), next.clone());
        tasks.spawn_local(async move { work(connection, next).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| anyhow!("a connection's task ended: {error}"))??;
    }
    Ok(())
}

/// Whose turn it is.
#[derive(Clone)]
struct Next {
    requests: Arc<[Vec<u8>]>,
    sent: Rc<Cell<u64>>,
}

impl Next {
    /// Number of the request that comes next.
    fn number(&self) -> u64 {
        self.sent.get()
    }

    /// Takes the request that comes next.
    fn request(&self) -> &[u8] {
        let number = self.sent.replace(self.sent.get() + 1);
        &self.requests[(number % self.requests.len() as u64) as usize]
    }
}

/// A kept connection.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    may_be_busy: bool,
}

impl Connection {
    async fn open(target: &Target) -> Result<Connection> {
        let stream = TcpStream::connect(target.address).await.context("connect")?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            buffer: vec![0; BUFFER],
            may_be_busy: target.may_be_busy,
        })
    }

    /// Sends a request and reads its answer to the end: its status, which must be 200 or one that may be.
    async fn exchange(&mut self, request: &[u8]) -> Result<u16> {
        timeout(ANSWER, async {
            self.stream.write_all(request).await.context("send a request")?;
            self.answer().await
        })
        .await
        .map_err(|_| anyhow!("no answer within {} s", ANSWER.as_secs()))?
    }

    async fn answer(&mut self) -> Result<u16> {
        let mut filled = 0;
        let head = loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            ensure!(read > 0, "the connection was closed within an answer");
            filled += read;
            match Head::find(&self.buffer[..filled])? {
                Some(head) => break head,
                None => ensure!(filled < BUFFER, "the head of an answer is too long"),
            }
        };
        ensure!(
            head.status == OK || (self.may_be_busy && head.status == BUSY),
            "a request was answered with {}: {}",
            head.status,
            String::from_utf8_lossy(&self.buffer[head.length..filled])
        );
        let mut left = (head.length + head.body).saturating_sub(filled);
        while left > 0 {
            let room = left.min(BUFFER);
            let read = self.stream.read(&mut self.buffer[..room]).await?;
            ensure!(read > 0, "the connection was closed within an answer");
            left -= read;
        }
        Ok(head.status)
    }
}

/// The head of an answer.
#[derive(Debug, PartialEq)]
struct Head {
    status: u16,
    /// Bytes of the head.
    length: usize,
    /// Bytes of the body.
    body: usize,
}

impl Head {
    /// That at the beginning of `bytes`, if all of it is there.
    fn find(bytes: &[u8]) -> Result<Option<Head>> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&bytes[..end]).context("read the head of an answer")?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let body = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse().ok())?
        });
        Ok(Some(Head {
            status: status.context("an answer has no status")?,
            length: end + 4,
            body: body.context("an answer has no length")?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn the_head_says_where_an_answer_ends() {
        let answer = b"HTTP/1.1 207 Multi-Status\r\nContent-length: 12\r\nx: y\r\n\r\nbody";
        let head = Head {
            status: 207,
            length: 55,
            body: 12,
        };
        assert_eq!(Head::find(answer).unwrap(), Some(head));
        assert_eq!(Head::find(&answer[..50]).unwrap(), None);
        assert!(Head::find(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "no length");
    }

    /// A server that takes requests of one byte, one connection after the other in its turn, and answers each after
    /// `pause`; all of them with `status`.
    async fn server(pause: Duration, status: &'static str) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    while stream.read_u8().await.is_ok() {
                        tokio::time::sleep(pause).await;
                        let answer = format!(
                            "HTTP/1.1 {status}\r\nContent-Length: 70000\r\n\r\n{}",
                            "x".repeat(70_000)
                        );
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    fn target(address: SocketAddr) -> Target {
        Target {
            address,
            requests: Arc::new([b"x".to_vec()]),
            connections: 1,
            may_be_busy: false,
        }
    }

    const SHORT: Span = Span {
        warm_up: Duration::ZERO,
        measured: Duration::from_millis(500),
    };

    #[tokio::test]
    async fn what_a_slow_server_keeps_from_being_sent_counts_with_its_wait() {
        let address = server(Duration::from_millis(50), "200 OK").await;
        let latencies = steady(&target(address), 100.0, SHORT).await.unwrap();
        assert_eq!(latencies.len(), 50, "each request of the plan");
        // The last one was to be sent after 0.49 s, and is answered after 50 times 50 ms.
        assert!(latencies.max() >= 2_000_000, "{}", latencies.max());
    }

    #[tokio::test]
    async fn an_answer_other_than_200_is_an_error() {
        let address = server(Duration::ZERO, "503 Service Unavailable").await;
        let error = full(&target(address), SHORT).await.unwrap_err().to_string();
        assert!(error.starts_with("a request was answered with 503: xxx"), "{error}");
        let may_be_busy = Target {
            may_be_busy: true,
            ..target(address)
        };
        assert_eq!(full(&may_be_busy, SHORT).await.unwrap(), 0.0, "they are not counted");
    }

    #[tokio::test]
    async fn what_is_answered_is_counted() {
        let address = server(Duration::ZERO, "200 OK").await;
        assert!(full(&target(address), SHORT).await.unwrap() > 0.0);
    }
}
