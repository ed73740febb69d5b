//! Turns: who may go next when more want to than may at once.
//!
//! The next turn goes to the namespace that has the fewest, and in it first to who has had one and only waited since, then to
//! who has waited longest. So somebody with a thousand objects delays somebody with one by a turn, not by a thousand. Some turns
//! are kept for namespaces that have none. Who only waits gives up its turn, and is parked; how many may be is bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::lock;

/// How many may be parked over all namespaces; half as many before a namespace that has one under way already begins another. Each
/// is a cycle in memory, with a thread of its own.
const PARKED: usize = 256;

/// Hands out turns. Copies hand out the same ones.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Mutex<Book>>);

struct Book {
    /// How many turns may still be given.
    free: usize,
    /// How many of them only to namespaces that have none.
    kept: usize,
    /// How many of one namespace may be parked before it begins another.
    parked_each: usize,
    /// What each namespace has.
    taken: HashMap<String, Taken>,
    /// How many are parked over all.
    parked: usize,
    /// Who waits, in the order in which they came.
    waiting: Vec<Waiting>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    running: usize,
    parked: usize,
}

struct Waiting {
    namespace: String,
    /// It has had a turn before, and gave it up.
    comes_back: bool,
    tell: oneshot::Sender<Turn>,
}

/// A turn. It ends when it is dropped.
pub(crate) struct Turn {
    namespace: String,
    turns: Turns,
}

/// Somebody who has given up the turn, and has not ended. It ends when this is dropped.
pub(crate) struct Parked {
    namespace: String,
    turns: Turns,
}

impl Turns {
    /// So many at once, of which some are kept for namespaces that have none.
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

    /// Waits for a turn. Whoever drops the future waits no longer, and takes no turn from anybody.
    pub(crate) async fn take(&self, namespace: &str) -> Turn {
        self.wait(namespace, false).await
    }

    async fn wait(&self, namespace: &str, comes_back: bool) -> Turn {
        let (tell, told) = oneshot::channel();
        lock(&self.0).waiting.push(Waiting { namespace: namespace.to_owned(), comes_back, tell });
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
        book.waiting.retain(|waiting| !waiting.tell.is_closed());
        let (at, _) = book
            .waiting
            .iter()
            .enumerate()
            .filter(|(_, waiting)| book.may_go(waiting))
            // Of several that are equal, the first.
            .min_by_key(|(_, waiting)| (book.of(&waiting.namespace).running, !waiting.comes_back))?;
        let Waiting { namespace, tell, .. } = book.waiting.remove(at);
        book.free -= 1;
        book.taken.entry(namespace.clone()).or_default().running += 1;
        Some((tell, Turn { namespace, turns: self.clone() }))
    }

    /// Changes what a namespace has, and gives somebody else a turn if that makes room.
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

    fn may_go(&self, Waiting { namespace, comes_back, .. }: &Waiting) -> bool {
        let taken = self.of(namespace);
        let kept = if taken.running == 0 { 0 } else { self.kept };
        let most = if taken.running + taken.parked == 0 { PARKED } else { PARKED / 2 };
        // Who comes back gives up memory by going on: it is never held up by how many are parked.
        self.free > kept && (*comes_back || (taken.parked < self.parked_each && self.parked < most))
    }
}

impl Turn {
    /// Gives up the turn without having ended.
    #[must_use]
    pub(crate) fn park(self) -> Parked {
        let (turns, namespace) = (self.turns.clone(), self.namespace.clone());
        // Nobody may take the namespace for one that has nothing under way, not for a moment.
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
    /// Waits for a turn again. Whoever drops the future stays parked.
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

    /// Somebody who wants a turn, and has it once asked at the right time.
    struct Asking<'a>(&'a str, LocalBoxFuture<'a, Turn>);

    fn asks<'a>(turns: &'a Turns, namespace: &'a str) -> Asking<'a> {
        let mut asking = Asking(namespace, turns.take(namespace).boxed_local());
        assert!(asking.1.as_mut().now_or_never().is_none(), "{namespace} has to wait");
        asking
    }

    fn has(turns: &Turns, namespace: &str) -> Turn {
        turns.take(namespace).now_or_never().unwrap_or_else(|| panic!("{namespace} has to wait"))
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
        // Each time one of those who have fewest, and of several the first.
        assert_eq!(order, ["one", "many", "another", "many", "many", "many", "many"]);
        drop(running);
        let book = lock(&turns.0);
        assert_eq!((book.free, book.taken.len()), (2, 0));
    }

    #[test]
    fn who_does_not_wait_any_more_takes_no_turn_and_one_that_was_told_too_late_gives_it_back() {
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
    fn who_is_parked_leaves_its_turn_to_others_and_comes_back_before_new_ones() {
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
        // Somebody else is not held up by that.
        let _other = has(&turns, "b");
        // One that ends makes room for another.
        parked.pop();
        assert_eq!(served(&mut waiting).len(), 1);
    }

    #[test]
    fn who_gives_up_coming_back_is_parked_still() {
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
            /// Whatever is taken, parked, taken up again and dropped in whatever order: no turn is lost, none is given twice, and
            /// nobody who may go is left waiting.
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
