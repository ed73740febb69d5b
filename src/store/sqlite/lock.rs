//! Serializes the cycles of an object over all processes that share the store, so that two of them do not pay for the same calls:
//! what one pays, the next finds in the ledger.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::Sqlite;
use whetstone_domain::hash::ContentHash;
use whetstone_engine::ports::{StoreError, StoreErrorKind};

const DOING: &str = "lock it for this cycle";

/// The part between the name of the store and that of the object in the names of lock files.
const INFIX: &str = "-lock-";

/// The lock of one object. Released when it is dropped or the process ends.
#[derive(Debug)]
pub struct ObjectLock {
    /// The operating system holds the lock while this file is open. `None` on systems without locks.
    file: Option<File>,
    path: PathBuf,
}

impl Drop for ObjectLock {
    fn drop(&mut self) {
        if cfg!(unix) && self.file.is_some() {
            // Removed before the lock is released, so that the next holder notices and creates another file.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Sqlite {
    /// Acquires the lock without waiting; `None` if another process holds it.
    ///
    /// # Errors
    /// [`StoreError`] if the lock file cannot be created or locked.
    pub fn try_lock_object(&self, object: &str) -> Result<Option<ObjectLock>, StoreError> {
        let path = self.lock_path(object);
        loop {
            let file = self.lock_file(&path)?;
            match file.try_lock() {
                Ok(()) if !is_still(&file, &path) => {}
                Ok(()) => return Ok(Some(ObjectLock { file: Some(file), path })),
                Err(TryLockError::WouldBlock) => return Ok(None),
                // Without locks, a cycle that is started twice concurrently may be paid for twice.
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                    return Ok(Some(ObjectLock { file: None, path }));
                }
                Err(TryLockError::Error(error)) => return Err(self.lock_failed(&error)),
            }
        }
    }

    fn lock_path(&self, object: &str) -> PathBuf {
        let mut path = self.path().as_os_str().to_owned();
        path.push(format!("{INFIX}{}", ContentHash::of_bytes(object.as_bytes()).short()));
        path.into()
    }

    fn lock_file(&self, path: &Path) -> Result<File, StoreError> {
        File::options().create(true).append(true).open(path).map_err(|error| self.lock_failed(&error))
    }

    fn lock_failed(&self, error: &std::io::Error) -> StoreError {
        let why = format!("{error}; make its directory writable, or name another with --store");
        self.place.error(StoreErrorKind::Other, DOING, why)
    }

    /// Waits until no other process runs a cycle of this object (`namespace/name`) on this store. Calls `on_wait` if it has to wait.
    /// The lock is on a separate empty file beside the store, which is removed with it.
    ///
    /// # Errors
    /// [`StoreError`] if the lock file cannot be created or locked.
    pub async fn lock_object(&self, object: &str, on_wait: impl FnOnce()) -> Result<ObjectLock, StoreError> {
        if let Some(lock) = self.try_lock_object(object)? {
            return Ok(lock);
        }
        on_wait();
        let path = self.lock_path(object);
        loop {
            let file = self.lock_file(&path)?;
            let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
            let file = locked.map_err(|_| self.place.closed(DOING))?.map_err(|error| self.lock_failed(&error))?;
            if is_still(&file, &path) {
                return Ok(ObjectLock { file: Some(file), path });
            }
        }
    }

    /// Removes the lock files of killed processes from the directory of the store.
    pub fn sweep_locks(&self) {
        let path = self.path();
        let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return;
        };
        let prefix = format!("{name}{INFIX}");
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let is_lock = entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix));
            let file = is_lock.then(|| File::options().append(true).open(entry.path()).ok()).flatten();
            if let Some(file) = file.filter(|file| file.try_lock().is_ok() && is_still(file, &entry.path())) {
                drop(ObjectLock { file: Some(file), path: entry.path() });
            }
        }
    }
}

/// Whether an opened file is still the one at this path. Its last holder may have removed it.
#[cfg(unix)]
fn is_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(ours), Ok(there)) = (file.metadata(), std::fs::metadata(path)) else { return false };
    (ours.dev(), ours.ino()) == (there.dev(), there.ino())
}

#[cfg(not(unix))]
fn is_still(_: &File, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn locks(folder: &Path) -> usize {
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
        files.filter(|name| name.to_str().unwrap().contains(INFIX)).count()
    }

    #[tokio::test]
    async fn a_lock_leaves_no_file_and_what_a_killed_process_leaves_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("store.db")).await.unwrap();
        let (held, other) =
            (store.try_lock_object("shop/a").unwrap().unwrap(), store.try_lock_object("shop/b").unwrap());
        assert!(store.try_lock_object("shop/a").unwrap().is_none());
        assert_eq!(locks(folder.path()), 2);
        drop(other);
        assert_eq!(locks(folder.path()), 1);
        drop(store.lock_file(&store.lock_path("shop/killed")).unwrap());
        assert_eq!(locks(folder.path()), 2);
        store.sweep_locks();
        assert_eq!(locks(folder.path()), 1, "the one that is held stays");
        assert!(store.try_lock_object("shop/a").unwrap().is_none(), "and is held still");
        drop(held);
        assert_eq!(locks(folder.path()), 0);
    }

    /// Although files are created and removed all the time, there is one holder at a time.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn however_many_want_it_one_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("store.db")).await.unwrap();
        let inside = std::sync::Arc::new(AtomicUsize::new(0));
        let all = (0..8).map(|_| {
            let (store, inside) = (store.clone(), std::sync::Arc::clone(&inside));
            tokio::spawn(async move {
                for _ in 0..50 {
                    let lock = store.lock_object("shop/a", || {}).await.unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold it");
                    tokio::task::yield_now().await;
                    assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1, "two hold it");
                    drop(lock);
                }
            })
        });
        for task in futures::future::join_all(all).await {
            task.unwrap();
        }
        assert_eq!(locks(folder.path()), 0);
    }
}
