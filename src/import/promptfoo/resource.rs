//! Files that a configuration references.

use serde_json::Value;

use super::super::error::ImportError;
use super::super::read::{self, Item, extension};
use super::super::scenario::literal;

/// The prefixes of references to programs, services and datasets.
const ELSEWHERE: [&str; 11] = [
    "http://",
    "https://",
    "huggingface://",
    "exec:",
    "package:",
    "langfuse://",
    "portkey://",
    "helicone://",
    "sharepoint://",
    "googlesheets://",
    "python:",
];

/// The extensions of programs, workbooks, and other files that are not text.
const PROGRAMS: [&str; 14] =
    ["js", "cjs", "mjs", "ts", "cts", "mts", "py", "rb", "sh", "bash", "pl", "go", "xlsx", "xls"];

/// The extensions of images, audio, video and documents.
const MEDIA: [&str; 19] = [
    "png", "jpg", "jpeg", "gif", "bmp", "webp", "svg", "mp4", "webm", "ogg", "mov", "avi", "wmv", "mkv", "m4v", "mp3",
    "wav", "pdf", "docx",
];

/// The files that were passed together.
pub(super) struct Resources<'a>(pub &'a [(&'a str, &'a str)]);

impl<'a> Resources<'a> {
    /// The files of a reference (`file://tests/*.yaml`, `prompt.txt`). Leading directories are ignored, because a reference is
    /// relative to the configuration, and a name is as the user gave it.
    pub(super) fn find(&self, reference: &str) -> Vec<(&'a str, &'a str)> {
        let path = reference.strip_prefix("file://").unwrap_or(reference).trim_start_matches("./").replace('\\', "/");
        let path = path.trim_start_matches("../");
        let pattern = literal(path).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*").replace(r"\?", "[^/]");
        let Ok(pattern) = regex::Regex::new(&format!("(?:^|/){pattern}$")) else { return Vec::new() };
        let fits = |name: &str| {
            let name = name.replace('\\', "/");
            let name = name.trim_start_matches("./");
            pattern.is_match(name) || path.ends_with(&format!("/{name}"))
        };
        self.0.iter().copied().filter(|(name, _)| fits(name)).collect()
    }

    /// The only file of a reference.
    pub(super) fn text(&self, reference: &str, from: &Item) -> Result<(&'a str, &'a str), ImportError> {
        self.find(reference).first().copied().ok_or_else(|| missing(reference, from))
    }

    /// The YAML or JSON in the file of a reference.
    pub(super) fn value(&self, reference: &str, from: &Item) -> Result<Value, ImportError> {
        let (file, text) = self.text(reference, from)?;
        read::yaml(file, text)
    }
}

pub(super) fn missing(reference: &str, from: &Item) -> ImportError {
    from.error(format!("references {reference:?}, which was not given"), "import that file as well")
}

/// Whether a reference is to a program, a service or a workbook, which cannot be read here. The name of a program may be followed
/// by that of a function, and that of a workbook by that of a sheet.
pub(super) fn is_program(reference: &str) -> bool {
    if ELSEWHERE.iter().any(|start| reference.starts_with(start)) {
        return true;
    }
    let path = reference.strip_prefix("file://").unwrap_or(reference);
    let path = path.split(['#', ':']).next().unwrap_or(path);
    !path.contains(['\n', '{', ' ']) && PROGRAMS.contains(&extension(path).as_str())
}

/// Whether a reference is to an image or another file that is not text.
pub(super) fn is_media(reference: &str) -> bool {
    MEDIA.contains(&extension(reference).as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_services_and_workbooks_are_distinguished_from_files() {
        for reference in [
            "file://a.js",
            "file://dir/a.py:create",
            "exec:./a.sh",
            "./a.rb",
            "https://x.test/a.csv",
            "langfuse://p:1",
            "file://t.xlsx#Sheet2",
            "huggingface://datasets/x",
        ] {
            assert!(is_program(reference), "{reference}");
        }
        for text in ["file://a.csv", "prompts/a.txt", "Write a file a.py", "{{x}}.js", "file://a.json"] {
            assert!(!is_program(text), "{text}");
        }
    }

    #[test]
    fn files_are_found_by_what_both_names_have() {
        let files = [("conf/tests/a.yaml", "1"), ("conf/tests/deep/b.yaml", "2"), ("p.txt", "3")];
        let found = |reference: &str| Resources(&files).find(reference).len();
        assert_eq!(found("file://tests/*.yaml"), 1);
        assert_eq!(found("file://./tests/**/*.yaml"), 2);
        assert_eq!(found("file://prompts/p.txt"), 1);
        assert_eq!(found("../p.txt"), 1);
        assert_eq!(found("file://?.txt"), 1);
        assert_eq!(found("file://other.txt"), 0);
    }
}
