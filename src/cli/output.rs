//! The output of a cycle: files, and the summary on standard output.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use comfy_table::{Table, presets};

use super::Format;
use super::exit::WrongArguments;
use crate::kubernetes::manifests;
use crate::web::report;
use whetstone_decide::conclude::Verdict;
use whetstone_domain::plan::Plan;
use whetstone_engine::report::{Kind, Report};
use whetstone_engine::{Outcome, apply};

/// A table without lines.
pub(super) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

/// Creates the directory and checks that it is writable, before anything is paid.
pub(super) fn prepare(dir: &Path) -> anyhow::Result<()> {
    let tried = std::fs::create_dir_all(dir).and_then(|()| tempfile::tempfile_in(dir));
    let refused = |error| {
        WrongArguments(format!("--out {}: {error}, so nothing was run; use a writable directory", dir.display()))
    };
    tried.map_err(refused)?;
    Ok(())
}

/// Writes `report.json`, `report.md` and the manifests into a directory, each file atomically. Returns their paths.
pub(super) fn write(dir: &Path, plan: &Plan, outcome: &Outcome) -> anyhow::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    let mut file = |name: String, content: String| -> anyhow::Result<()> {
        let path = dir.join(name);
        write_whole(&path, &content)?;
        written.push(path);
        Ok(())
    };
    let mut json = serde_json::to_string_pretty(&outcome.report)?;
    json.push('\n');
    file("report.json".to_owned(), json)?;
    file("report.md".to_owned(), report::markdown(&outcome.report))?;
    if let Some(target) = &plan.target {
        let data = apply::target_data(&outcome.versions);
        let manifest = manifests::config_map(&plan.namespace, target, &plan.name, data)?;
        file(format!("manifests/configmap-{target}.yaml"), manifest)?;
    }
    for version in &outcome.versions {
        let manifest = manifests::prompt_version(&plan.namespace, &plan.name, version)?;
        file(format!("manifests/promptversion-{}-{}.yaml", plan.name, version.name), manifest)?;
    }
    Ok(written)
}

/// Writes a file as a whole: it has its old content or its new content, whatever interrupts the program.
pub(super) fn write_whole(path: &Path, content: &str) -> anyhow::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).with_context(|| format!("creating the directory {}", parent.display()))?;
    let replace = || {
        let mut builder = tempfile::Builder::new();
        // Like every other file that the program writes: readable for others unless the umask says otherwise.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut partial = builder.prefix(".whetstone-").suffix(".partial").tempfile_in(parent)?;
        partial.write_all(content.as_bytes())?;
        partial.persist(path)?;
        Ok::<_, std::io::Error>(())
    };
    replace().with_context(|| format!("writing {}", path.display()))
}

/// Prints the result of a cycle. `said` are the warnings that have been printed already; `is_simulated` is whether the models are
/// simulated.
pub(super) fn print(
    format: Format,
    report: &Report,
    said: &[String],
    is_simulated: bool,
    out: Option<&Path>,
    written: &[PathBuf],
) -> anyhow::Result<()> {
    match format {
        Format::Json | Format::Yaml => super::print(&format.write(report)?),
        Format::Text => {
            let mut text = report::summary(report);
            if is_simulated {
                text.push_str("the models are simulated: nothing was paid, and the amounts follow from the prices in the resource\n");
            }
            // The warnings of the plan were printed before the run began.
            for warning in report.warnings.iter().filter(|warning| !said.contains(warning)) {
                let _ = writeln!(text, "warning: {warning}");
            }
            if !written.is_empty() {
                text.push_str("\nwritten\n");
                for path in written {
                    let _ = writeln!(text, "  {}", path.display());
                }
            }
            if let (Some(out), Verdict::Promoted, Kind::Run) = (out, report.verdict, report.kind) {
                let dir = out.join("manifests");
                let _ = writeln!(
                    text,
                    "\nnext: commit {0} for Argo CD or Flux, or run kubectl apply -f {0}; to start the next run from the new \
                     champion, pass --manifests {0}",
                    dir.display()
                );
            }
            super::say(&text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_is_as_readable_as_any_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/report.json");
        write_whole(&path, "old").unwrap();
        write_whole(&path, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        let other = dir.path().join("made/other");
        std::fs::write(&other, "").unwrap();
        let permissions = |path: &Path| std::fs::metadata(path).unwrap().permissions();
        assert_eq!(permissions(&path), permissions(&other));
        let left: Vec<_> = std::fs::read_dir(dir.path().join("made")).unwrap().collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }
}
