//! The clients in use, shared by all pipelines that reach the same cluster in the same way.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::connection::{Cluster, Connection, KafkaError};

/// How long a client that nobody asks for is kept. Whoever follows a pipeline asks several times a second.
const IDLE: Duration = Duration::from_secs(120);
/// How often idle clients are looked for.
const SWEEP: Duration = Duration::from_secs(30);

/// The clusters in use. Other credentials or certificates are another [`Connection`] with a client of its own: a
/// rotation needs no restart, and the client of the old ones goes once nobody asks for it any more.
#[derive(Debug, Default)]
pub struct Clusters {
    open: Mutex<Open<Cluster>>,
}

impl Clusters {
    /// The cluster of `connection`, connected on first use.
    pub async fn get(&self, connection: &Connection) -> Result<Arc<Cluster>, KafkaError> {
        if let Some(cluster) = self.open.lock().await.get(connection, Instant::now()) {
            return Ok(cluster);
        }
        // Not under the lock: an unreachable cluster must not hold up the pipelines of another.
        let cluster = Cluster::connect(connection).await?;
        Ok(self.open.lock().await.add(connection, cluster, Instant::now()))
    }

    /// Forgets a cluster, so that the next use connects anew.
    pub async fn forget(&self, connection: &Connection) {
        self.open.lock().await.clients.remove(connection);
    }
}

/// Clients by connection, each with the time at which it was last asked for.
#[derive(Debug)]
struct Open<C> {
    clients: HashMap<Connection, (Arc<C>, Instant)>,
    swept: Option<Instant>,
}

impl<C> Default for Open<C> {
    fn default() -> Self {
        Open {
            clients: HashMap::new(),
            swept: None,
        }
    }
}

impl<C> Open<C> {
    fn get(&mut self, connection: &Connection, now: Instant) -> Option<Arc<C>> {
        self.sweep(now);
        let (client, asked_for) = self.clients.get_mut(connection)?;
        *asked_for = now;
        Some(client.clone())
    }

    /// Whoever connected first at the same time is kept.
    fn add(&mut self, connection: &Connection, client: C, now: Instant) -> Arc<C> {
        let kept = self.clients.entry(connection.clone());
        kept.or_insert_with(|| (Arc::new(client), now)).0.clone()
    }

    fn sweep(&mut self, now: Instant) {
        if now.duration_since(*self.swept.get_or_insert(now)) >= SWEEP {
            self.swept = Some(now);
            self.clients
                .retain(|_, (_, asked_for)| now.duration_since(*asked_for) < IDLE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_identity::{Login, Mechanism};

    fn with_password(password: &str) -> Connection {
        Connection {
            bootstrap_servers: "kafka:9092".to_owned(),
            login: Some(Login::Password {
                mechanism: Mechanism::Plain,
                username: "user".to_owned(),
                password: password.to_owned(),
            }),
            tls: None,
        }
    }

    #[test]
    fn a_rotated_password_is_a_client_of_its_own_and_the_old_one_goes() {
        let start = Instant::now();
        let (old, new) = (with_password("old"), with_password("new"));
        let mut open = Open::default();
        assert_eq!(open.get(&old, start), None);
        let first = open.add(&old, 1, start);
        assert_eq!(*open.add(&old, 2, start), 1, "who came first is kept");
        assert_eq!(open.get(&new, start), None);
        open.add(&new, 3, start);

        let asked_for_in_between = start + IDLE / 2;
        assert_eq!(open.get(&new, asked_for_in_between).as_deref(), Some(&3));
        let after = start + IDLE + SWEEP;
        assert_eq!(open.get(&new, after).as_deref(), Some(&3));
        assert_eq!(open.get(&old, after), None);
        assert_eq!(Arc::strong_count(&first), 1, "nothing holds the old client");
    }
}
