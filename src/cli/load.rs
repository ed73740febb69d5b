//! From files to a plan: reads the resource, what it refers to, and the manifests beside it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Source;
use crate::api::problem::{Problem, Problems};
use crate::api::resolve::{ConfigMap, Reference, References, Text, resolve};
use crate::api::{Plan, Submission};
use crate::domain::transcript::Transcript;

/// Reads a resource and everything that it refers to.
pub(super) fn plan(source: &Source) -> anyhow::Result<Plan> {
    let submission = submission(&source.file)?;
    let mut problems = Vec::new();
    let manifests = match &source.manifests {
        Some(dir) => manifests(dir, &mut problems)?,
        None => Vec::new(),
    };
    if !problems.is_empty() {
        return Err(Problems(problems).into());
    }
    let base = source.file.parent().unwrap_or(Path::new("."));
    let references = References::gather(&submission, &manifests, |reference| read_reference(base, reference));
    Ok(resolve(&submission, &references)?)
}

/// Reads a resource file; a pipeline file is converted.
pub(super) fn submission(file: &Path) -> anyhow::Result<Submission> {
    let openai_base_url = std::env::var("OPENAI_BASE_URL").ok().filter(|url| !url.is_empty());
    let text = read(file)?;
    Ok(Submission::read(&file.display().to_string(), &text, openai_base_url.as_deref())?)
}

/// Reads a text file.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// Reads transcripts, one a line.
pub(super) fn transcripts(path: &Path) -> anyhow::Result<Vec<Transcript>> {
    let text = read(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            serde_json::from_str(line).with_context(|| format!("{}:{}: not a transcript", path.display(), index + 1))
        })
        .collect()
}

/// The ConfigMaps among the manifests of a directory.
fn manifests(dir: &Path, problems: &mut Vec<Problem>) -> anyhow::Result<Vec<ConfigMap>> {
    let mut maps = Vec::new();
    for path in files(dir).with_context(|| format!("reading the manifests in {}", dir.display()))? {
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            maps.extend(ConfigMap::read_all(&path.display().to_string(), &read(&path)?, problems));
        }
    }
    Ok(maps)
}

/// Reads what a resource refers to. ConfigMaps were among the manifests, or there are none here.
fn read_reference(base: &Path, reference: &Reference) -> Result<Option<Vec<Text>>, String> {
    match reference {
        Reference::File(name) => read_text(&base.join(name)).map(|text| text.map(|text| vec![text])),
        Reference::Files(name) => {
            let path = base.join(name);
            if !path.is_dir() {
                return read_text(&path).map(|text| text.map(|text| vec![text]));
            }
            let mut texts = Vec::new();
            for file in files(&path).map_err(|error| format!("reading the directory {}: {error}", path.display()))? {
                if Reference::holds_scenarios(&file.to_string_lossy()) {
                    texts.extend(read_text(&file)?);
                }
            }
            Ok(Some(texts))
        }
        Reference::ConfigMapKey { .. } | Reference::ConfigMap { .. } | Reference::Champion { .. } => Ok(None),
    }
}

fn read_text(path: &Path) -> Result<Option<Text>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let name = path.strip_prefix(".").unwrap_or(path).display().to_string();
            Ok(Some(Text { name, text }))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("reading {}: {error}", path.display())),
    }
}

/// Every file below a directory, sorted by path.
fn files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
