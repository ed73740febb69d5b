//! Detects that the open file was deleted or replaced.
//!
//! A file that is deleted or replaced while it is open still accepts writes, and all of them are lost when it is closed.
//! The write-ahead log contains the newest writes, so it is checked as well. Only SQLite may delete it, and does not while a
//! connection is open.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::error::Place;
use whetstone_engine::ports::StoreError;

/// The identity of a file in the file system: device and inode.
type Inode = (u64, u64);

/// The open files of a store. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Identity(Arc<Files>);

#[derive(Debug)]
struct Files {
    store: Option<Inode>,
    log_path: PathBuf,
    /// Known after the first write, when SQLite creates it at the latest.
    log: OnceLock<Inode>,
}

impl Identity {
    /// The identity of a store whose connections were just opened.
    pub(super) fn of(path: &Path) -> Self {
        let mut log_path = path.as_os_str().to_owned();
        log_path.push("-wal");
        let identity = Self(Arc::new(Files {
            store: inode(path).unwrap_or(None),
            log_path: log_path.into(),
            log: OnceLock::new(),
        }));
        identity.note_log();
        identity
    }

    /// Records the identity of the write-ahead log, once it exists.
    pub(super) fn note_log(&self) {
        if self.0.log.get().is_none()
            && let Ok(Some(log)) = inode(&self.0.log_path)
        {
            // Only the first one is recorded.
            let _ = self.0.log.set(log);
        }
    }

    /// Checks that the files were neither deleted nor replaced.
    ///
    /// # Errors
    /// [`StoreError`] of the kind `Replaced` if one was.
    pub(super) fn check(&self, place: &Place, doing: &str) -> Result<(), StoreError> {
        let Files { store, log_path, log } = &*self.0;
        let what = match (store, inode(&place.path)) {
            // Without inodes there is nothing to compare.
            (None, _) | (_, Ok(None)) => return Ok(()),
            (Some(_), Err(error)) => Some(format!("the file was deleted while it was in use ({error})")),
            (Some(store), Ok(Some(found))) if *store != found => {
                Some("the file was replaced while it was in use".to_owned())
            }
            (Some(_), Ok(Some(_))) => match log.get().map(|log| (log, inode(log_path))) {
                Some((log, Ok(Some(found)))) if *log != found => {
                    Some(format!("its log {} was replaced", log_path.display()))
                }
                Some((_, Err(error))) => Some(format!("its log {} was deleted ({error})", log_path.display())),
                _ => None,
            },
        };
        what.map_or(Ok(()), |what| Err(place.replaced(doing, &what)))
    }
}

/// The identity of the file at a path; `None` on systems without inodes.
#[cfg(unix)]
fn inode(path: &Path) -> std::io::Result<Option<Inode>> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).map(|metadata| Some((metadata.dev(), metadata.ino())))
}

#[cfg(not(unix))]
fn inode(_: &Path) -> std::io::Result<Option<Inode>> {
    Ok(None)
}
