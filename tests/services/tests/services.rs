//! The life of the data services, on real processes: `cargo test -p services --test services`.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use host::state;
use mongodb::bson::{Document, doc};
use mongodb::options::{AuthMechanism, ClientOptions, Credential, ServerAddress};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use services::{Kafka, Mongodb, Options, Postgres, Running};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};

const TIMEOUT: Duration = Duration::from_secs(60);
const TOPIC: &str = "sms_batched";

#[test]
fn one_broker_lives_dies_and_leaves_nothing() {
    in_a_state_folder_of_its_own("one_broker_lives_dies_and_leaves_nothing", || life(1));
}

#[test]
fn three_brokers_keep_what_they_acknowledged() {
    in_a_state_folder_of_its_own("three_brokers_keep_what_they_acknowledged", || life(3));
}

/// Each of the two databases does without the other one, PostgreSQL goes back to a backup by itself, and clients of the
/// relayed listener are sent to the relay.
#[test]
fn services_apart_fail_alone() {
    in_a_state_folder_of_its_own("services_apart_fail_alone", || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let running = timed("up apart", || services::up_apart(&one_broker())).unwrap();
        assert_eq!(services::up_apart(&one_broker()).unwrap(), running);
        let other = services::up(&one_broker()).unwrap_err().to_string();
        assert!(other.contains("cargo xtask services down"), "{other}");
        assert_no_secret_is_shown(&running, &pids());
        let relayed = running.kafka.relayed[0];
        relay(TcpListener::bind(relayed.relay).unwrap(), relayed.listener);
        let mut config = client(&running.kafka, &running.kafka.password);
        config.set("bootstrap.servers", relayed.relay.to_string());
        let observer: BaseConsumer = config.create().unwrap();
        let metadata = observer.fetch_metadata(None, TIMEOUT).unwrap();
        assert_eq!(metadata.brokers()[0].port(), i32::from(relayed.relay.port()));
        drop(observer);

        runtime.block_on(async {
            store_document(&running.mongodb, "one").await;
            store_number(&running.postgres, 1).await;
            timed("backup", || services::postgres::backup("first")).unwrap();
            store_document(&running.mongodb, "two").await;
            store_number(&running.postgres, 2).await;
            timed("backup", || services::postgres::backup("second")).unwrap();
            store_number(&running.postgres, 3).await;
            services::postgres::kill9().unwrap();
            store_document(&running.mongodb, "three").await;
            timed("restore", || services::postgres::restore("first")).unwrap();
            assert_eq!(numbers(&running.postgres).await, [1]);
            store_number(&running.postgres, 4).await;
            timed("restore", || services::postgres::restore("second")).unwrap();
            assert_eq!(numbers(&running.postgres).await, [1, 2]);
            assert_eq!(documents(&running.mongodb).await, ["one", "three", "two"]);
        });
        let unknown = services::postgres::restore("third").unwrap_err().to_string();
        assert_eq!(unknown, "there is no base backup third");
        services::down().unwrap();
        assert_eq!(processes_of_this_test(), Vec::<String>::new());
        assert!(!state::data_dir().exists(), "{} is left", state::data_dir().display());
    });
}

/// Passes what comes on to the broker, and back, for as long as this process lives.
fn relay(listener: TcpListener, broker: SocketAddr) {
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A broker that is away is a connection that ends.
            let Ok(server) = TcpStream::connect(broker) else {
                continue;
            };
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
}

/// However far `up` came when it was killed, the next one finishes it and `down` removes it.
#[test]
fn an_up_that_was_killed_leaves_nothing_that_cannot_be_found() {
    in_a_state_folder_of_its_own("an_up_that_was_killed_leaves_nothing_that_cannot_be_found", || {
        for milliseconds in [300, 900, 2000, 4000] {
            kill_up_after(Duration::from_millis(milliseconds));
            services::down().unwrap();
            assert_eq!(
                processes_of_this_test(),
                Vec::<String>::new(),
                "killed after {milliseconds} ms"
            );
            assert!(!state::data_dir().exists(), "killed after {milliseconds} ms");

            kill_up_after(Duration::from_millis(milliseconds));
            let running = services::up(&one_broker()).unwrap();
            assert_eq!(services::running(), Some(running));
            services::down().unwrap();
            assert_eq!(
                processes_of_this_test(),
                Vec::<String>::new(),
                "killed after {milliseconds} ms"
            );
        }
    });
}

#[test]
#[ignore = "is killed by the test above"]
fn bring_up() {
    services::up(&one_broker()).unwrap();
}

fn one_broker() -> Options {
    Options {
        brokers: 1,
        address: Ipv4Addr::LOCALHOST.into(),
    }
}

fn kill_up_after(delay: Duration) {
    let mut up = Command::new(env::current_exe().unwrap())
        .args(["bring_up", "--exact", "--ignored"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(delay);
    up.kill().unwrap();
    up.wait().unwrap();
}

/// Programs whose environment names the state folder of this test, other than the test itself. Commands that a
/// killed process had started, such as initdb, end by themselves within a moment.
fn processes_of_this_test() -> Vec<String> {
    let state = format!("{}={}", state::VARIABLE, state::dir().display());
    let is_ours = |entry: fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let ours = environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == state.as_bytes());
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        (ours && pid != std::process::id()).then(|| name.trim().to_owned())
    };
    let list = || -> Vec<String> { fs::read_dir("/proc").unwrap().flatten().filter_map(is_ours).collect() };
    let _ = host::wait_until("end of commands", Duration::from_secs(10), || {
        Ok(list().is_empty().then_some(()))
    });
    list()
}

/// Runs `test` in a process with an empty state folder, next to whatever else this machine runs.
fn in_a_state_folder_of_its_own(name: &str, test: impl FnOnce()) {
    const INSIDE: &str = "SERVICES_TEST_INSIDE";
    if env::var_os(INSIDE).is_some() {
        return test();
    }
    let folder = tempfile::tempdir().unwrap();
    let inside = |test: &str| {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture", "--include-ignored"]);
        command.env(INSIDE, "1").env(state::VARIABLE, folder.path());
        command.status().unwrap()
    };
    let outcome = inside(name);
    if !outcome.success() {
        // Nothing may be left of a failed run, either.
        inside("clean_up");
    }
    assert!(outcome.success(), "{name} failed");
    assert_eq!(left_over(folder.path()), Vec::<PathBuf>::new(), "files are left");
}

#[test]
#[ignore = "stops what a failed run left; run by the tests above"]
fn clean_up() {
    services::down().unwrap();
}

/// Everything but logs and locks.
fn left_over(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| !["log", "run", "services.lock"].contains(&path.file_name().unwrap().to_str().unwrap()))
        .collect()
}

fn life(brokers: usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = Options {
        brokers,
        address: Ipv4Addr::LOCALHOST.into(),
    };
    assert_eq!(services::running(), None);
    let running = timed("first up", || services::up(&options)).unwrap();
    let pids = pids();
    assert_eq!(pids.len(), brokers + 2, "{pids:?}");
    assert_no_secret_is_shown(&running, &pids);

    let again = timed("second up", || services::up(&options)).unwrap();
    assert_eq!(again, running);
    assert_eq!(self::pids(), pids, "what runs is reused");
    assert_eq!(services::running(), Some(running.clone()));
    let other = services::up(&Options {
        brokers: 4 - brokers,
        ..options
    })
    .unwrap_err()
    .to_string();
    assert!(other.contains("cargo xtask services down"), "{other}");

    runtime.block_on(async {
        kafka_round_trip(&running.kafka, "before").await;
        every_listener_with_tls_leads_to_the_others(&running.kafka);
        postgres_accepts_its_user_only(&running.postgres).await;
        store_document(&running.mongodb, "before").await;
    });

    timed("kafka kill -9 and start", || {
        services::kafka::kill9(brokers - 1)?;
        assert_eq!(services::running(), None);
        services::kafka::start(brokers - 1)
    })
    .unwrap();
    timed("postgres kill -9 and start", || {
        services::postgres::kill9()?;
        services::postgres::start()
    })
    .unwrap();
    timed("ferretdb kill -9 and start", || {
        services::ferretdb::kill9()?;
        services::ferretdb::start()
    })
    .unwrap();
    services::kafka::kill9(0).unwrap();
    services::postgres::kill9().unwrap();
    assert_eq!(timed("up again", || services::up(&options)).unwrap(), running);

    runtime.block_on(async {
        kafka_round_trip(&running.kafka, "after").await;
        assert_eq!(
            read_topic(&running.kafka, 2),
            ["before", "after"],
            "what was acknowledged is kept"
        );
        store_document(&running.mongodb, "after").await;
        assert_eq!(documents(&running.mongodb).await, ["after", "before"]);
    });

    // With PostgreSQL killed, the least that `down` has to deal with.
    services::postgres::kill9().unwrap();
    timed("down", services::down).unwrap();
    assert_eq!(services::running(), None);
    assert_eq!(services::status().unwrap(), []);
    assert_eq!(processes_of_this_test(), Vec::<String>::new());
    assert!(!state::data_dir().exists(), "{} is left", state::data_dir().display());
    services::down().unwrap();
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    println!("{what}: {:.1} s", start.elapsed().as_secs_f64());
    result
}

fn pids() -> HashMap<String, i32> {
    let status = services::status().unwrap();
    status
        .into_iter()
        .map(|service| (service.name, service.pid.expect("a service is not running")))
        .collect()
}

/// Not among the arguments of a process, and not in a file that others can read.
fn assert_no_secret_is_shown(running: &Running, pids: &HashMap<String, i32>) {
    let passwords = [running.kafka.password.as_str(), &running.postgres.password];
    assert!(passwords.iter().all(|password| password.len() == 32));
    let secrets = [passwords[0], passwords[1], "PRIVATE KEY"];
    for (name, pid) in pids {
        let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(
            !arguments.is_empty() && secrets.iter().all(|secret| !arguments.contains(*secret)),
            "{name}"
        );
    }
    let shown = format!("{running:?}");
    assert!(secrets.iter().all(|secret| !shown.contains(*secret)), "{shown}");
    for log in fs::read_dir(state::log_dir()).unwrap() {
        let log = log.unwrap().path();
        let content = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
        assert!(
            secrets.iter().all(|secret| !content.contains(*secret)),
            "{}",
            log.display()
        );
    }
}

fn client(kafka: &Kafka, password: &str) -> ClientConfig {
    let brokers: Vec<String> = kafka.brokers.iter().map(SocketAddr::to_string).collect();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers.join(","))
        .set("security.protocol", "SASL_PLAINTEXT")
        .set("sasl.mechanism", "SCRAM-SHA-512")
        .set("sasl.username", &kafka.username)
        .set("sasl.password", password);
    config
}

/// Makes the topic if it is not there, replicated as far as there are brokers, and stores one message.
async fn kafka_round_trip(kafka: &Kafka, message: &str) {
    let admin: AdminClient<DefaultClientContext> = client(kafka, &kafka.password).create().unwrap();
    let copies = i32::try_from(kafka.brokers.len()).unwrap();
    let topic = NewTopic::new(TOPIC, 1, TopicReplication::Fixed(copies));
    let options = AdminOptions::new()
        .operation_timeout(Some(TIMEOUT))
        .request_timeout(Some(TIMEOUT));
    let created = admin.create_topics([&topic], &options).await.unwrap().remove(0);
    match created {
        Ok(name) => assert_eq!(name, TOPIC),
        Err((_, code)) => assert_eq!(code, rdkafka::types::RDKafkaErrorCode::TopicAlreadyExists),
    }
    let producer: FutureProducer = client(kafka, &kafka.password)
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "60000")
        .create()
        .unwrap();
    producer
        .send(FutureRecord::<(), str>::to(TOPIC).payload(message), TIMEOUT)
        .await
        .unwrap();
    let stranger: BaseConsumer = client(kafka, "wrong").create().unwrap();
    let refused = stranger.fetch_metadata(None, Duration::from_secs(3)).unwrap_err();
    assert!(
        matches!(refused, rdkafka::error::KafkaError::MetadataFetch(_)),
        "{refused}"
    );
}

/// What a client learns on such a listener are the listeners of the same kind.
fn every_listener_with_tls_leads_to_the_others(kafka: &Kafka) {
    let tls = kafka.tls.as_ref().unwrap();
    let ports_seen = |config: &ClientConfig| {
        let client: BaseConsumer = config.create().unwrap();
        let metadata = client.fetch_metadata(None, TIMEOUT).unwrap();
        let mut ports: Vec<i32> = metadata.brokers().iter().map(|broker| broker.port()).collect();
        ports.sort_unstable();
        ports
    };
    let ports =
        |listeners: &[SocketAddr]| -> Vec<i32> { listeners.iter().map(|listener| listener.port().into()).collect() };
    for listener in &tls.scram {
        let mut config = client(kafka, &kafka.password);
        config
            .set("bootstrap.servers", listener.to_string())
            .set("security.protocol", "SASL_SSL")
            .set("ssl.ca.pem", &tls.authority);
        assert_eq!(ports_seen(&config), ports(&tls.scram));
    }
    for listener in &tls.mutual {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", listener.to_string())
            .set("security.protocol", "SSL")
            .set("ssl.ca.pem", &tls.authority)
            .set("ssl.certificate.pem", &tls.client.certificate)
            .set("ssl.key.pem", &tls.client.key);
        assert_eq!(ports_seen(&config), ports(&tls.mutual));
    }
}

fn read_topic(kafka: &Kafka, count: usize) -> Vec<String> {
    let consumer: BaseConsumer = client(kafka, &kafka.password)
        .set("group.id", "test")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    let start = Instant::now();
    let mut messages = Vec::new();
    while messages.len() < count && start.elapsed() < TIMEOUT {
        if let Some(message) = consumer.poll(Duration::from_millis(200)) {
            // A broker that just came back may not lead its partitions yet: the client retries by itself.
            let Ok(message) = message else { continue };
            messages.push(String::from_utf8_lossy(message.payload().unwrap()).into_owned());
        }
    }
    messages
}

async fn postgres_accepts_its_user_only(postgres: &Postgres) {
    let options = |password: &str, database: &str| {
        let address = postgres.address;
        PgConnectOptions::new()
            .host(&address.ip().to_string())
            .port(address.port())
            .username(&postgres.username)
            .password(password)
            .database(database)
    };
    for database in services::postgres::DATABASES {
        let mut connection = PgConnection::connect_with(&options(&postgres.password, database))
            .await
            .unwrap();
        sqlx::query("CREATE TABLE t (id int)")
            .execute(&mut connection)
            .await
            .unwrap();
        let settings: (String, String, bool) = sqlx::query_as(
            "SELECT current_setting('fsync'), current_setting('server_version'), rolsuper FROM pg_roles WHERE rolname = current_user",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert_eq!(settings.0, "on");
        assert!(settings.1.starts_with("15."), "{}", settings.1);
        assert!(!settings.2, "the user is no superuser");
    }
    let refused = PgConnection::connect_with(&options("wrong", "sync_db"))
        .await
        .unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("28P01"));
}

async fn numbers_table(postgres: &Postgres) -> PgConnection {
    let options = PgConnectOptions::new()
        .host(&postgres.address.ip().to_string())
        .port(postgres.address.port())
        .username(&postgres.username)
        .password(&postgres.password)
        .database("sync_db");
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    sqlx::query("CREATE TABLE IF NOT EXISTS numbers (number int)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection
}

async fn store_number(postgres: &Postgres, number: i32) {
    sqlx::query("INSERT INTO numbers VALUES ($1)")
        .bind(number)
        .execute(&mut numbers_table(postgres).await)
        .await
        .unwrap();
}

async fn numbers(postgres: &Postgres) -> Vec<i32> {
    sqlx::query_scalar("SELECT number FROM numbers ORDER BY number")
        .fetch_all(&mut numbers_table(postgres).await)
        .await
        .unwrap()
}

async fn collection(mongodb: &Mongodb) -> mongodb::Collection<Document> {
    let credential = Credential::builder()
        .username(mongodb.username.clone())
        .password(mongodb.password.clone())
        .mechanism(AuthMechanism::Plain)
        .source("$external".to_owned())
        .build();
    let address = ServerAddress::Tcp {
        host: mongodb.address.ip().to_string(),
        port: Some(mongodb.address.port()),
    };
    let options = ClientOptions::builder()
        .hosts(vec![address])
        .credential(credential)
        .server_selection_timeout(Duration::from_secs(15))
        .build();
    mongodb::Client::with_options(options)
        .unwrap()
        .database(&mongodb.database)
        .collection("sms")
}

async fn store_document(mongodb: &Mongodb, id: &str) {
    let collection = collection(mongodb).await;
    // The pool in front of a restarted PostgreSQL may hold one dead connection; a client retries.
    let mut outcome = collection.insert_one(doc! {"_id": id}).await;
    for _ in 0..10 {
        if outcome.is_ok() {
            break;
        }
        outcome = collection.insert_one(doc! {"_id": id}).await;
    }
    outcome.unwrap();
    let twice = collection.insert_one(doc! {"_id": id}).await.unwrap_err().to_string();
    assert!(twice.contains("E11000"), "{twice}");
}

async fn documents(mongodb: &Mongodb) -> Vec<String> {
    use futures::TryStreamExt;
    let cursor = collection(mongodb)
        .await
        .find(doc! {})
        .sort(doc! {"_id": 1})
        .await
        .unwrap();
    let documents: Vec<Document> = cursor.try_collect().await.unwrap();
    documents
        .iter()
        .map(|document| document.get_str("_id").unwrap().to_owned())
        .collect()
}
