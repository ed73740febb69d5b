//! Why an import failed.

use std::fmt;

/// A file could not be imported. The message has the location, the problem and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImportError {
    /// The file, as the user named it.
    pub file: String,
    /// The item in the file, such as `item 3` or `line 12`; empty for the whole file.
    pub item: String,
    /// The path of the field in the item, such as `info.task.actions[0].name`; empty for the whole item.
    pub field: String,
    /// The problem.
    pub problem: String,
    /// The remedy.
    pub fix: String,
}

impl ImportError {
    /// An error that concerns a whole file.
    pub(super) fn of_file(file: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { file: file.into(), item: String::new(), field: String::new(), problem: problem.into(), fix: fix.into() }
    }

    /// The same error with another remedy.
    pub(super) fn with_fix(self, fix: &str) -> Self {
        Self { fix: fix.to_owned(), ..self }
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.file, &self.item, &self.field] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        write!(f, "{}; {}", self.problem, self.fix)
    }
}

impl std::error::Error for ImportError {}
