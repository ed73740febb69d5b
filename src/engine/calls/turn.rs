//! Identical calls take turns: the second finds the answer of the first in the ledger.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedMutexGuard;

use super::lock;
use whetstone_domain::call::CallKey;

/// The keys of the calls that are running or waited for.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<CallKey, Arc<tokio::sync::Mutex<()>>>>);

/// The exclusive right to make the call with a key, released on drop.
pub(super) struct Turn {
    turns: Arc<Turns>,
    key: CallKey,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turn {
    /// Waits for the turn to make the call with this key.
    pub(super) async fn take(turns: &Arc<Turns>, key: CallKey) -> Self {
        let turn = Arc::clone(lock(&turns.0).entry(key).or_default());
        let mut taken = Self { turns: Arc::clone(turns), key, guard: None };
        taken.guard = Some(turn.lock_owned().await);
        taken
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut turns = lock(&self.turns.0);
        // Each waiting caller holds a clone of it.
        if turns.get(&self.key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.key);
        }
    }
}
