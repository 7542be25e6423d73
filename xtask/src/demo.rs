//! `cargo xtask demo`: a whole pipeline on a real cluster, under load, with checks at the end.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use host::progress::Progress;

use crate::cluster::Provider;
use crate::environment::{self, Options};
use crate::{foreground, workspace};

/// Shows a pipeline that scales by lag, on real parts.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    #[command(flatten)]
    options: Options,
    /// Which pipeline to run: a file of examples/ without its ending
    #[arg(long, default_value = "mobileforge")]
    example: String,
    /// Leave everything running at the end
    #[arg(long)]
    keep: bool,
}

/// What to do with an environment that was kept.
const LOOK_AROUND: &str = r#"
Everything is left running. To look around:
    eval "$(cargo xtask cluster up)"            # KUBECONFIG, and kubectl and helm in PATH
    kubectl get sp --namespace demo --watch
To take it down:
    cargo xtask services down && cargo xtask cluster down"#;

pub(crate) fn run(demo: &Demo) -> Result<()> {
    let example = example(&demo.example)?;
    let progress = Progress::new();
    environment::with(&demo.options, demo.keep, &progress, |environment| {
        let mut command = environment.binary("demo")?;
        // What goes with its cluster need not be taken out of it first.
        let keep = demo.keep || environment.temporary;
        command.arg("--example").arg(&example).args(keep.then_some("--keep"));
        foreground::run(&mut command)
    })?;
    if demo.keep && demo.options.cluster == Provider::Embedded {
        println!("{LOOK_AROUND}");
    }
    Ok(())
}

fn example(name: &str) -> Result<PathBuf> {
    let folder = workspace::path("examples");
    let path = folder.join(format!("{name}.yaml"));
    if !path.is_file() {
        let files = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        let mut names: Vec<String> = files
            .flatten()
            .filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".yaml")?.to_owned()))
            .collect();
        names.sort();
        bail!("there is no example {name}; there are: {}", names.join(", "));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_example_is_answered_with_the_known_ones() {
        assert!(example("mobileforge").unwrap().ends_with("examples/mobileforge.yaml"));
        let error = example("nothing").unwrap_err().to_string();
        assert!(
            error.starts_with("there is no example nothing; there are: ") && error.contains("mobileforge"),
            "{error}"
        );
    }
}
