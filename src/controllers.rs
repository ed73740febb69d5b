//! The operator: makes the state of the cluster agree with the spec.
//!
//! [`reconcile`](optimization::reconcile) calls its steps, one file per step:
//!
//! | step | in → out | client |
//! |---|---|---|
//! | [`observe`] | an AgentOptimization → what is in the cluster and in this process about it | reads |
//! | [`resolve`] | references → base prompt, inputs, and what is wrong with them ([`resolved`]) | reads |
//! | [`decision`] | all of that → the course: the next record, versions, which cycle should run ([`decide`](whetstone_decide::lifecycle), pure) | none |
//! | [`commit`] | the course → versions, the record | writes |
//! | [`act`] | the record → the target ConfigMap, restarts, cycles and watches | writes |
//! | [`report`] | what came of it → conditions, statuses, Events | writes |
//!
//! Each imports only what comes before it; `tests/loop/architecture.rs` has the order of all files.
//!
//! Reconciling *supervises*: cycles ([`cycles`]) and watches ([`watches`]) are tasks of this process that write nothing to
//! the API server. They are started, stopped and queried here, and the next reconcile decides on their results. The record
//! in the status is committed in one conditional write before the ConfigMap is written, so after a kill at any point a
//! promotion happens once and the ConfigMap is reconciled with the record.

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

/// Locks a mutex whose value no panic can leave inconsistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
