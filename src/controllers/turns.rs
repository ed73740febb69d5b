//! Turns: who may go next when more want to than may at once.
//!
//! The next turn goes to the namespace that has the fewest, and in it to whoever has waited longest. So somebody with a
//! thousand objects delays somebody with one by a turn, not by a thousand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::lock;

/// Hands out turns. Copies hand out the same ones.
#[derive(Clone)]
pub struct Turns(Arc<Mutex<Book>>);

struct Book {
    /// How many turns may still be given.
    free: usize,
    /// How many each namespace has.
    taken: HashMap<String, usize>,
    /// Who waits, in the order in which they came.
    waiting: Vec<(String, oneshot::Sender<Turn>)>,
}

/// A turn. It ends when it is dropped.
pub struct Turn {
    namespace: String,
    turns: Turns,
}

impl Turns {
    /// So many at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Book { free: most, taken: HashMap::new(), waiting: Vec::new() })))
    }

    /// Waits for a turn. Whoever drops the future waits no longer, and takes no turn from anybody.
    pub async fn take(&self, namespace: &str) -> Turn {
        let (tell, told) = oneshot::channel();
        lock(&self.0).waiting.push((namespace.to_owned(), tell));
        self.hand_out();
        told.await.expect("who waits is told, or forgotten only when it waits no longer")
    }

    fn hand_out(&self) {
        while let Some((tell, turn)) = self.next() {
            // Whoever has gone in this very moment gives it back by not taking it.
            drop(tell.send(turn));
        }
    }

    fn next(&self) -> Option<(oneshot::Sender<Turn>, Turn)> {
        let mut book = lock(&self.0);
        book.waiting.retain(|(_, tell)| !tell.is_closed());
        if book.free == 0 {
            return None;
        }
        let taken = |namespace: &String| book.taken.get(namespace).copied().unwrap_or(0);
        // Of several that have equally few, the first.
        let (at, _) = book.waiting.iter().enumerate().min_by_key(|(_, (namespace, _))| taken(namespace))?;
        let (namespace, tell) = book.waiting.remove(at);
        book.free -= 1;
        *book.taken.entry(namespace.clone()).or_default() += 1;
        Some((tell, Turn { namespace, turns: self.clone() }))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut book = lock(&self.turns.0);
            book.free += 1;
            let taken = book.taken.get_mut(&self.namespace);
            if taken.is_some_and(|taken| {
                *taken -= 1;
                *taken == 0
            }) {
                book.taken.remove(&self.namespace);
            }
        }
        self.turns.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::future::LocalBoxFuture;

    use super::*;

    /// Somebody who wants a turn, and has it once asked at the right time.
    struct Asking<'a>(&'a str, LocalBoxFuture<'a, Turn>);

    fn asks<'a>(turns: &'a Turns, namespace: &'a str) -> Asking<'a> {
        let mut asking = Asking(namespace, turns.take(namespace).boxed_local());
        assert!(asking.1.as_mut().now_or_never().is_none(), "{namespace} has to wait");
        asking
    }

    /// Who has got a turn of those who wait; they wait no longer.
    fn served<'a>(waiting: &mut Vec<Asking<'a>>) -> Vec<(&'a str, Turn)> {
        let mut served = Vec::new();
        waiting.retain_mut(|asking| match asking.1.as_mut().now_or_never() {
            Some(turn) => {
                served.push((asking.0, turn));
                false
            }
            None => true,
        });
        served
    }

    #[test]
    fn a_namespace_with_one_is_next_whatever_the_others_have_asked_for() {
        let turns = Turns::new(2);
        let mut running: Vec<Turn> = (0..2).map(|_| turns.take("many").now_or_never().unwrap()).collect();
        let mut waiting: Vec<Asking<'_>> = (0..5).map(|_| asks(&turns, "many")).collect();
        waiting.push(asks(&turns, "one"));
        waiting.push(asks(&turns, "another"));
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(running.remove(0));
            let [(namespace, turn)] = <[_; 1]>::try_from(served(&mut waiting)).ok().expect("one ends, one begins");
            order.push(namespace);
            running.push(turn);
        }
        // Each time one of those who have fewest, and of several the first.
        assert_eq!(order, ["one", "many", "another", "many", "many", "many", "many"]);
        drop(running);
        let book = lock(&turns.0);
        assert_eq!((book.free, book.taken.len()), (2, 0));
    }

    #[test]
    fn who_does_not_wait_any_more_takes_no_turn_and_one_that_was_told_too_late_gives_it_back() {
        let turns = Turns::new(1);
        let first = turns.take("a").now_or_never().unwrap();
        let (gone, told_too_late) = (asks(&turns, "a"), asks(&turns, "a"));
        let mut waiting = vec![asks(&turns, "a")];
        drop(gone);
        drop(first);
        assert!(served(&mut waiting).is_empty(), "it is the turn of another");
        drop(told_too_late);
        assert_eq!(served(&mut waiting).len(), 1);
        assert_eq!(lock(&turns.0).free, 1);
    }
}
