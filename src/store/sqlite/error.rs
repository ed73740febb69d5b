//! What a failure of SQLite means to the user, and what to do about it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::MigrateError;

use crate::engine::ports::{StoreError, StoreErrorKind};

// https://www.sqlite.org/rescode.html
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const NOTADB: i32 = 26;
/// `SQLITE_IOERR_SHMSIZE`: the shared memory beside the write-ahead log could not grow, which is how a full disk shows there.
const IOERR_SHMSIZE: i32 = 4874;

/// Where the store is: what an error message must name.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: Arc<PathBuf>,
    pub(super) patience: Duration,
}

impl Place {
    /// An error about this store.
    pub(super) fn error(&self, kind: StoreErrorKind, doing: &str, why: impl fmt::Display) -> StoreError {
        StoreError { kind, message: format!("ledger {}: could not {doing}: {why}", self.path.display()) }
    }

    /// The store was closed, or its task ended.
    pub(super) fn closed(&self, doing: &str) -> StoreError {
        self.error(StoreErrorKind::Other, doing, "the store is closed")
    }

    /// Something in the file cannot be read back.
    pub(super) fn damaged(&self, doing: &str, what: impl fmt::Display) -> StoreError {
        let advice =
            "the file is damaged, or was changed by another program; restore it, or choose another with --store";
        self.error(StoreErrorKind::Damaged, doing, format_args!("{what}: {advice}"))
    }

    /// The file under the name is not the one that is open.
    pub(super) fn replaced(&self, doing: &str, what: &str) -> StoreError {
        let why = format!(
            "{what}; what is written now would be lost, so nothing more is paid: put the file back, or start again to go on \
             with what is there"
        );
        self.error(StoreErrorKind::Replaced, doing, why)
    }

    /// The file was written by a newer version of this program.
    pub(super) fn newer(&self) -> StoreError {
        let why =
            "it was written by a newer version of whetstone; upgrade whetstone, or choose another file with --store";
        self.error(StoreErrorKind::Newer, "open it", why)
    }

    /// What a failed statement means.
    pub(super) fn failed(&self, doing: &str, error: &sqlx::Error) -> StoreError {
        let Some(code) = result_code(error) else {
            return match error {
                sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => self.closed(doing),
                sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => self.damaged(doing, error),
                _ => self.error(StoreErrorKind::Other, doing, error),
            };
        };
        if code == IOERR_SHMSIZE {
            return self.full(doing);
        }
        match code & 0xff {
            BUSY | LOCKED => self.error(
                StoreErrorKind::Locked,
                doing,
                format_args!(
                    "another process has kept it locked for {:?}; wait until that is done, or end it, and run again. What was \
                     recorded is kept",
                    self.patience
                ),
            ),
            FULL => self.full(doing),
            CORRUPT | NOTADB => self.damaged(doing, "it is not a whetstone ledger"),
            READONLY | CANTOPEN => self.error(
                StoreErrorKind::Other,
                doing,
                format_args!("{error}; the file and its folder must be writable: mend that, or choose another with --store"),
            ),
            _ => self.error(StoreErrorKind::Other, doing, error),
        }
    }

    fn full(&self, doing: &str) -> StoreError {
        let why = "no space is left on its disk; free some and run again. Every call recorded so far is kept and will not be \
                   paid again";
        self.error(StoreErrorKind::Full, doing, why)
    }

    /// What a failed migration means.
    pub(super) fn not_migrated(&self, error: &MigrateError) -> StoreError {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => self.failed("open it", error),
            MigrateError::VersionMissing(_) => self.newer(),
            MigrateError::VersionMismatch(_) => {
                self.damaged("open it", "its schema is that of an unreleased version of whetstone")
            }
            _ => self.damaged("open it", error),
        }
    }
}

/// SQLite's extended result code.
pub(super) fn result_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// Another connection holds the lock.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    result_code(error).is_some_and(|code| matches!(code & 0xff, BUSY | LOCKED))
}
