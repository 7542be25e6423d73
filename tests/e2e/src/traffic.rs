//! The generator, in a pod, sending to the producer's Service.

use crate::cluster::Cluster;
use crate::eventually::eventually;
use crate::pipeline::Names;
use anyhow::{Context, Result};
use contract::port;
use generator::tally::{AcceptedRecord, Progress};
use k8s_openapi::api::core::v1::Pod;
use std::time::Duration;

/// Names the generator's image.
pub const IMAGE: &str = "SYNCPIPELINE_IMAGE_GENERATOR";
const NAME: &str = "generator";
const START: Duration = Duration::from_secs(60);

/// What to send.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Seed of the records.
    pub seed: u64,
    /// Phases, see [`generator::phase::Phase`].
    pub phases: String,
    /// Shares of the sources; the usual ones where none.
    pub mix: Option<String>,
    /// Most uploads without an answer.
    pub concurrency: usize,
}

/// A running generator.
#[derive(Clone)]
pub struct Generator {
    cluster: Cluster,
    namespace: String,
}

impl Generator {
    /// Starts a generator in the pipeline's namespace, in place of an earlier one.
    pub async fn start(cluster: &Cluster, names: &Names, plan: &Plan) -> Result<Generator> {
        let image = std::env::var(IMAGE).with_context(|| format!("{IMAGE} is not set"))?;
        let generator = Generator {
            cluster: cluster.clone(),
            namespace: names.namespace.clone(),
        };
        generator.stop().await?;
        cluster.apply(&pod(names, &image, plan)?).await?;
        eventually("the generator starts", START, async || {
            generator.progress().await.map(Some)
        })
        .await?;
        Ok(generator)
    }

    /// How far it is.
    pub async fn progress(&self) -> Result<Progress> {
        let text = self
            .cluster
            .get_from_pod(&self.namespace, NAME, port::GENERATOR, "/progress")
            .await?;
        serde_json::from_str(&text).context("read the generator's progress")
    }

    /// Waits until every phase is over and every upload has its answer.
    pub async fn finished(&self, timeout: Duration) -> Result<Progress> {
        eventually("the generator finishes", timeout, async || {
            let progress = self.progress().await?;
            Ok(progress.finished.then_some(progress))
        })
        .await
    }

    /// Waits for a phase to begin.
    pub async fn reached(&self, phase: &str, timeout: Duration) -> Result<()> {
        eventually(&format!("the generator reaches {phase}"), timeout, async || {
            let progress = self.progress().await?;
            Ok((progress.phase == phase).then_some(()))
        })
        .await
    }

    /// The receipts of all records accepted so far.
    pub async fn receipts(&self) -> Result<Vec<AcceptedRecord>> {
        self.cluster
            .lines_from_pod(&self.namespace, NAME, port::GENERATOR, "/receipts")
            .await
    }

    /// Removes the pod.
    pub async fn stop(&self) -> Result<()> {
        self.cluster.delete::<Pod>(&self.namespace, NAME, START).await
    }
}

fn pod(names: &Names, image: &str, plan: &Plan) -> Result<Pod> {
    let mut arguments = vec![
        format!("--target={}", names.producer_url()),
        format!("--seed={}", plan.seed),
        format!("--phases={}", plan.phases),
        format!("--concurrency={}", plan.concurrency),
    ];
    arguments.extend(plan.mix.as_ref().map(|mix| format!("--mix={mix}")));
    let pod = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": NAME,
            "namespace": names.namespace,
            "labels": {"app.kubernetes.io/name": NAME},
        },
        "spec": {
            "automountServiceAccountToken": false,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 5,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": NAME,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "args": arguments,
                "ports": [{"name": "http", "containerPort": port::GENERATOR}],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1},
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": true,
                },
            }],
        },
    });
    serde_json::from_value(pod).context("make the generator's pod")
}
