//! One cycle of an object at a time, over all processes that share the store: what one of them pays, the next finds in the ledger.
//! Without it two processes that ask the same at the same time would both pay for it.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;

use super::Sqlite;
use crate::domain::hash::ContentHash;
use crate::engine::ports::{StoreError, StoreErrorKind};

const DOING: &str = "lock it for this cycle";

/// The right to run cycles of one object. Given back when it is dropped, or when the process ends, however it does.
#[derive(Debug)]
pub struct ObjectLock {
    /// The operating system keeps the lock for as long as this is open. `None` where it has no locks.
    _file: Option<File>,
}

impl Sqlite {
    /// Takes the right at once, or not at all: `None` when another process has it.
    ///
    /// # Errors
    /// [`StoreError`] when the lock file cannot be made or locked.
    pub fn try_lock_object(&self, object: &str) -> Result<Option<ObjectLock>, StoreError> {
        let file = self.lock_file(object)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(ObjectLock { _file: Some(file) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            // Then nothing is lost, but who starts the same cycle twice at once may pay twice.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                Ok(Some(ObjectLock { _file: None }))
            }
            Err(TryLockError::Error(error)) => Err(self.lock_failed(&error)),
        }
    }

    fn lock_file(&self, object: &str) -> Result<File, StoreError> {
        let mut path = self.path().as_os_str().to_owned();
        path.push(format!("-lock-{}", ContentHash::of_bytes(object.as_bytes()).short()));
        File::options().create(true).append(true).open(path).map_err(|error| self.lock_failed(&error))
    }

    fn lock_failed(&self, error: &std::io::Error) -> StoreError {
        let why = format!("{error}; its folder must be writable: mend that, or choose another with --store");
        self.place.error(StoreErrorKind::Other, DOING, why)
    }

    /// Waits until no other process runs a cycle of this object (`namespace/name`) on this store. `on_wait` is called if there
    /// is something to wait for. The lock is on an empty file of its own, beside the store.
    ///
    /// # Errors
    /// [`StoreError`] when that file cannot be made or locked.
    pub async fn lock_object(&self, object: &str, on_wait: impl FnOnce()) -> Result<ObjectLock, StoreError> {
        if let Some(lock) = self.try_lock_object(object)? {
            return Ok(lock);
        }
        on_wait();
        let file = self.lock_file(object)?;
        let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
        let file = locked.map_err(|_| self.place.closed(DOING))?.map_err(|error| self.lock_failed(&error))?;
        Ok(ObjectLock { _file: Some(file) })
    }
}
