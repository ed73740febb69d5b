//! A separate thread for renewing the Lease and answering the probes, however busy the rest of the process is.

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The thread, with its own runtime. It ends when this is dropped.
pub(crate) struct Vital {
    runtime: Handle,
    _end: DropGuard,
}

impl Vital {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().thread_name("vital-blocking").build()?;
        let handle = runtime.handle().clone();
        let end = CancellationToken::new();
        let ended = end.clone();
        std::thread::Builder::new().name("vital".to_owned()).spawn(move || runtime.block_on(ended.cancelled()))?;
        Ok(Self { runtime: handle, _end: end.drop_guard() })
    }

    /// The runtime, which must not run computations.
    #[must_use]
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_goes_on_while_every_thread_of_the_rest_is_blocked() {
        let vital = Vital::start().unwrap();
        let ticks = Arc::new(AtomicU32::new(0));
        let rest = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let counted = Arc::clone(&ticks);
        vital.runtime().spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        let block = || async { std::thread::sleep(Duration::from_secs(1)) };
        let blocked = [rest.spawn(block()), rest.spawn(block())];
        rest.block_on(async {
            for blocked in blocked {
                blocked.await.unwrap();
            }
        });
        assert!(ticks.load(Ordering::SeqCst) > 20, "{ticks:?}");
    }
}
