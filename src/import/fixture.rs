//! For the tests: imports of the files under `tests/fixtures/import`.

use super::{Format, ImportError, Imported, import};
use crate::domain::scenario::Scenario;

/// The fixtures of these names, each with its text.
pub(super) fn files(names: &[&str]) -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/import");
    let read = |name: &&str| std::fs::read_to_string(format!("{folder}/{name}")).expect("the fixture is there");
    names.iter().map(|name| ((*name).to_owned(), read(name))).collect()
}

/// What the fixtures of these names import to.
pub(super) fn imported(format: Format, names: &[&str]) -> Imported {
    let files = files(names);
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    import(format, &files).expect("the fixture is well-formed")
}

/// The error that a text gives.
pub(super) fn error(format: Format, name: &str, text: &str) -> ImportError {
    import(format, &[(name, text)]).expect_err("the text is malformed")
}

impl Imported {
    /// The scenario of this id.
    pub(super) fn scenario(&self, id: &str) -> &Scenario {
        self.scenarios.iter().find(|scenario| scenario.id.as_str() == id).unwrap_or_else(|| {
            panic!("{id:?} is not among {:?}", self.scenarios.iter().map(|scenario| &scenario.id).collect::<Vec<_>>())
        })
    }
}
