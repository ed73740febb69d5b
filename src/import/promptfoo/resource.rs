//! Files that a configuration refers to.

use serde_json::Value;

use super::super::error::ImportError;
use super::super::read::{self, Item, extension};
use super::super::scenario::literal;

/// The files that were given together.
pub(super) struct Resources<'a>(pub &'a [(&'a str, &'a str)]);

impl<'a> Resources<'a> {
    /// The files that a reference (`file://tests/*.yaml`, `prompt.txt`) names. Folders before the part that both have do
    /// not matter: a reference is relative to the configuration, a name is as the user gave it.
    pub fn find(&self, reference: &str) -> Vec<(&'a str, &'a str)> {
        let path = reference.strip_prefix("file://").unwrap_or(reference).trim_start_matches("./").replace('\\', "/");
        let pattern = literal(&path).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*");
        let Ok(pattern) = regex::Regex::new(&format!("(?:^|/){pattern}$")) else { return Vec::new() };
        let fits = |name: &str| {
            let name = name.replace('\\', "/");
            let name = name.trim_start_matches("./");
            pattern.is_match(name) || path.ends_with(&format!("/{name}"))
        };
        self.0.iter().copied().filter(|(name, _)| fits(name)).collect()
    }

    /// The one file that a reference names.
    pub fn text(&self, reference: &str, from: &Item) -> Result<(&'a str, &'a str), ImportError> {
        self.find(reference).first().copied().ok_or_else(|| missing(reference, from))
    }

    /// The YAML or JSON of the file that a reference names.
    pub fn value(&self, reference: &str, from: &Item) -> Result<Value, ImportError> {
        let (file, text) = self.text(reference, from)?;
        read::yaml(file, text)
    }
}

pub(super) fn missing(reference: &str, from: &Item) -> ImportError {
    from.error(format!("names {reference:?}, which was not given"), "give that file too")
}

/// Whether a reference is to a program, a URL or a data set, which cannot be read here.
pub(super) fn is_program(reference: &str) -> bool {
    let path = reference.split(':').next_back().unwrap_or(reference);
    let path = if reference.starts_with("file://") { reference } else { path };
    let end = extension(path.split(':').take(2).collect::<Vec<_>>().join(":").as_str());
    reference.starts_with("http://")
        || reference.starts_with("https://")
        || reference.starts_with("huggingface://")
        || reference.starts_with("exec:")
        || ["js", "cjs", "mjs", "ts", "py", "rb", "sh", "xlsx"].contains(&end.as_str())
}
