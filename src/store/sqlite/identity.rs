//! Whether the file that is open is still the one under its name.
//!
//! A file that is deleted or replaced while it is open goes on taking writes, and all of them are lost when it is closed.
//! The write-ahead log beside it holds the newest of them, so it counts as well. Nobody but SQLite may take that one away,
//! and it does not while a connection is open.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::error::Place;
use crate::engine::ports::StoreError;

/// A file, by what the file system calls it: device and inode.
type Inode = (u64, u64);

/// Which files a store has open. Clones are of the same.
#[derive(Clone, Debug)]
pub(super) struct Identity(Arc<Files>);

#[derive(Debug)]
struct Files {
    store: Option<Inode>,
    log_path: PathBuf,
    /// Known once something was written: SQLite makes it then at the latest.
    log: OnceLock<Inode>,
}

impl Identity {
    /// That of a store whose connections have just been opened.
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

    /// Notes which file the write-ahead log is, once there is one.
    pub(super) fn note_log(&self) {
        if self.0.log.get().is_none()
            && let Ok(Some(log)) = inode(&self.0.log_path)
        {
            // The first one counts.
            let _ = self.0.log.set(log);
        }
    }

    /// The files are still there, under their names.
    ///
    /// # Errors
    /// [`StoreError`] of the kind `Replaced` when one is not.
    pub(super) fn check(&self, place: &Place, doing: &str) -> Result<(), StoreError> {
        let Files { store, log_path, log } = &*self.0;
        let what = match (store, inode(&place.path)) {
            // Without inodes there is nothing to compare.
            (None, _) | (_, Ok(None)) => return Ok(()),
            (Some(_), Err(error)) => Some(format!("the file is gone from under its name ({error})")),
            (Some(store), Ok(Some(found))) if *store != found => {
                Some("another file has taken its place while it was in use".to_owned())
            }
            (Some(_), Ok(Some(_))) => match log.get().map(|log| (log, inode(log_path))) {
                Some((log, Ok(Some(found)))) if *log != found => {
                    Some(format!("another file has taken the place of its log {}", log_path.display()))
                }
                Some((_, Err(error))) => Some(format!("its log {} is gone ({error})", log_path.display())),
                _ => None,
            },
        };
        what.map_or(Ok(()), |what| Err(place.replaced(doing, &what)))
    }
}

/// The inode of what stands under a path; `None` where there are no inodes.
#[cfg(unix)]
fn inode(path: &Path) -> std::io::Result<Option<Inode>> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).map(|metadata| Some((metadata.dev(), metadata.ino())))
}

#[cfg(not(unix))]
fn inode(_: &Path) -> std::io::Result<Option<Inode>> {
    Ok(None)
}
