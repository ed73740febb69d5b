//! Imports go only downward: ARCHITECTURE.md says why, this says whether.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The packages below the program, from the lowest up, each with those that it may depend on.
const PACKAGES: [(&str, &[&str]); 4] =
    [("domain", &[]), ("stats", &[]), ("decide", &["domain", "stats"]), ("engine", &["decide", "domain", "stats"])];

/// Places of the program itself and the floors that they are on. Adapters are the floor whose places must not import each other.
const FLOORS: [(&str, u8); 14] = [
    ("api", 2),
    ("models", ADAPTERS),
    ("signals", ADAPTERS),
    ("store", ADAPTERS),
    ("kubernetes", ADAPTERS),
    ("telemetry", ADAPTERS),
    ("simulator", ADAPTERS),
    ("import", ADAPTERS),
    ("controllers", 4),
    ("web", 4),
    ("cli", 5),
    ("main", 5),
    ("lib", 5),
    ("embed", 5),
];
const ADAPTERS: u8 = 3;

/// Crates that `api` and the packages below must not know.
const ADAPTER_CRATES: [&str; 7] = ["sqlx", "reqwest", "axum", "hyper", "clap", "indicatif", "tracing_subscriber"];

/// Crates that the packages must not know: the resource is a matter of `api`.
const CLUSTER_CRATES: [&str; 2] = ["kube", "k8s_openapi"];

fn floor(place: &str) -> u8 {
    FLOORS.iter().find(|(name, _)| *name == place).map_or_else(
        || panic!("src/{place} has no floor: give it one in ARCHITECTURE.md and here"),
        |(_, floor)| *floor,
    )
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The places that a file names after `crate::`, in imports and in the middle of code, doc comments aside.
fn places_named(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut places = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue; // `whetstone_crate::` is another word
        }
        let rest = &code[at + "crate::".len()..];
        let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        if let Some(group) = rest.strip_prefix('{') {
            let (mut depth, mut start_of_item) = (0_usize, true);
            for (index, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start_of_item = true,
                    c if start_of_item && c.is_alphabetic() => {
                        places.insert(word(&group[index..]));
                        start_of_item = false;
                    }
                    _ => {}
                }
            }
        } else {
            places.insert(word(rest));
        }
    }
    places
}

#[test]
fn imports_go_only_downward() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 50, "only {} files found under {}", files.len(), src.display());
    let known: BTreeSet<&str> = FLOORS.iter().map(|(name, _)| *name).collect();
    let mut breaches = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&src).unwrap();
        let first = relative.components().next().unwrap().as_os_str().to_str().unwrap();
        let place = first.trim_end_matches(".rs");
        if PACKAGES.iter().any(|(package, _)| *package == place) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for named in places_named(&text).iter().filter(|named| known.contains(named.as_str()) && *named != place) {
            let sideways = floor(place) == ADAPTERS && floor(named) == ADAPTERS;
            if floor(named) > floor(place) || sideways {
                breaches.push(format!(
                    "src/{} (floor {}) imports {named} (floor {})",
                    relative.display(),
                    floor(place),
                    floor(named)
                ));
            }
        }
        if floor(place) <= 2 {
            for name in ADAPTER_CRATES.iter().filter(|name| text.contains(&format!("{name}::"))) {
                breaches.push(format!("src/{} knows the crate {name}", relative.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "imports that go upward or sideways:\n{}", breaches.join("\n"));
}

/// The compiler refuses an import of what a manifest does not name; this keeps the manifests.
#[test]
fn manifests_of_the_packages_name_only_what_is_below() {
    let mut breaches = Vec::new();
    for (package, below) in PACKAGES {
        let path = format!("src/{package}/Cargo.toml");
        let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&path)).unwrap();
        let named = manifest.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
        let named: Vec<String> = named.map(|name| name.replace('-', "_")).collect();
        assert!(named.contains(&"serde".to_owned()), "{path} was not read as it is written:\n{manifest}");
        let is_refused = |name: &&str| {
            let is_above = name.strip_prefix("whetstone_").is_some_and(|name| !below.contains(&name));
            is_above || *name == "whetstone" || ADAPTER_CRATES.contains(name) || CLUSTER_CRATES.contains(name)
        };
        breaches.extend(named.iter().map(String::as_str).filter(is_refused).map(|name| format!("{path} names {name}")));
    }
    assert!(breaches.is_empty(), "manifests that name what is above:\n{}", breaches.join("\n"));
}

/// A provider's protocol is a file with its `Wire`, and one arm that names it.
#[test]
fn only_one_place_of_the_adapters_asks_which_provider_it_is() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let asks = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).unwrap();
        text.split("#[cfg(test)]").next().unwrap().contains("Provider::")
    };
    let relative = |file: PathBuf| file.strip_prefix(&src).unwrap().display().to_string();
    let mut asking: Vec<String> = files.into_iter().filter(asks).map(relative).collect();
    asking.retain(|file| !file.ends_with("tests.rs"));
    asking.sort();
    assert_eq!(asking, ["api/resolve/models.rs", "models/wire.rs"]);
}

#[test]
fn every_form_of_import_is_seen() {
    let text = "use crate::store::Sqlite;\nuse crate::{models, web::{report, x}};\nlet a = crate::cli::main();\n// crate::simulator";
    let places: Vec<String> = places_named(text).into_iter().collect();
    assert_eq!(places, ["cli", "models", "store", "web"]);
}

/// The files of `src/controllers/`, from the leaves up: each imports only those before it.
const CONTROLLERS: [&str; 23] = [
    "conditions",
    "error",
    "turns",
    "vital",
    "health",
    "stores",
    "record",
    "resolved",
    "restarts",
    "computing",
    "cycles",
    "watches",
    "context",
    "observe",
    "resolve",
    "run_cycle",
    "act",
    "decision",
    "report",
    "commit",
    "finalizer",
    "optimization",
    "operator",
];

#[test]
fn the_steps_of_a_reconcile_import_only_what_comes_before_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/controllers");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let order = |name: &str| CONTROLLERS.iter().position(|it| *it == name);
    let mut breaches = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&src).unwrap();
        let place = relative.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        let own = order(place).unwrap_or_else(|| panic!("src/controllers/{place} has no place in CONTROLLERS"));
        // What a file at the top calls `super` is the folder; further down it is the file's own parent.
        let is_top = relative.components().count() == 1;
        let text = std::fs::read_to_string(&file).unwrap().replace("crate::controllers::", "crate::");
        let text = if is_top { text.replace("use super::", "use crate::") } else { text };
        let named = places_named(&text).into_iter().filter(|name| order(name).is_some_and(|other| other > own));
        breaches.extend(named.map(|name| format!("src/controllers/{} imports {name}", relative.display())));
    }
    assert!(breaches.is_empty(), "imports of later steps:\n{}", breaches.join("\n"));
}

/// Defaults are applied at one door, `src/api/resolve/`. `Defaults` itself is private to `api`, so what is left to look for is a field of the
/// spec for which somebody else has a value of their own.
#[test]
fn defaults_of_the_spec_are_applied_nowhere_but_at_the_door() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for place in ["controllers", "web", "cli", "decide", "engine", "kubernetes"] {
        let mut files = Vec::new();
        sources(&src.join(place), &mut files);
        for file in files.iter().filter(|file| !file.to_string_lossy().contains("tests")) {
            let text = std::fs::read_to_string(file).unwrap();
            found.extend(own_defaults(&text).into_iter().map(|line| format!("{}: {line}", file.display())));
        }
    }
    assert!(found.is_empty(), "defaults of the spec outside of src/api/resolve:\n{}", found.join("\n"));
}

/// The statements that read a field of a spec and put something in its place when it is absent. Text is no field: an empty one is
/// absence.
fn own_defaults(text: &str) -> Vec<String> {
    const PARTS: [&str; 12] = [
        ".promotion",
        ".watch",
        ".split",
        ".execution",
        ".scoring",
        ".clustering",
        ".patching",
        ".validation",
        ".gate",
        ".budget",
        ".runtime",
        ".schedule",
    ];
    let code = text.split("#[cfg(test)]").next().unwrap();
    let statements = code.split(';').map(|statement| statement.split_whitespace().collect::<Vec<_>>().join(" "));
    let reads = |it: &String| PARTS.iter().any(|part| it.contains(&format!("spec{part}")));
    let decides = |it: &String| {
        [".unwrap_or(", ".unwrap_or_else(", ".unwrap_or_default(", ".map_or("].iter().any(|or| it.contains(or))
    };
    statements.filter(|it| reads(it) && decides(it)).collect()
}

#[test]
fn a_default_beside_the_door_is_seen() {
    let text = "let a = object.spec.watch.as_ref()\n    .and_then(|watch| watch.breaches).unwrap_or(3);\nlet b = spec.pin.clone();";
    assert_eq!(own_defaults(text).len(), 1);
}

/// Nouns that sentences count.
const COUNTED: [&str; 24] = [
    "answers",
    "attempts",
    "calls",
    "causes",
    "clusters",
    "cycles",
    "dimensions",
    "edits",
    "errors",
    "failures",
    "items",
    "lines",
    "patches",
    "problems",
    "proposals",
    "readings",
    "repeats",
    "runs",
    "scenarios",
    "sections",
    "sentinels",
    "tools",
    "transcripts",
    "versions",
];

/// Plurals behind a figure that is never 1, or that a model reads, whose texts stay as they are.
const NEVER_ONE: [&str; 11] = [
    "runs/s",
    "-f {0} runs a cycle",
    "if runs == 1 {",
    "if scenarios == 1 {",
    "if *min == 1 {",
    "\" ({} attempts)\"",
    "{patches} patches together",
    "## The failures",
    "({breaches} readings in a row)",
    "{pos} runs {elapsed}",
    "begins {} cycles: {}",
];

/// A sentence that speaks of `1 runs` was written for another figure: `domain/words.rs` has the words.
#[test]
fn what_is_counted_may_be_one() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut found = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&src).unwrap().display().to_string();
        if relative.contains("tests") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for (at, _) in line.match_indices("} ") {
                let rest = line[at + 2..].strip_prefix("more ").unwrap_or(&line[at + 2..]);
                let noun: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
                let is_hole = line[..at].rfind('{').is_some_and(|open| {
                    line[open..at].chars().all(|c| c.is_ascii_alphanumeric() || "{_.:?".contains(c))
                });
                if is_hole && COUNTED.contains(&noun.as_str()) && !NEVER_ONE.iter().any(|known| line.contains(known)) {
                    found.push(format!("src/{relative}: {}", line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "plurals behind a figure that may be 1:\n{}", found.join("\n"));
}
