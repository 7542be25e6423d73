//! Ten thousand clients at once, none of which does what it should.

use crate::child::Producer;
use futures::future::join_all;
use rdkafka::mocking::MockCluster;
use reqwest::Client;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};

const CLIENTS: usize = 10_000;
/// Between two bytes of a client that is slow.
const PAUSE: Duration = Duration::from_millis(700);
/// Longest life of a connection: who waits to be accepted waits for those who are slow before, and who does not read
/// waits for all of them.
const LIFE: Duration = Duration::from_secs(120);
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
    /// Sends a record with a name as long as a body, and does not read what is wrong with it.
    UnreadError,
    /// Sends as many records as fit into an upload, and does not read what became of them.
    UnreadAnswer,
}

const KINDS: [Kind; 9] = [
    Kind::Silent,
    Kind::SlowHead,
    Kind::SlowSecondHead,
    Kind::SlowBody,
    Kind::Truncated,
    Kind::Bomb,
    Kind::Garbage,
    Kind::UnreadError,
    Kind::UnreadAnswer,
];

/// What clients send that takes long to make.
struct Bodies {
    bomb: Vec<u8>,
    long_name: Vec<u8>,
    many_records: Vec<u8>,
}

impl Bodies {
    fn new() -> Bodies {
        let pack = |body: &Value| zstd::encode_all(body.to_string().as_bytes(), 3).unwrap();
        let record = json!({"id": "1", "timestamp": 0, "sender": "BANK", "body": "debited"});
        Bodies {
            // 64 MiB of blanks in a few KiB.
            bomb: zstd::encode_all(&vec![b' '; 64 << 20][..], 3).unwrap(),
            long_name: pack(&json!({"user": "u", "device": "d", "record": {"A".repeat(1_000_000): "\0"}})),
            many_records: pack(&json!({"user": "u", "device": "d", "records": vec![record; 1_000]})),
        }
    }
}

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
    fn is_unread(&self) -> bool {
        matches!(self, Kind::UnreadError | Kind::UnreadAnswer)
    }

    /// All that the server answers until it closes the connection, which it has to do in the end.
    ///
    /// Who does not read begins to when `others` are gone.
    async fn run(self, producer: &Producer, bodies: &Bodies, mut others: watch::Receiver<bool>) -> Vec<u16> {
        let life = async {
            let mut stream = connect(producer).await;
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
                    send(&mut stream, head(bodies.bomb.len(), "zstd").as_bytes()).await;
                    send(&mut stream, &bodies.bomb).await;
                }
                Kind::UnreadError | Kind::UnreadAnswer => {
                    let body = match self {
                        Kind::UnreadError => &bodies.long_name,
                        _ => &bodies.many_records,
                    };
                    send(&mut stream, head(body.len(), "zstd").as_bytes()).await;
                    send(&mut stream, body).await;
                    others.wait_for(|gone| *gone).await.unwrap();
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

/// With little room for what a client does not read.
async fn connect(producer: &Producer) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = ([127, 0, 0, 1], producer.port).into();
    socket.connect(address).await.unwrap()
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
        producer.takes(&client, &taken.to_string(), LIFE).await;
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

    let bodies = Bodies::new();
    let (over, is_over) = watch::channel(false);
    let (others, _) = watch::channel(false);
    let crowd = async {
        let kinds = (0..CLIENTS).map(|number| KINDS[number % KINDS.len()]);
        let (unread, reading): (Vec<Kind>, Vec<Kind>) = kinds.partition(Kind::is_unread);
        let run = |kind: Kind| {
            let (producer, bodies, others) = (&producer, &bodies, others.subscribe());
            async move { (kind, kind.run(producer, bodies, others).await) }
        };
        let reading = async {
            let outcomes = join_all(reading.into_iter().map(run)).await;
            others.send_replace(true);
            outcomes
        };
        let (mut outcomes, of_unread) = tokio::join!(reading, join_all(unread.into_iter().map(run)));
        outcomes.extend(of_unread);
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
            Kind::UnreadError => &[400, 503],
            Kind::UnreadAnswer => &[200, 503],
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
