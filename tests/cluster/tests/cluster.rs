//! The life of an embedded cluster on this machine. Needs root, and takes down a cluster that is running.

mod machine;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use embedded_cluster::{Cluster, Component, down, kill9, running, up};
use host::progress::Progress;
use machine::Machine;
use serde_json::json;

const IMAGE: &str = "localhost/syncpipeline/busybox:test";
const GREETING: &str = "hello from a pod";
const TIMEOUT: Duration = Duration::from_secs(60);

/// There is one cluster, so there is one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_cluster_runs_pods_is_reused_and_repaired_and_leaves_nothing() -> Result<()> {
    let _alone = alone();
    let progress = Progress::new();
    down(&progress)?;
    let before = Machine::observe()?;

    let cluster = up(&progress)?;
    import_busybox()?;
    pods_run_and_reach_services(&cluster)?;
    rights_are_limited(&cluster)?;
    cluster.wait_for_metrics(&progress, Duration::from_secs(120))?;
    let figures = kubectl(&cluster, &["top", "node", "--no-headers"])?;
    ensure!(
        figures.starts_with(embedded_cluster::NODE_NAME),
        "no figures of the node: {figures}"
    );

    let start = Instant::now();
    let again = up(&progress)?;
    ensure!(
        start.elapsed() < Duration::from_secs(10),
        "a healthy cluster took {:?} to be reused",
        start.elapsed()
    );
    ensure!(again.kubeconfig == cluster.kubeconfig && again.node_address == cluster.node_address);

    for component in [Component::ApiServer, Component::Scheduler, Component::Containerd] {
        kill9(component)?;
    }
    ensure!(running().is_none(), "a cluster without API server counts as running");
    up(&progress)?;
    run_pod(&cluster, "after-repair", &["echo", "scheduled again"])?;
    expect_log(&cluster, "after-repair", "scheduled again")?;

    down(&progress)?;
    ensure!(running().is_none());
    before.assert_unchanged()?;
    down(&progress).context("a second down has nothing to do")
}

#[test]
fn a_bring_up_that_was_killed_leaves_nothing_after_down() -> Result<()> {
    let _alone = alone();
    let progress = Progress::new();
    down(&progress)?;
    let before = Machine::observe()?;
    // At different depths: with certificates only, with a control plane, and with a kubelet.
    for component in [None, Some(Component::ApiServer), Some(Component::Kubelet)] {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--exact", "bring_up_to_be_killed", "--ignored"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let reached = host::wait_until("the bring-up to get on", TIMEOUT, || {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(Err(anyhow::anyhow!(
                    "the bring-up ended before it was killed: {status}"
                ))));
            }
            let reached = match component {
                None => host::state::dir().join("cluster/certificates").exists(),
                Some(component) => component.daemon().is_some(),
            };
            Ok(reached.then_some(Ok(())))
        });
        child.kill()?;
        child.wait()?;
        reached??;
        down(&progress)?;
        before
            .assert_unchanged()
            .with_context(|| format!("killed at {component:?}"))?;
    }
    Ok(())
}

/// Not a test: the process that the test above kills.
#[test]
#[ignore = "started and killed by another test"]
fn bring_up_to_be_killed() {
    up(&Progress::new()).map(drop).unwrap();
    // To be killed is the only way out, however fast the machine is.
    loop {
        std::thread::park();
    }
}

fn pods_run_and_reach_services(cluster: &Cluster) -> Result<()> {
    run_pod(cluster, "web", &["httpd", "-f", "-p", "8080", "-h", "/www"])?;
    kubectl(cluster, &["expose", "pod", "web", "--port=80", "--target-port=8080"])?;
    kubectl(cluster, &["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"])?;
    let address = kubectl(
        cluster,
        &["get", "service", "web", "--output=jsonpath={.spec.clusterIP}"],
    )?;
    let page = host::wait_until("the Service to answer the host", TIMEOUT, || {
        get(&format!("{address}:80")).map(Some)
    })?;
    ensure!(page.ends_with(GREETING), "another page: {page}");
    run_pod(
        cluster,
        "client",
        &["wget", "-q", "-O", "-", "http://web.default.svc.cluster.local/"],
    )?;
    expect_log(cluster, "client", GREETING)?;
    run_pod(cluster, "short-name", &["wget", "-q", "-O", "-", "http://web/"])?;
    expect_log(cluster, "short-name", GREETING)
}

fn rights_are_limited(cluster: &Cluster) -> Result<()> {
    let may = |verb: &str| -> Result<String> {
        let output = cluster
            .kubectl()
            .args([
                "auth",
                "can-i",
                verb,
                "secrets",
                "--as=system:serviceaccount:default:default",
            ])
            .output()?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    ensure!(
        may("list")? == "no",
        "a service account without a role may list secrets"
    );
    Ok(())
}

fn run_pod(cluster: &Cluster, name: &str, command: &[&str]) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "OnFailure",
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": command,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "readOnlyRootFilesystem": true},
            }],
        },
    });
    let mut child = cluster
        .kubectl()
        .args(["apply", "--filename=-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    child
        .stdin
        .take()
        .context("no pipe to kubectl")?
        .write_all(pod.to_string().as_bytes())?;
    ensure!(child.wait()?.success(), "kubectl refused the pod {name}");
    Ok(())
}

fn expect_log(cluster: &Cluster, pod: &str, expected: &str) -> Result<()> {
    host::wait_until(&format!("the log of {pod}"), TIMEOUT, || {
        let log = kubectl(cluster, &["logs", pod])?;
        if log.trim() != expected {
            bail!("it is {log:?}");
        }
        Ok(Some(()))
    })
}

fn kubectl(cluster: &Cluster, args: &[&str]) -> Result<String> {
    let output = cluster.kubectl().args(args).output()?;
    ensure!(
        output.status.success(),
        "kubectl {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn get(address: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address.parse()?, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// An image of BusyBox and one page, made and imported as the project's own images are.
fn import_busybox() -> Result<()> {
    host::packages::ensure(&[("buildah", "buildah"), ("/bin/busybox", "busybox-static")])?;
    let work = tempfile::tempdir()?;
    let root = work.path().join("image");
    std::fs::create_dir_all(root.join("bin"))?;
    std::fs::create_dir_all(root.join("www"))?;
    std::fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    for link in ["httpd", "wget", "echo"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(link))?;
    }
    std::fs::write(root.join("www/index.html"), GREETING)?;
    let archive = work.path().join("busybox.tar");
    let script = r#"set -eu
        buildah() { command buildah --storage-driver vfs --root "$1/storage" --runroot "$1/run" "${@:2}"; }
        container=$(buildah "$1" from scratch)
        buildah "$1" copy -q "$container" "$2" / >/dev/null
        buildah "$1" config --env PATH=/bin "$container"
        buildah "$1" commit -q "$container" "$4" >/dev/null
        buildah "$1" push -q "$4" "oci-archive:$3:$4""#;
    let mut build = Command::new("bash");
    build
        .args(["-c", script, "bash"])
        .args([work.path(), &root, &archive])
        .arg(IMAGE);
    host::run(&mut build, &work.path().join("build.log"))?;
    embedded_cluster::import_image(Path::new(&archive))
}
