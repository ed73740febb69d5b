//! What a call takes of something bounded until its answer is in the ledger.
//!
//! Answers are read under a bound on how much all of them may take together, and a long one is copied several times until it
//! is recorded. Whoever reads it ([`keep`]) need not know who records it, nor when: what is kept goes when the call is done
//! with ([`until_done`]).

use std::any::Any;
use std::cell::RefCell;

tokio::task_local! {
    static KEPT: RefCell<Vec<Box<dyn Any + Send>>>;
}

/// Runs a call, the recording of its answer included, and drops at its end what was kept on the way.
pub(crate) async fn until_done<F: Future>(call: F) -> F::Output {
    KEPT.scope(RefCell::default(), call).await
}

/// Keeps something until the call that is under way is done; drops it at once when there is none.
pub(crate) fn keep(held: impl Any + Send) {
    // Without a call around it, the error is that nothing is kept, and the value goes with the closure.
    let _ = KEPT.try_with(|kept| kept.borrow_mut().push(Box::new(held)));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn what_is_kept_goes_when_the_call_is_done() {
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
