//! Turns: a fair limit of concurrent work.
//!
//! The next turn goes to the namespace with the fewest turns; within it, first to parked work, then to work that has waited
//! longest. So a namespace with a thousand objects delays one with a single object by one turn, not by a thousand.
//! Some turns are reserved for namespaces without any. Work that only waits gives up its turn and is parked; the number of
//! parked ones is limited.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::lock;

/// The maximum number of parked ones over all namespaces; half as many if a namespace that is already running something
/// begins another. Each is a cycle in memory, with a separate thread.
const PARKED: usize = 256;

/// Hands out turns. Clones share them.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Mutex<Book>>);

struct Book {
    /// The number of free turns.
    free: usize,
    /// The number of those that are reserved for namespaces without any.
    kept: usize,
    /// How many a namespace may have parked and still begin another.
    parked_each: usize,
    /// The turns of each namespace.
    taken: HashMap<String, Taken>,
    /// The number of parked ones over all namespaces.
    parked: usize,
    /// Those that wait, in the order of arrival.
    waiting: Vec<Waiting>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    running: usize,
    parked: usize,
}

struct Waiting {
    namespace: String,
    /// Whether it had a turn before, and is parked.
    is_returning: bool,
    sender: oneshot::Sender<Turn>,
}

/// A turn, released on drop.
pub(crate) struct Turn {
    namespace: String,
    turns: Turns,
}

/// Work that has given up its turn, but has not ended. It ends when this is dropped.
pub(crate) struct Parked {
    namespace: String,
    turns: Turns,
}

impl Turns {
    /// At most `most` concurrent turns, of which `kept` are reserved for namespaces without any.
    #[must_use]
    pub(crate) fn new(most: usize, kept: usize) -> Self {
        Self(Arc::new(Mutex::new(Book {
            free: most,
            kept,
            parked_each: most.max(2),
            taken: HashMap::new(),
            parked: 0,
            waiting: Vec::new(),
        })))
    }

    /// Waits for a turn. Dropping the future ends the wait, and takes no turn from others.
    pub(crate) async fn take(&self, namespace: &str) -> Turn {
        self.wait(namespace, false).await
    }

    async fn wait(&self, namespace: &str, is_returning: bool) -> Turn {
        let (sender, receiver) = oneshot::channel();
        lock(&self.0).waiting.push(Waiting { namespace: namespace.to_owned(), is_returning, sender });
        self.hand_out();
        receiver.await.expect("a sender is dropped only after its receiver")
    }

    fn hand_out(&self) {
        while let Some((sender, turn)) = self.next() {
            // If the receiver was just dropped, the turn is released again.
            drop(sender.send(turn));
        }
    }

    fn next(&self) -> Option<(oneshot::Sender<Turn>, Turn)> {
        let mut book = lock(&self.0);
        book.waiting.retain(|waiting| !waiting.sender.is_closed());
        let (at, _) = book
            .waiting
            .iter()
            .enumerate()
            .filter(|(_, waiting)| book.may_go(waiting))
            // Ties go to the first.
            .min_by_key(|(_, waiting)| (book.of(&waiting.namespace).running, !waiting.is_returning))?;
        let Waiting { namespace, sender, .. } = book.waiting.remove(at);
        book.free -= 1;
        book.taken.entry(namespace.clone()).or_default().running += 1;
        Some((sender, Turn { namespace, turns: self.clone() }))
    }

    /// Changes the turns of a namespace, and hands out turns that this frees.
    fn change(&self, namespace: &str, change: impl FnOnce(&mut Book, &mut Taken)) {
        {
            let mut book = lock(&self.0);
            let mut taken = book.of(namespace);
            change(&mut book, &mut taken);
            if taken.running + taken.parked == 0 {
                book.taken.remove(namespace);
            } else {
                book.taken.insert(namespace.to_owned(), taken);
            }
        }
        self.hand_out();
    }
}

impl Book {
    fn of(&self, namespace: &str) -> Taken {
        self.taken.get(namespace).copied().unwrap_or_default()
    }

    fn may_go(&self, Waiting { namespace, is_returning, .. }: &Waiting) -> bool {
        let taken = self.of(namespace);
        let kept = if taken.running == 0 { 0 } else { self.kept };
        let most = if taken.running + taken.parked == 0 { PARKED } else { PARKED / 2 };
        // Parked work frees memory when it resumes, so the number of parked ones does not limit it.
        self.free > kept && (*is_returning || (taken.parked < self.parked_each && self.parked < most))
    }
}

impl Turn {
    /// Gives up the turn without ending.
    #[must_use]
    pub(crate) fn park(self) -> Parked {
        let (turns, namespace) = (self.turns.clone(), self.namespace.clone());
        // In one step, so that the namespace never seems to have nothing running.
        let parked = {
            let mut book = lock(&turns.0);
            book.parked += 1;
            book.taken.entry(namespace.clone()).or_default().parked += 1;
            Parked { namespace, turns: turns.clone() }
        };
        drop(self);
        parked
    }
}

impl Parked {
    /// Waits for a turn again. If the future is dropped, the work stays parked.
    pub(crate) async fn take(&self) -> Turn {
        self.turns.wait(&self.namespace, true).await
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.change(&self.namespace, |book, taken| {
            book.free += 1;
            taken.running -= 1;
        });
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.turns.change(&self.namespace, |book, taken| {
            book.parked -= 1;
            taken.parked -= 1;
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::future::LocalBoxFuture;

    use super::*;

    /// A caller that wants a turn, and is polled at the right time.
    struct Asking<'a>(&'a str, LocalBoxFuture<'a, Turn>);

    fn asks<'a>(turns: &'a Turns, namespace: &'a str) -> Asking<'a> {
        let mut asking = Asking(namespace, turns.take(namespace).boxed_local());
        assert!(asking.1.as_mut().now_or_never().is_none(), "{namespace} has to wait");
        asking
    }

    fn has(turns: &Turns, namespace: &str) -> Turn {
        turns.take(namespace).now_or_never().unwrap_or_else(|| panic!("{namespace} has to wait"))
    }

    /// The callers that got a turn; they are removed from `waiting`.
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
        let turns = Turns::new(2, 0);
        let mut running: Vec<Turn> = (0..2).map(|_| has(&turns, "many")).collect();
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
        // Each time a namespace with the fewest turns; ties go to the first.
        assert_eq!(order, ["one", "many", "another", "many", "many", "many", "many"]);
        drop(running);
        let book = lock(&turns.0);
        assert_eq!((book.free, book.taken.len()), (2, 0));
    }

    #[test]
    fn a_dropped_wait_takes_no_turn_and_a_turn_that_comes_too_late_is_released() {
        let turns = Turns::new(1, 0);
        let first = has(&turns, "a");
        let (gone, told_too_late) = (asks(&turns, "a"), asks(&turns, "a"));
        let mut waiting = vec![asks(&turns, "a")];
        drop(gone);
        drop(first);
        assert!(served(&mut waiting).is_empty(), "it is the turn of another");
        drop(told_too_late);
        assert_eq!(served(&mut waiting).len(), 1);
        assert_eq!(lock(&turns.0).free, 1);
    }

    #[test]
    fn some_turns_are_kept_for_namespaces_that_have_none() {
        let turns = Turns::new(4, 1);
        let many: Vec<Turn> = (0..3).map(|_| has(&turns, "many")).collect();
        let _waits = asks(&turns, "many");
        let _one = has(&turns, "one");
        drop(many);
    }

    #[test]
    fn parked_work_leaves_its_turn_to_others_and_resumes_before_new_work() {
        let turns = Turns::new(1, 0);
        let parked = has(&turns, "a").park();
        let other = has(&turns, "b");
        let mut new = vec![asks(&turns, "a")];
        let mut back = parked.take().boxed_local();
        assert!(back.as_mut().now_or_never().is_none());
        drop(other);
        let turn = back.now_or_never().expect("who was parked comes first");
        assert!(served(&mut new).is_empty());
        drop(parked);
        drop(turn);
        assert_eq!(served(&mut new).len(), 1);
        let book = lock(&turns.0);
        assert_eq!((book.free, book.parked, book.taken.len()), (1, 0, 0));
    }

    #[test]
    fn a_namespace_whose_cycles_all_wait_begins_only_so_many() {
        let turns = Turns::new(2, 0);
        let mut parked: Vec<Parked> = (0..2).map(|_| has(&turns, "a").park()).collect();
        let mut waiting = vec![asks(&turns, "a")];
        // Another namespace is not delayed by that.
        let _other = has(&turns, "b");
        // One that ends frees a place for another.
        parked.pop();
        assert_eq!(served(&mut waiting).len(), 1);
    }

    #[test]
    fn work_that_gives_up_resuming_stays_parked() {
        let turns = Turns::new(1, 0);
        let parked = has(&turns, "a").park();
        let other = has(&turns, "b");
        let mut back = parked.take().boxed_local();
        assert!(back.as_mut().now_or_never().is_none());
        drop(back);
        drop(other);
        let book = lock(&turns.0);
        assert_eq!((book.free, book.parked, book.of("a").parked), (1, 1, 1));
        drop(book);
        drop(parked);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            /// However turns are taken, parked, resumed and dropped: none is lost, none is given twice, and nobody that is
            /// allowed to run keeps waiting.
            #[test]
            fn no_turn_is_lost(steps in prop::collection::vec((0..5_u8, 0..3_u8, any::<prop::sample::Index>()), 1..200)) {
                const NAMES: [&str; 3] = ["a", "b", "c"];
                let turns = Turns::new(3, 1);
                let mut running: Vec<Turn> = Vec::new();
                let mut parked: Vec<Parked> = Vec::new();
                for (step, namespace, which) in steps {
                    match step {
                        0 | 1 => running.extend(turns.take(NAMES[usize::from(namespace)]).now_or_never()),
                        2 if !running.is_empty() => drop(running.remove(which.index(running.len()))),
                        3 if !running.is_empty() => parked.push(running.remove(which.index(running.len())).park()),
                        4 if !parked.is_empty() => {
                            let at = which.index(parked.len());
                            let back = parked[at].take().now_or_never();
                            if let Some(turn) = back {
                                drop(parked.remove(at));
                                running.push(turn);
                            }
                        }
                        _ => {}
                    }
                    let book = lock(&turns.0);
                    prop_assert_eq!(book.free + running.len(), 3);
                    prop_assert_eq!(book.parked, parked.len());
                    prop_assert!(book.taken.values().map(|taken| taken.running).sum::<usize>() == running.len());
                }
                drop((running, parked));
                let book = lock(&turns.0);
                prop_assert_eq!((book.free, book.parked, book.taken.len()), (3, 0, 0));
            }
        }
    }
}
