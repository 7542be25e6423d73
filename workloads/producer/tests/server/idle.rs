//! Clients that say that a body will come, and send none of it.

use crate::child::Producer;
use contract::message::MAX_BODY;
use rdkafka::mocking::MockCluster;
use reqwest::Client;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Of each sort: as many bodies of the greatest length as there is room for, and more.
const CLIENTS: usize = 100;
const SOON: Duration = Duration::from_secs(10);

/// A client whose head was read: the server asks it for the body, which never comes.
async fn idle(producer: &Producer, length: &str) -> TcpStream {
    let mut stream = TcpStream::connect(producer.address()).await.unwrap();
    let head = format!(
        "POST /v1/sync/sms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n{length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let wanted = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut asked = vec![0; wanted.len()];
    timeout(SOON, stream.read_exact(&mut asked)).await.unwrap().unwrap();
    assert_eq!(asked, wanted);
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_come_take_up_no_room() {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["sms_batched", "contacts_batched", "events_log"] {
        cluster.create_topic(topic, 4, 1).unwrap();
    }
    let producer = Producer::start(&cluster.bootstrap_servers(), &[]);
    let client = Client::new();
    producer.until(&client, "/ready").await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(idle(&producer, &format!("Content-Length: {MAX_BODY}")).await);
        clients.push(idle(&producer, "Transfer-Encoding: chunked").await);
    }
    producer.takes(&client, "1", SOON).await;
    drop(clients);
    producer.end();
}
