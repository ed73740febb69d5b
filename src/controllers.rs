//! The operator: what is in the cluster → what should be, and the way there.
//!
//! [`reconcile`](optimization::reconcile) reads as its steps, one file a step:
//!
//! | step | in → out | client |
//! |---|---|---|
//! | [`observe`] | an AgentOptimization → what is in the cluster and in this process about it | reads |
//! | [`resolve`] | references → base prompt, inputs, and what is wrong with them ([`resolved`]) | reads |
//! | [`decision`] | all of that → the course: the next record, versions, which cycle should run ([`decide`](crate::decide::lifecycle), pure) | none |
//! | [`commit`] | the course → versions, the record | writes |
//! | [`act`] | the record → the target ConfigMap, restarts, cycles and watches | writes |
//! | [`report`] | what came of it → conditions, statuses, Events | writes |
//!
//! Each imports only what comes before it; `tests/loop/architecture.rs` has the order of all files.
//!
//! Reconciling *supervises*: cycles ([`cycles`]) and watches ([`watches`]) are tasks of this process that write nothing to
//! the API server. They are started, stopped and listened to here, and what they find is decided on in the next
//! reconcile. The record in the status is written in one conditional write before the ConfigMap follows it, so after a kill at any
//! point a promotion happens once and the ConfigMap comes to agree with the record.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) mod act;
mod commit;
pub(crate) mod computing;
mod conditions;
pub(crate) mod context;
pub(crate) mod cycles;
mod decision;
pub(crate) mod error;
mod finalizer;
pub(crate) mod health;
pub(crate) mod observe;
pub(crate) mod operator;
pub(crate) mod optimization;
mod record;
pub(crate) mod report;
pub(crate) mod resolve;
pub(crate) mod resolved;
pub(crate) mod restarts;
pub(crate) mod run_cycle;
pub(crate) mod stores;
pub(crate) mod turns;
pub(crate) mod vital;
pub(crate) mod watches;

/// Locks what no panic can leave half-written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
