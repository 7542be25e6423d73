//! containerd with a configuration, data and socket of its own, apart from one that the machine may run already.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use host::progress::Progress;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::json;

use crate::blueprint::{self, Blueprint};
use crate::component::Component;
use crate::network::POD_BRIDGE;
use crate::scratch_image;

/// Where distributions keep CNI plugins.
const CNI_PLUGIN_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];
/// The name of the pods' network.
pub(crate) const POD_NETWORK: &str = "syncpipeline";
/// containerd's namespace of what the kubelet runs.
const NAMESPACE: &str = "k8s.io";
/// The sandbox image. One name for all its versions: containerd's configuration need not follow them.
const PAUSE_IMAGE: &str = "localhost/syncpipeline/pause:dev";

/// Writes the configuration, starts containerd if it is not running and gives it the sandbox image.
pub(crate) fn start(blueprint: &Blueprint, progress: &Progress) -> Result<()> {
    progress.run("container runtime", |_| {
        write_network(blueprint)?;
        write_configuration(blueprint)?;
        let containerd = Component::Containerd.ensure(blueprint)?;
        containerd.wait_until("containerd to answer", Duration::from_secs(60), || {
            run_ctr(&["version"]).map(Some)
        })?;
        if !run_ctr(&["images", "list", "--quiet"])?
            .lines()
            .any(|image| image == PAUSE_IMAGE)
        {
            let archive = blueprint.path("pause.tar");
            scratch_image::write(&archive, PAUSE_IMAGE, &blueprint.binaries.pause())?;
            import_image(&archive)?;
            host::state::remove(&archive)?;
        }
        Ok(())
    })
}

/// Makes the images in an OCI or Docker archive known to the node, under the names the archive gives them.
pub fn import_image(archive: &Path) -> Result<()> {
    run_ctr(&["images", "import", &archive.to_string_lossy()])
        .map(drop)
        .with_context(|| format!("import {}", archive.display()))
}

/// The socket at which containerd listens.
pub(crate) fn socket() -> PathBuf {
    blueprint::folder().join("containerd.sock")
}

pub(crate) fn containerd(blueprint: &Blueprint) -> (PathBuf, Vec<String>) {
    (
        PathBuf::from("containerd"),
        vec![format!("--config={}", blueprint.text("containerd/config.toml"))],
    )
}

fn run_ctr(args: &[&str]) -> Result<String> {
    host::interrupt::check()?;
    let output = Command::new("ctr")
        .arg("--address")
        .arg(socket())
        .args(["--namespace", NAMESPACE, "--connect-timeout=5s"])
        .args(args)
        .output()
        .context("run ctr, of the package containerd")?;
    if !output.status.success() {
        bail!(
            "ctr {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).context("read what ctr prints")
}

fn write_configuration(blueprint: &Blueprint) -> Result<()> {
    let plugins = cni_plugins()?;
    let folder = blueprint.path("containerd");
    host::state::create_private(&folder)?;
    let snapshotter = if overlays_work(&folder)? { "overlayfs" } else { "native" };
    // JSON strings are TOML strings, too.
    let text = |name: &str| json!(blueprint.text(name)).to_string();
    let configuration = format!(
        r#"version = 2
root = {root}
state = {state}
# Without CAP_SYS_RESOURCE no process may become harder to kill.
oom_score = 0
disabled_plugins = [
  "io.containerd.internal.v1.tracing",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
address = {socket}

[plugins."io.containerd.internal.v1.opt"]
path = {opt}

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# The same for containers.
restrict_oom_score_adj = true
# Below the state folder, where the end of the cluster finds them.
netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = {runc}
SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = {plugins}
conf_dir = {networks}
"#,
        root = text("containerd/root"),
        state = text("containerd/run"),
        socket = text("containerd.sock"),
        opt = text("containerd/opt"),
        runc = text("containerd/runc"),
        plugins = json!(plugins),
        networks = text("cni"),
    );
    host::secret::write_private(&folder.join("config.toml"), configuration.as_bytes())
}

fn write_network(blueprint: &Blueprint) -> Result<()> {
    let network = json!({
        "cniVersion": "0.4.0",
        "name": POD_NETWORK,
        "plugins": [{
            "type": "bridge",
            "bridge": POD_BRIDGE,
            "isGateway": true,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "dataDir": blueprint.path("cni/addresses"),
                "ranges": [[{"subnet": blueprint.addresses.pods.to_string()}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    });
    host::state::create_private(&blueprint.path("cni"))?;
    host::secret::write_private(&blueprint.path("cni/10-pods.conflist"), network.to_string().as_bytes())
}

fn cni_plugins() -> Result<&'static str> {
    CNI_PLUGIN_FOLDERS
        .into_iter()
        .find(|folder| Path::new(folder).join("bridge").exists())
        .with_context(|| {
            format!(
                "there are no CNI plugins in {}; install containernetworking-plugins",
                CNI_PLUGIN_FOLDERS.join(", ")
            )
        })
}

/// Whether one file system can be laid over another here. On top of an overlay, as in a container, it cannot.
fn overlays_work(folder: &Path) -> Result<bool> {
    let trial = folder.join("overlay-trial");
    host::state::remove(&trial)?;
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| trial.join(name));
    for layer in [&lower, &upper, &work, &merged] {
        fs::create_dir_all(layer).with_context(|| format!("create {}", layer.display()))?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let options = std::ffi::CString::new(options).context("name the folders of an overlay")?;
    let works = mount("overlay", &merged, "overlay", MountFlags::empty(), options.as_c_str()).is_ok();
    if works {
        unmount(&merged, UnmountFlags::empty()).with_context(|| format!("unmount {}", merged.display()))?;
    }
    host::state::remove(&trial)?;
    Ok(works)
}
