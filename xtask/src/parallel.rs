//! Independent works at the same time.

use std::thread;

use anyhow::{Error, Result, anyhow};
use host::interrupt::Interrupted;

use crate::interrupt;

/// A piece of work for [`all`].
pub(crate) type Work<'a> = Box<dyn FnOnce() -> Result<()> + Send + 'a>;

/// Runs all works, each in a thread, and waits for all of them. The first failure ends the others, which may have
/// minutes to go, and is the error. Nothing is started any more then, until [`host::interrupt::clear`].
pub(crate) fn all(works: Vec<Work<'_>>) -> Result<()> {
    let errors: Vec<Error> = thread::scope(|scope| {
        let run = |work: Work<'_>| work().inspect_err(|_| interrupt::end_children());
        let threads: Vec<_> = works.into_iter().map(|work| scope.spawn(move || run(work))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<()>>| {
            thread
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
                .err()
        };
        threads.into_iter().filter_map(join).collect()
    });
    let (ended, failed): (Vec<Error>, Vec<Error>) = errors.into_iter().partition(|error| error.is::<Interrupted>());
    failed.into_iter().chain(ended).next().map_or(Ok(()), Err)
}
