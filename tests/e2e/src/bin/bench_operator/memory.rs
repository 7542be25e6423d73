//! What the operator's process holds. On the embedded cluster pods are processes of this machine.

use anyhow::{Context, Result, bail};
use e2e::cluster::Cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use std::fs;

/// Selects the operator's pods.
const SELECTOR: &str = "app.kubernetes.io/component=operator,app.kubernetes.io/name=syncpipeline";

/// Resident memory of the operator that runs here, in MB; of the largest, where several do.
pub(crate) async fn of_operator(cluster: &Cluster) -> Result<f64> {
    let pods: Api<Pod> = Api::all(cluster.client());
    let pods = pods.list(&ListParams::default().labels(SELECTOR)).await?;
    let statuses = pods.into_iter().filter_map(|pod| pod.status?.container_statuses);
    let containers: Vec<String> = statuses
        .flatten()
        .filter_map(|status| Some(status.container_id?.rsplit_once('/')?.1.to_owned()))
        .collect();
    if containers.is_empty() {
        bail!("there is no pod with {SELECTOR}");
    }
    let kilobytes = processes(&containers)?.into_iter().filter_map(resident);
    let largest = kilobytes
        .max()
        .context("no process of the operator runs on this machine")?;
    Ok(largest as f64 / 1000.0)
}

/// Processes of these containers, by the paths of their control groups.
fn processes(containers: &[String]) -> Result<Vec<u32>> {
    let folders = fs::read_dir("/proc").context("list /proc")?;
    let pids = folders
        .flatten()
        .filter_map(|folder| folder.file_name().to_str()?.parse::<u32>().ok());
    let of_containers = pids.filter(|pid| {
        let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        containers.iter().any(|container| group.contains(container.as_str()))
    });
    Ok(of_containers.collect())
}

/// Resident memory of a process in kB (of 1,000 bytes); absent for one that is gone.
fn resident(pid: u32) -> Option<u64> {
    parse(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024 / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts_in_kibibytes() {
        assert_eq!(
            parse("Name:\toperator\nVmRSS:\t  100000 kB\nRssAnon:\t 1 kB\n"),
            Some(102_400)
        );
        assert_eq!(parse("Name:\tkthreadd\n"), None);
    }
}
