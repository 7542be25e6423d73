use std::fmt::Write;
use std::path::Path;

use super::tls::{Listeners, Tls};
use crate::Relayed;
use crate::installation::Installation;

const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required;";

/// Node ids begin with 1.
pub(super) fn node_id(index: usize) -> i32 {
    i32::try_from(index + 1).unwrap_or(i32::MAX)
}

/// The server.properties of one node.
///
/// Clients log in by SCRAM, without and with TLS, or by certificate; brokers and controllers speak to each other on the
/// loopback device only.
pub(super) fn of(installation: &Installation, index: usize, data: &Path) -> String {
    let broker = &installation.brokers[index];
    let brokers = installation.brokers.len();
    let in_sync = brokers.min(2);
    let voters: Vec<String> = installation
        .brokers
        .iter()
        .enumerate()
        .map(|(index, broker)| format!("{}@{}", node_id(index), broker.controller))
        .collect();
    let mut listeners = format!("CLIENT://{},INTERNAL://{}", broker.client, broker.internal);
    let mut protocols = "CLIENT:SASL_PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    if let Some(tls) = &installation.kafka_tls {
        let Listeners { scram, mutual } = &tls.listeners[index];
        listeners += &format!(",SCRAM_TLS://{scram},MUTUAL_TLS://{mutual}");
        protocols += ",SCRAM_TLS:SASL_SSL,MUTUAL_TLS:SSL";
    }
    let (mut bound, mut advertised) = (listeners.clone(), listeners);
    if let Some(apart) = &installation.apart {
        let Relayed { listener, relay } = &apart.relayed[index];
        bound += &format!(",RELAYED://{listener}");
        advertised += &format!(",RELAYED://{relay}");
        protocols += ",RELAYED:SASL_PLAINTEXT";
    }
    let mut settings = vec![
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", node_id(index).to_string()),
        ("controller.quorum.voters", voters.join(",")),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("listeners", format!("{bound},CONTROLLER://{}", broker.controller)),
        ("advertised.listeners", advertised),
        ("listener.security.protocol.map", protocols),
        ("inter.broker.listener.name", "INTERNAL".to_owned()),
        ("sasl.enabled.mechanisms", "SCRAM-SHA-512".to_owned()),
        ("listener.name.client.scram-sha-512.sasl.jaas.config", SCRAM.to_owned()),
        ("log.dirs", data.display().to_string()),
        // Topics are the operator's: a wrong name must fail, not make one.
        ("auto.create.topics.enable", "false".to_owned()),
        ("default.replication.factor", brokers.to_string()),
        ("min.insync.replicas", in_sync.to_string()),
        ("offsets.topic.replication.factor", brokers.to_string()),
        ("transaction.state.log.replication.factor", brokers.to_string()),
        ("transaction.state.log.min.isr", in_sync.to_string()),
        ("share.coordinator.state.topic.replication.factor", brokers.to_string()),
        ("share.coordinator.state.topic.min.isr", in_sync.to_string()),
        // Small ones: the machine has few cores, and the groups are few.
        ("offsets.topic.num.partitions", "8".to_owned()),
        ("transaction.state.log.num.partitions", "8".to_owned()),
        ("log.cleaner.dedupe.buffer.size", (16 << 20).to_string()),
        ("num.network.threads", "2".to_owned()),
        ("num.io.threads", "4".to_owned()),
        // A new group waits this long for more members before it begins.
        ("group.initial.rebalance.delay.ms", "200".to_owned()),
        // A killed broker that comes back must wait for its own old session to end.
        ("broker.heartbeat.interval.ms", "1000".to_owned()),
        ("broker.session.timeout.ms", "6000".to_owned()),
    ];
    if installation.apart.is_some() {
        settings.push(("listener.name.relayed.scram-sha-512.sasl.jaas.config", SCRAM.to_owned()));
    }
    settings.extend(installation.kafka_tls.iter().flat_map(certificates));
    let mut text = String::new();
    for (name, value) in settings {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{name}={value}");
    }
    text
}

/// The settings of all listeners with TLS.
fn certificates(tls: &Tls) -> [(&'static str, String); 7] {
    [
        ("ssl.keystore.type", "PEM".to_owned()),
        ("ssl.keystore.certificate.chain", on_one_line(&tls.brokers.certificate)),
        ("ssl.keystore.key", on_one_line(&tls.brokers.key)),
        ("ssl.truststore.type", "PEM".to_owned()),
        ("ssl.truststore.certificates", on_one_line(&tls.authority)),
        (
            "listener.name.scram_tls.scram-sha-512.sasl.jaas.config",
            SCRAM.to_owned(),
        ),
        ("listener.name.mutual_tls.ssl.client.auth", "required".to_owned()),
    ]
}

/// A property's value ends with its line.
fn on_one_line(pem: &str) -> String {
    pem.trim_end().replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::installation::{Apart, Broker};
    use crate::{Options, kafka};

    fn installation(brokers: u16) -> Installation {
        let node = |index: u16| Broker {
            client: ([10, 212, 0, 1], 19092 + index).into(),
            internal: ([127, 0, 0, 1], 20092 + index).into(),
            controller: ([127, 0, 0, 1], 21092 + index).into(),
        };
        Installation {
            options: Options {
                brokers: brokers.into(),
                address: [10, 212, 0, 1].into(),
            },
            kafka_cluster_id: kafka::cluster_id().unwrap(),
            kafka_password: "hidden".to_owned(),
            brokers: (0..brokers).map(node).collect(),
            kafka_tls: None,
            postgres: ([10, 212, 0, 1], 15432).into(),
            postgres_password: "hidden".to_owned(),
            ferretdb: ([10, 212, 0, 1], 27017).into(),
            apart: None,
        }
    }

    fn assert_has(text: &str, line: &str) {
        assert!(text.lines().any(|other| other == line), "no line {line} in:\n{text}");
    }

    #[test]
    fn one_broker_keeps_one_copy() {
        let text = of(&installation(1), 0, Path::new("/data"));
        assert_has(&text, "node.id=1");
        assert_has(
            &text,
            "listeners=CLIENT://10.212.0.1:19092,INTERNAL://127.0.0.1:20092,CONTROLLER://127.0.0.1:21092",
        );
        assert_has(&text, "offsets.topic.replication.factor=1");
        assert_has(&text, "transaction.state.log.min.isr=1");
        assert!(!text.contains("hidden"));
    }

    #[test]
    fn three_brokers_keep_three_copies_and_need_two() {
        let text = of(&installation(3), 2, Path::new("/data"));
        assert_has(&text, "node.id=3");
        assert_has(
            &text,
            "controller.quorum.voters=1@127.0.0.1:21092,2@127.0.0.1:21093,3@127.0.0.1:21094",
        );
        assert_has(
            &text,
            "advertised.listeners=CLIENT://10.212.0.1:19094,INTERNAL://127.0.0.1:20094",
        );
        assert_has(&text, "offsets.topic.replication.factor=3");
        assert_has(&text, "min.insync.replicas=2");
    }

    #[test]
    fn clients_of_the_relayed_listener_are_sent_to_the_relay() {
        let mut installation = installation(1);
        installation.apart = Some(Apart {
            relayed: vec![Relayed {
                listener: ([10, 212, 0, 1], 24092).into(),
                relay: ([10, 212, 0, 1], 25092).into(),
            }],
            documents: ([10, 212, 0, 1], 16432).into(),
        });
        let text = of(&installation, 0, Path::new("/data"));
        assert_has(
            &text,
            "listeners=CLIENT://10.212.0.1:19092,INTERNAL://127.0.0.1:20092,RELAYED://10.212.0.1:24092,\
             CONTROLLER://127.0.0.1:21092",
        );
        assert_has(
            &text,
            "advertised.listeners=CLIENT://10.212.0.1:19092,INTERNAL://127.0.0.1:20092,RELAYED://10.212.0.1:25092",
        );
    }

    #[test]
    fn each_listener_with_tls_has_its_own_way_to_know_clients() {
        let listeners = |index: u16| Listeners {
            scram: ([10, 212, 0, 1], 22092 + index).into(),
            mutual: ([10, 212, 0, 1], 23092 + index).into(),
        };
        let mut installation = installation(3);
        let tls = Tls::create([10, 212, 0, 1].into(), (0..3).map(listeners).collect()).unwrap();
        installation.kafka_tls = Some(tls);
        let text = of(&installation, 1, Path::new("/data"));
        assert_has(
            &text,
            "advertised.listeners=CLIENT://10.212.0.1:19093,INTERNAL://127.0.0.1:20093,\
             SCRAM_TLS://10.212.0.1:22093,MUTUAL_TLS://10.212.0.1:23093",
        );
        assert_has(
            &text,
            "listener.security.protocol.map=CLIENT:SASL_PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT,\
             SCRAM_TLS:SASL_SSL,MUTUAL_TLS:SSL",
        );
        assert_has(&text, "listener.name.mutual_tls.ssl.client.auth=required");
        let key = text.lines().find(|line| line.starts_with("ssl.keystore.key="));
        let key = key.unwrap();
        assert!(
            key.starts_with("ssl.keystore.key=-----BEGIN PRIVATE KEY-----\\n"),
            "cut short"
        );
        assert!(key.ends_with("\\n-----END PRIVATE KEY-----"), "cut short");
    }
}
