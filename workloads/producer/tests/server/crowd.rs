//! Ten thousand clients at once, none of which does what it should.

use crate::child::Producer;
use futures::future::join_all;
use rdkafka::mocking::MockCluster;
use reqwest::{Client, StatusCode};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};

const CLIENTS: usize = 10_000;
/// Between two bytes of a client that is slow.
const PAUSE: Duration = Duration::from_millis(700);
/// Longest life of a connection: who waits to be accepted waits for those who are slow before.
const LIFE: Duration = Duration::from_secs(90);
const MOST_MEMORY: u64 = 300 << 20;

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Connects, and says nothing.
    Silent,
    /// Sends the head of its request byte by byte.
    SlowHead,
    /// Is well-behaved once, and then sends a head byte by byte.
    SlowSecondHead,
    /// Sends its body byte by byte.
    SlowBody,
    /// Ends in the middle of its body.
    Truncated,
    /// Sends a body that unpacks to far more than is taken.
    Bomb,
    /// Sends anything.
    Garbage,
}

const KINDS: [Kind; 7] = [
    Kind::Silent,
    Kind::SlowHead,
    Kind::SlowSecondHead,
    Kind::SlowBody,
    Kind::Truncated,
    Kind::Bomb,
    Kind::Garbage,
];

fn head(length: usize, encoding: &str) -> String {
    format!(
        "POST /v1/sync/sms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Encoding: {encoding}\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

/// Raises the limit of open files as far as it goes: this process has all the clients.
fn raise_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    assert!(
        maximum.is_none_or(|files| files > CLIENTS as u64 + 1_000),
        "{maximum:?} open files are too few"
    );
}

impl Kind {
    /// All that the server answers until it closes the connection, which it has to do in the end.
    async fn run(self, producer: &Producer, bomb: &[u8]) -> Vec<u16> {
        let life = async {
            let mut stream = TcpStream::connect(producer.address()).await.unwrap();
            let mut answers = Vec::new();
            match self {
                Kind::Silent => {}
                Kind::SlowHead => drip(&mut stream, head(10, "identity").as_bytes(), &mut answers).await,
                Kind::SlowSecondHead => {
                    let whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
                    send(&mut stream, whole).await;
                    drip(&mut stream, whole, &mut answers).await;
                }
                Kind::SlowBody => {
                    send(&mut stream, head(1_000, "identity").as_bytes()).await;
                    drip(&mut stream, &[b' '; 1_000], &mut answers).await;
                }
                Kind::Truncated => {
                    send(&mut stream, head(1_000, "identity").as_bytes()).await;
                    send(&mut stream, b"{\"user\": \"u\"").await;
                    let _ = stream.shutdown().await;
                }
                Kind::Bomb => {
                    send(&mut stream, head(bomb.len(), "zstd").as_bytes()).await;
                    send(&mut stream, bomb).await;
                }
                Kind::Garbage => send(&mut stream, b"\x16\x03\x01\x02\x00\x01\x00 \xff\xfe\r\n\r\n").await,
            }
            // A reset is an end, too.
            let _ = stream.read_to_end(&mut answers).await;
            answers
        };
        let answers = timeout(LIFE, life).await;
        statuses(&answers.unwrap_or_else(|_| panic!("{self:?} is not cut off")))
    }
}

/// Whether it arrives is the server's choice.
async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
}

/// Sends byte by byte until the server has closed the connection. The last byte never comes.
async fn drip(stream: &mut TcpStream, bytes: &[u8], answers: &mut Vec<u8>) {
    let mut piece = [0; 1024];
    for byte in &bytes[..bytes.len() - 1] {
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        match timeout(PAUSE, stream.read(&mut piece)).await {
            Err(_) => {}
            Ok(Ok(length @ 1..)) => answers.extend_from_slice(&piece[..length]),
            Ok(_) => return,
        }
    }
}

/// Statuses of the answers in what a server has sent.
fn statuses(answers: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answers);
    let lines = text.split("HTTP/1.1 ").skip(1);
    lines
        .map(|line| line.split(' ').next().unwrap().trim().parse().unwrap())
        .collect()
}

/// Uploads again and again, each over a connection of its own and each taken, until the others are gone.
async fn well_behaved(producer: &Producer, mut over: watch::Receiver<bool>) -> usize {
    let client = Client::builder().pool_max_idle_per_host(0).build().unwrap();
    let mut taken = 0;
    while !*over.borrow_and_update() {
        let record = json!({"id": taken.to_string(), "timestamp": 0, "sender": "BANK", "body": "debited"});
        let request = client
            .post(producer.url("/v1/sync/sms"))
            .json(&json!({"user": "u", "device": "d", "record": record}));
        let answer = timeout(LIFE, request.send()).await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap());
        taken += 1;
        sleep(Duration::from_millis(50)).await;
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_hostile_clients_keep_nobody_from_being_served() {
    raise_limit();
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["sms_batched", "contacts_batched", "events_log"] {
        cluster.create_topic(topic, 4, 1).unwrap();
    }
    let producer = Producer::start(&cluster.bootstrap_servers(), &[]);
    let client = Client::new();
    producer.until(&client, "/ready").await;

    // 64 MiB of blanks in a few KiB.
    let bomb = zstd::encode_all(&vec![b' '; 64 << 20][..], 3).unwrap();
    let (over, is_over) = watch::channel(false);
    let crowd = async {
        let clients = (0..CLIENTS).map(|number| {
            let kind = KINDS[number % KINDS.len()];
            let (producer, bomb) = (&producer, &bomb);
            async move { (kind, kind.run(producer, bomb).await) }
        });
        let outcomes = join_all(clients).await;
        over.send(true).unwrap();
        outcomes
    };
    let (outcomes, taken) = tokio::join!(crowd, well_behaved(&producer, is_over));

    let mut seen: BTreeMap<(Kind, Vec<u16>), usize> = BTreeMap::new();
    for outcome in outcomes {
        *seen.entry(outcome).or_default() += 1;
    }
    let memory = producer.most_memory();
    println!(
        "taken meanwhile: {taken}; most memory: {} MiB; answers: {seen:#?}",
        memory >> 20
    );
    for (kind, statuses) in seen.keys() {
        let allowed: &[u16] = match kind {
            Kind::Silent | Kind::SlowHead => &[408],
            Kind::SlowSecondHead => &[200],
            Kind::SlowBody => &[408, 503],
            Kind::Truncated | Kind::Garbage => &[400],
            Kind::Bomb => &[413, 503],
        };
        assert!(
            statuses.iter().all(|status| allowed.contains(status)),
            "{kind:?}: {statuses:?}"
        );
    }
    assert!(taken > 10, "{taken} uploads were taken meanwhile");
    assert!(memory < MOST_MEMORY, "{} MiB", memory >> 20);

    producer.until(&client, "/ready").await;
    let metrics = client
        .get(producer.url("/metrics"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(metrics.contains("status=\"408\""), "{metrics}");
    let faults = metrics
        .lines()
        .filter(|line| line.contains("status=\"5") && !line.contains("status=\"503\""));
    assert_eq!(faults.collect::<Vec<_>>(), Vec::<&str>::new());
    producer.end();
}
