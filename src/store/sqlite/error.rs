//! Converts errors of SQLite into messages with remedies.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::MigrateError;

use whetstone_engine::ports::{StoreError, StoreErrorKind};

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

/// The location of the store, for error messages.
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
        let advice = "the file is damaged, or is not a store of Whetstone; restore it, or name another with --store";
        self.error(StoreErrorKind::Damaged, doing, format_args!("{what}: {advice}"))
    }

    /// The file was deleted or replaced while it was open.
    pub(super) fn replaced(&self, doing: &str, what: &str) -> StoreError {
        let why = format!(
            "{what}; writes would be lost, so no more calls are made; restore the file, or restart to continue \
             with the file that is now at this path"
        );
        self.error(StoreErrorKind::Replaced, doing, why)
    }

    /// The file was written by a newer version of this program.
    pub(super) fn newer(&self) -> StoreError {
        let why =
            "it was written by a newer version of whetstone; upgrade whetstone, or name another file with --store";
        self.error(StoreErrorKind::Newer, "open it", why)
    }

    /// Converts the error of a statement.
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
                    "another process has kept it locked for {:?}; wait for that process or stop it, and run again. What was \
                     recorded is kept",
                    self.patience
                ),
            ),
            FULL => self.full(doing),
            CORRUPT | NOTADB => self.damaged(doing, "it is not a SQLite database"),
            READONLY | CANTOPEN => self.error(
                StoreErrorKind::Other,
                doing,
                format_args!("{error}; make the file and its directory writable, or name another with --store"),
            ),
            _ => self.error(StoreErrorKind::Other, doing, error),
        }
    }

    fn full(&self, doing: &str) -> StoreError {
        let why = "the disk is full; free some space and run again. Every call recorded so far is kept and will not be \
                   paid for again";
        self.error(StoreErrorKind::Full, doing, why)
    }

    /// Converts the error of a migration.
    pub(super) fn not_migrated(&self, error: &MigrateError) -> StoreError {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => self.failed("open it", error),
            MigrateError::VersionMissing(_) => self.newer(),
            MigrateError::VersionMismatch(_) => {
                self.damaged("open it", "it was written by an unreleased version of Whetstone")
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
