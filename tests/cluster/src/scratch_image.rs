//! Container images of a single static program, made without a container engine.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

/// Writes a Docker archive of an image that has only `program` and runs it as nobody.
pub(crate) fn write(archive: &Path, image: &str, program: &Path) -> Result<()> {
    let build = archive.with_extension("build");
    host::state::remove(&build)?;
    host::state::create_private(&build)?;
    let name = program
        .file_name()
        .context("name the image's program")?
        .to_string_lossy()
        .into_owned();
    fs::copy(program, build.join(&name)).with_context(|| format!("copy {}", program.display()))?;
    pack(&build, "layer.tar", &[&name])?;
    let layer = fs::read(build.join("layer.tar")).context("read the image's layer")?;
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let configuration = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": [format!("/{name}")], "User": "65535:65535", "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex::encode(Sha256::digest(&layer)))]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [image], "Layers": ["layer.tar"]}]);
    fs::write(build.join("config.json"), configuration.to_string()).context("write the image's configuration")?;
    fs::write(build.join("manifest.json"), manifest.to_string()).context("write the image's manifest")?;
    pack(&build, "image.tar", &["manifest.json", "config.json", "layer.tar"])?;
    fs::rename(build.join("image.tar"), archive).with_context(|| format!("write {}", archive.display()))?;
    host::state::remove(&build)
}

/// Packs files of `folder`, owned by root and dated alike, so that the same content is the same image.
fn pack(folder: &Path, archive: &str, files: &[&str]) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.current_dir(folder).args([
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mtime=@0",
        "--create",
        "--file",
    ]);
    host::run(tar.arg(archive).args(files), &folder.join("tar.log"))
}
