use super::*;
use std::sync::LazyLock;
use std::thread;

/// One state folder for the tests of this process. The environment cannot be changed without `unsafe`, so the
/// tests use names that nobody else does in the folder at hand.
fn unique(name: &str) -> String {
    static RUN: LazyLock<String> = LazyLock::new(|| format!("test-{}", std::process::id()));
    format!("{}-{name}", *RUN)
}

fn sleeper(name: &str, folder: &Path) -> Daemon {
    DaemonSpec::new(&unique(name), "sleep")
        .args(["600"])
        .log(folder.join("log"))
        .spawn()
        .unwrap()
}

#[test]
fn a_daemon_is_found_again_and_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = sleeper("found", folder.path());
    let found = Daemon::find(daemon.name()).unwrap();
    assert_eq!(found.pid(), daemon.pid());
    assert!(Daemon::all().iter().any(|other| other.name() == daemon.name()));
    let second = DaemonSpec::new(daemon.name(), "sleep")
        .args(["600"])
        .spawn()
        .unwrap_err();
    assert_eq!(
        second.to_string(),
        format!("{} is running already, as process {}", daemon.name(), daemon.pid())
    );
    found.stop(Duration::from_secs(10)).unwrap();
    assert!(!daemon.is_alive());
    assert!(Daemon::find(daemon.name()).is_none());
    assert!(!pid_file(&run_dir(), daemon.name()).exists());
}

#[test]
fn a_reused_number_is_neither_found_nor_killed() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = sleeper("reused", folder.path());
    // What a pid file of an earlier process says whose number `daemon` got.
    let mut content = serde_json::to_value(&daemon).unwrap();
    content["start_time"] = (content["start_time"].as_u64().unwrap() - 1).into();
    let earlier: Daemon = serde_json::from_value(content.clone()).unwrap();
    let run = folder.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::write(pid_file(&run, daemon.name()), content.to_string()).unwrap();
    assert!(Daemon::find_in(&run, daemon.name()).is_none());
    earlier.stop(Duration::from_secs(1)).unwrap();
    earlier.kill9().unwrap();
    assert!(daemon.is_alive(), "another process was killed");
    daemon.kill9().unwrap();
    assert!(!daemon.is_alive());
}

#[test]
fn what_ignores_the_signal_is_killed_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let child_file = folder.path().join("child");
    let script = format!(
        "trap '' TERM; sleep 600 & echo $! > {}; wait; sleep 600",
        child_file.display()
    );
    let daemon = DaemonSpec::new(&unique("deaf"), "sh")
        .args(["-c", &script])
        .log(folder.path().join("log"))
        .spawn()
        .unwrap();
    let child = daemon
        .wait_until("child", Duration::from_secs(10), || {
            Ok(fs::read_to_string(&child_file)?.trim().parse::<i32>().ok())
        })
        .unwrap();
    let child = Identity::of(child).unwrap();
    assert!(child.is_alive());
    daemon.stop(Duration::from_millis(50)).unwrap();
    assert!(!daemon.is_alive());
    wait_until("the child's end", Duration::from_secs(5), || {
        Ok((!child.is_alive()).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_daemon_that_ends_stops_the_wait_with_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = DaemonSpec::new(&unique("brief"), "sh")
        .args(["-c", "echo cannot bind >&2; exit 1"])
        .log(folder.path().join("log"))
        .spawn()
        .unwrap();
    let error = daemon
        .wait_until::<()>("port", Duration::from_secs(60), || Ok(None))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!("port: {} has ended; the end of ", daemon.name())),
        "{error}"
    );
    assert!(error.ends_with("    cannot bind"), "{error}");
    daemon.kill9().unwrap();
}

#[test]
fn a_program_that_is_missing_is_named() {
    let error = DaemonSpec::new(&unique("missing"), "no-such-program")
        .spawn()
        .unwrap_err();
    assert!(
        error.to_string().ends_with("there is no program no-such-program"),
        "{error}"
    );
}

#[test]
fn a_daemon_gets_its_environment_and_a_session_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let daemon = DaemonSpec::new(&unique("session"), "sh")
        .args([
            "-c",
            r#"cut -d' ' -f1,5,6 /proc/$$/stat; echo "$SECRET"; pwd; exec sleep 600"#,
        ])
        .env("SECRET", "hidden")
        .current_dir(folder.path())
        .log(&log)
        .spawn()
        .unwrap();
    let lines = daemon
        .wait_until("output", Duration::from_secs(10), || {
            let text = fs::read_to_string(&log)?;
            Ok((text.lines().count() == 3).then_some(text))
        })
        .unwrap();
    let pid = daemon.pid();
    assert_eq!(
        lines,
        format!("{pid} {pid} {pid}\nhidden\n{}\n", folder.path().display())
    );
    let owner = thread::spawn({
        let daemon = daemon.clone();
        move || daemon.is_alive()
    });
    assert!(owner.join().unwrap());
    daemon.stop(Duration::from_secs(10)).unwrap();
}
