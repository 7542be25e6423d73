//! A process of its own, because asking to stop is process-wide.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use host::interrupt::{self, Interrupted};
use host::process::DaemonSpec;

#[test]
fn what_takes_long_gives_up_once_an_end_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let start = Instant::now();
    let waiting = thread::spawn(|| host::wait_until::<()>("never", Duration::from_secs(60), || Ok(None)));
    interrupt::request();
    let error = waiting.join().unwrap().unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Interrupted));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());

    let error = host::run(&mut Command::new("true"), &log).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Interrupted));
    assert!(!log.exists(), "the command was not started");

    let error = DaemonSpec::new("never", "sleep")
        .args(["60"])
        .log(&log)
        .spawn()
        .unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Interrupted));

    interrupt::clear();
    host::run(&mut Command::new("true"), &log).unwrap();
}
