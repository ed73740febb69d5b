//! Resources that a call holds until its answer is in the ledger.
//!
//! The memory of all answers together is limited, and a long one is copied several times until it is recorded. The reader
//! of an answer ([`keep`]) need not know by whom and when it is recorded: what it keeps is dropped when the call ends
//! ([`until_done`]).

use std::any::Any;
use std::cell::RefCell;

tokio::task_local! {
    static KEPT: RefCell<Vec<Box<dyn Any + Send>>>;
}

/// Runs a call, including the recording of its answer, and then drops what was kept during it.
pub async fn until_done<F: Future>(call: F) -> F::Output {
    KEPT.scope(RefCell::default(), call).await
}

/// Keeps a value until the current call ends; drops it immediately if there is none.
pub fn keep(held: impl Any + Send) {
    // Fails outside of a call; the value is then dropped with the closure.
    let _ = KEPT.try_with(|kept| kept.borrow_mut().push(Box::new(held)));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn what_a_call_keeps_is_dropped_when_it_ends() {
        let thing = Arc::new(());
        let inside = until_done(async {
            keep(Arc::clone(&thing));
            tokio::task::yield_now().await;
            Arc::strong_count(&thing)
        });
        assert_eq!(inside.await, 2);
        assert_eq!(Arc::strong_count(&thing), 1);
        keep(Arc::clone(&thing));
        assert_eq!(Arc::strong_count(&thing), 1, "nobody to keep it for");
    }
}
