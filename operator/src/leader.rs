//! Leader election: of several operators one works, the others stand by.
//!
//! The Lease is kept by `kube-lease-manager`: renewed well before it expires, and released on a graceful end, so
//! that the next one need not wait. An operator that loses it stops its work at once, and stands by again.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// Seconds until the Lease of an operator that has gone silent may be taken.
const DURATION: u64 = 15;
/// Seconds before its end at which the Lease is renewed.
const GRACE: u64 = 10;
/// Between two attempts to watch the Lease.
const RETRY: Duration = Duration::from_secs(2);
/// How long the release may take at the end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Who stands for election, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Name of the Lease.
    pub lease: String,
    /// Its namespace.
    pub namespace: String,
    /// Who: the pod's name, so that a container that was restarted is the same candidate.
    pub identity: String,
}

/// Held while this operator is the one that works.
pub struct Leadership {
    state: watch::Receiver<bool>,
    task: JoinHandle<Result<LeaseManager, LeaseManagerError>>,
}

impl Leadership {
    /// Waits until the Lease is this candidate's.
    pub async fn win(client: Client, candidate: &Candidate) -> Result<Leadership, LeaseManagerError> {
        loop {
            let manager = LeaseManagerBuilder::new(client.clone(), &candidate.lease)
                .with_namespace(&candidate.namespace)
                .with_identity(&candidate.identity)
                .with_field_manager(&candidate.identity)
                .with_duration(DURATION)
                .with_grace(GRACE)
                .build()
                .await?;
            let (state, task) = manager.watch().await;
            let mut leadership = Leadership { state, task };
            info!(identity = candidate.identity, "standing by");
            if leadership.until(true).await {
                info!(identity = candidate.identity, "leading");
                return Ok(leadership);
            }
            // The API server may be away, or somebody has deleted the Lease.
            warn!(
                identity = candidate.identity,
                "cannot watch the Lease: standing by again"
            );
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Waits until the Lease is somebody else's.
    pub async fn lost(&mut self) {
        self.until(false).await;
    }

    /// Gives the Lease to whoever stands by.
    pub async fn release(self) {
        let Leadership { state, mut task } = self;
        drop(state);
        match tokio::time::timeout(RELEASE_TIMEOUT, &mut task).await {
            Ok(Ok(Ok(_))) => {}
            // It expires by itself. A release that came late would be that of the next leadership.
            _ => {
                task.abort();
                warn!("the Lease was not released; it expires within {DURATION} s");
            }
        }
    }

    /// Waits until this candidate leads or leads no more. False where the task has ended before: nothing is renewed then.
    async fn until(&mut self, wanted: bool) -> bool {
        self.state.wait_for(|leading| *leading == wanted).await.is_ok()
    }
}
