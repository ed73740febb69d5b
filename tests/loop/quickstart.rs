//! The examples, as the README has them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::support::{Ended, LedgerSums, Running};

/// The examples' world, and a folder for what a run leaves behind.
struct Example {
    out: tempfile::TempDir,
}

impl Example {
    fn new() -> Self {
        Self { out: tempfile::tempdir().unwrap() }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.out.path().join(file)
    }

    /// The program in the root of the repository.
    fn whetstone(arguments: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_whetstone"));
        command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).env_clear();
        Running::start(command).wait()
    }

    fn run(&self, resource: &str, world: &str) -> Ended {
        let (store, out) = (self.path("store.db"), self.path("out"));
        let paths = ["--store", store.to_str().unwrap(), "--out", out.to_str().unwrap()];
        Self::whetstone(&[&["run", "-f", resource, "--simulate", world][..], &paths].concat())
    }

    fn report(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.path("out/report.json")).unwrap()).unwrap()
    }

    /// The prompt in the ConfigMap that would be applied.
    fn served(&self) -> String {
        let maps: Vec<PathBuf> = std::fs::read_dir(self.path("out/manifests"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("configmap-"))
            .collect();
        assert_eq!(maps.len(), 1, "{maps:?}");
        let map: Value = serde_saphyr::from_str(&std::fs::read_to_string(&maps[0]).unwrap()).unwrap();
        map["data"]["system-prompt"].as_str().unwrap().to_owned()
    }

    fn ledger(&self) -> LedgerSums {
        LedgerSums::read(&self.path("store.db"))
    }
}

const QUICKSTART: &str = "examples/quickstart/optimization.yaml";
const WORLD: &str = "examples/quickstart/world.yaml";
const WRONG_PATCHES: &str = "examples/quickstart/world-wrong-patches.yaml";
const PIPELINE: &str = "examples/pipeline/pipeline.yaml";
const PIPELINE_WORLD: &str = "examples/pipeline/world.yaml";

/// Which skills of a world a prompt teaches: those whose `taughtBy` it matches, of all that have one.
fn taught(world: &str, prompt: &str) -> (usize, usize) {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(world)).unwrap();
    let world: Value = serde_saphyr::from_str(&text).unwrap();
    let patterns: Vec<regex::Regex> = world["skills"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|skill| Some(regex::Regex::new(skill.get("taughtBy")?.as_str()?).unwrap()))
        .collect();
    (patterns.iter().filter(|pattern| pattern.is_match(prompt)).count(), patterns.len())
}

#[test]
fn the_quickstart_promotes_a_prompt_that_teaches_what_was_missing_and_a_second_run_pays_nothing() {
    let example = Example::new();
    let ended = example.run(QUICKSTART, WORLD);
    assert_eq!(ended.code, Some(0), "{ended}");
    let first = example.report();
    assert_eq!(first["verdict"], "promoted");
    assert_eq!(first["reasons"][0]["holds"], true, "{}", first["reasons"]);

    let prompt = example.served();
    let diff = first["challenger"]["diff"].as_str().unwrap();
    let champion: String = diff.lines().filter_map(|line| line.strip_prefix([' ', '-'])).collect::<Vec<_>>().join("\n");
    let ((before, skills), (after, _)) = (taught(WORLD, &champion), taught(WORLD, &prompt));
    assert!(after > before, "it taught {before} of {skills} skills, and teaches {after}:\n{prompt}");
    assert!(2 * after > skills, "it teaches {after} of {skills} skills:\n{prompt}");
    for added in diff.lines().filter(|line| line.starts_with('+') && !line.starts_with("+++")) {
        assert!(ended.stdout.contains(added), "{added:?} is not in\n{ended}");
    }

    let paid = example.ledger();
    assert_eq!(example.run(QUICKSTART, WORLD).code, Some(0));
    let second = example.report();
    assert_eq!(super::support::decision(&first), super::support::decision(&second));
    assert_eq!((&second["calls"]["paid"], example.ledger()), (&0.into(), paid));
}

#[test]
fn with_a_patch_writer_that_is_always_wrong_the_quickstart_keeps_the_champion_and_says_why() {
    let example = Example::new();
    let ended = example.run(QUICKSTART, WRONG_PATCHES);
    assert_eq!(ended.code, Some(10), "{ended}");
    let report = example.report();
    assert_eq!(report["verdict"], "kept");
    assert!(!report["clusters"].as_array().unwrap().is_empty());
    let attempts = report["attempts"].as_array().unwrap();
    assert!(!attempts.is_empty());
    let why = report["reasons"][0]["message"].as_str().unwrap();
    let markdown = std::fs::read_to_string(example.path("out/report.md")).unwrap();
    assert!(ended.stdout.contains(why) && markdown.contains(why), "{why:?} is not in\n{ended}");
    let base = Example::whetstone(&["show", "--store", example.path("store.db").to_str().unwrap(), "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&base.stdout).unwrap(), report);
    let prompt_hash = whetstone::domain::hash::ContentHash::of_bytes(example.served().as_bytes());
    assert_eq!(report["champion"]["hash"], prompt_hash.to_string(), "the champion is what is served");
}

#[test]
fn the_pipeline_template_runs_as_it_is_against_a_simulated_world() {
    let example = Example::new();
    let ended = example.run(PIPELINE, PIPELINE_WORLD);
    // Whatever the verdict: it is one.
    assert!(matches!(ended.code, Some(0 | 10 | 11 | 12)), "{ended}");
    assert!(example.report()["reasons"].as_array().is_some_and(|reasons| !reasons.is_empty()));
}

#[test]
fn the_pipeline_template_is_valid_and_so_is_what_it_is_converted_to() {
    let valid = Example::whetstone(&["validate", "-f", PIPELINE]);
    assert_eq!(valid.code, Some(0), "{valid}");
    let converted = Example::whetstone(&["convert", "-f", PIPELINE]);
    assert_eq!(converted.code, Some(0), "{converted}");

    // Its paths are relative to the file, so it lies beside a copy of what they lead to.
    let copy = tempfile::tempdir().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(PIPELINE).parent().unwrap().to_owned();
    let copied = Command::new("cp").arg("-r").arg(folder.join(".")).arg(copy.path()).status().unwrap();
    assert!(copied.success());
    let resource = copy.path().join("converted.yaml");
    std::fs::write(&resource, &converted.stdout).unwrap();
    let again = Example::whetstone(&["validate", "-f", resource.to_str().unwrap()]);
    assert_eq!(again.code, Some(0), "{again}\n{}", converted.stdout);
    // What either file is warned of has the names of its own fields.
    let figures = |ended: &Ended| {
        let lines = ended.stdout.lines().skip(1).map(str::to_owned);
        lines.take_while(|line| !line.starts_with("warning:")).collect::<Vec<_>>()
    };
    assert_eq!(figures(&valid), figures(&again), "both files mean the same");
}
