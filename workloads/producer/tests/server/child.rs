//! A producer in a process of its own.

use contract::env;
use reqwest::{Client, StatusCode};
use serde_json::json;
use std::{
    io::Read,
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

/// Files that a producer is allowed at its start: what a system gives that was told nothing.
const SOFT_LIMIT: &str = "1024";

pub(crate) struct Producer {
    pub(crate) port: u16,
    process: Child,
    /// All that it wrote to standard output and standard error.
    written: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Producer {
    /// Starts one. `changes` come on top of what every producer needs.
    pub(crate) fn start(brokers: &str, changes: &[(&str, &str)]) -> Producer {
        let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let mut process = Command::new("/bin/sh")
            .args(["-c", &format!("ulimit -Sn {SOFT_LIMIT} && exec \"$0\"")])
            .arg(env!("CARGO_BIN_EXE_producer"))
            .env_clear()
            .env(env::KAFKA_BROKER_ENDPOINT, brokers)
            .env(env::ENABLED_TOPICS, "sms_batched,contacts_batched,events_log")
            .env(producer::settings::PORT, port.to_string())
            .env(producer::settings::DRAIN_DELAY_MS, "0")
            .envs(changes.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let written = Arc::default();
        let readers = vec![
            read(process.stdout.take().unwrap(), &written),
            read(process.stderr.take().unwrap(), &written),
        ];
        Producer {
            port,
            process,
            written,
            readers,
        }
    }

    pub(crate) fn address(&self) -> (&'static str, u16) {
        ("127.0.0.1", self.port)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Uploads a good record, which is taken in this time.
    pub(crate) async fn takes(&self, client: &Client, id: &str, patience: Duration) {
        let record = json!({"id": id, "timestamp": 0, "sender": "BANK", "body": "debited"});
        let request = client
            .post(self.url("/v1/sync/sms"))
            .json(&json!({"user": "u", "device": "d", "record": record}));
        let answer = timeout(patience, request.send()).await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap());
    }

    /// Waits until `path` is answered with 200.
    pub(crate) async fn until(&self, client: &Client, path: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = client.get(self.url(path)).send().await;
            if answer.is_ok_and(|answer| answer.status() == StatusCode::OK) {
                return;
            }
            assert!(Instant::now() < deadline, "{path} is not answered; {}", self.written());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Most memory that it ever had, bytes.
    pub(crate) fn most_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        kib * 1024
    }

    pub(crate) fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// Asks it to end, waits until it has, and returns all that it wrote.
    pub(crate) fn end(mut self) -> String {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        let status = self.process.wait().unwrap();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let written = self.written();
        assert!(status.success(), "{status}: {written}");
        written
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // Ended already, where the test did not fail.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read(mut from: impl Read + Send + 'static, to: &Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    let to = to.clone();
    thread::spawn(move || {
        let mut piece = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            to.lock().unwrap().extend_from_slice(&piece[..length]);
        }
    })
}
