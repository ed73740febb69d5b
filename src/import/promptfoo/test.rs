//! Test cases: inline, in files of YAML, JSON, JSONL or CSV, and as scenarios with configurations.

use serde_json::{Map, Value, json};

use super::super::Notes;
use super::super::error::ImportError;
use super::super::read::{self, Item, extension, scalar};
use super::SIMULATED_USER;
use super::assertion;
use super::resource::{self, Resources};

/// The most scenarios that lists of values in one test may become.
const MOST_COMBINATIONS: usize = 10_000;

/// A test case, with the defaults merged in.
#[derive(Clone, Debug, Default)]
pub(super) struct TestCase {
    pub file: String,
    /// Where it stands in the file, such as `tests[3]`.
    pub place: String,
    pub description: Option<String>,
    pub vars: Map<String, Value>,
    /// The assertions, each with its place.
    pub asserts: Vec<(String, Value)>,
    metadata: Map<String, Value>,
    options: Map<String, Value>,
    provider: Option<Value>,
    threshold: Option<Value>,
}

impl TestCase {
    /// Where it stands, for a note: `file: place`, the file without its folders.
    pub fn at(&self) -> String {
        let file = read::base(&self.file);
        if self.place.is_empty() { file.to_owned() } else { format!("{file}: {}", self.place) }
    }

    fn provider_id(&self) -> Option<&str> {
        let provider = self.provider.as_ref()?;
        provider.as_str().or_else(|| provider.get("id")?.as_str())
    }

    pub fn simulates_user(&self) -> bool {
        self.provider_id() == Some(SIMULATED_USER)
    }

    pub fn max_turns(&self) -> Option<u32> {
        let turns = self.provider.as_ref()?.pointer("/config/maxTurns")?.as_u64()?;
        u32::try_from(turns.clamp(1, 100)).ok()
    }

    /// Metadata as tags: `key:value`, and those under `tags` as they are.
    pub fn tags(&self) -> Vec<String> {
        let mut tags = Vec::new();
        for (key, value) in &self.metadata {
            let values = value.as_array().map_or_else(|| vec![value], |list| list.iter().collect());
            for value in values.into_iter().filter_map(scalar) {
                tags.push(if key == "tags" { value } else { format!("{key}:{value}") });
            }
        }
        tags
    }

    /// Says what of a test has no counterpart.
    pub fn note_what_is_lost(&self, notes: &mut Notes) {
        for key in self.options.keys().filter(|key| *key != "disableVarExpansion") {
            notes.add(
                self.at(),
                format!("option `{key}`"),
                "it changes how promptfoo runs or grades; the scenario does without",
            );
        }
        if self.threshold.is_some() {
            notes.add(self.at(), "threshold of a test", "every check must hold; use `passAt` of the dimension");
        }
        if self.provider_id().is_some_and(|id| id != SIMULATED_USER) {
            notes.add(self.at(), "provider of a test", "all scenarios are run with the agent of the resource");
        }
    }

    /// This test with what a more special one adds and replaces.
    fn with(&self, item: &Item, resources: &Resources) -> Result<Self, ImportError> {
        let mut test = self.clone();
        item.file().clone_into(&mut test.file);
        test.place = item.place().split_once(": ").map_or(String::new(), |(_, place)| place.to_owned());
        if let Some(description) = item.get("description") {
            test.description = Some(description.scalar()?);
        }
        if let Some(vars) = item.get("vars") {
            match vars.value.as_str() {
                Some(reference) => {
                    let loaded = resources.value(reference, &vars)?;
                    test.vars.extend(Item::new(vars.file(), reference, &loaded).object()?.clone());
                }
                None => test.vars.extend(vars.object()?.clone()),
            }
        }
        for assertion in item.list_or_empty("assert")? {
            let place = assertion.place().split_once(": ").map_or(String::new(), |(_, place)| place.to_owned());
            test.asserts.push((place, assertion.value.clone()));
        }
        for (key, into) in [("metadata", &mut test.metadata), ("options", &mut test.options)] {
            if let Some(fields) = item.get(key) {
                into.extend(fields.object()?.clone());
            }
        }
        test.provider = item.get("provider").map(|provider| provider.value.clone()).or(test.provider);
        test.threshold = item.get("threshold").map(|threshold| threshold.value.clone()).or(test.threshold);
        Ok(test)
    }
}

/// What `defaultTest` gives to every test.
pub(super) fn default_of(config: &Item, resources: &Resources) -> Result<TestCase, ImportError> {
    let Some(item) = config.get("defaultTest") else { return Ok(TestCase::default()) };
    match item.value.as_str() {
        Some(reference) => {
            let loaded = resources.value(reference, &item)?;
            TestCase::default().with(&Item::new(item.file(), reference, &loaded), resources)
        }
        None => TestCase::default().with(&item, resources),
    }
}

/// The tests under `tests`: a list of tests and references, or one reference.
pub(super) fn of_field(
    item: &Item,
    resources: &Resources,
    default: &TestCase,
    notes: &mut Notes,
) -> Result<Vec<TestCase>, ImportError> {
    let mut tests = Vec::new();
    for entry in item.one_or_many() {
        let Some(reference) = entry.value.as_str().or_else(|| entry.value.get("path")?.as_str()) else {
            tests.push(default.with(&entry, resources)?);
            continue;
        };
        if resource::is_program(reference) {
            notes.add(entry.place(), "tests that a program or a service gives", "write them to a file and give that");
            continue;
        }
        let found = resources.find(reference);
        if found.is_empty() {
            return Err(resource::missing(reference, &entry));
        }
        for (file, _) in found {
            tests.extend(of_file(file, resources, default, notes)?);
        }
    }
    Ok(tests)
}

/// The tests of a file of its own.
pub(super) fn of_file(
    file: &str,
    resources: &Resources,
    default: &TestCase,
    notes: &mut Notes,
) -> Result<Vec<TestCase>, ImportError> {
    let null = Value::Null;
    let (file, text) = resources.text(file, &Item::new(file, "", &null))?;
    match extension(file).as_str() {
        "csv" => {
            let rows = read::csv(file, text)?;
            rows.iter()
                .map(|(place, row)| {
                    let test = of_row(&Item::new(file, place, row), notes)?;
                    default.with(&Item::new(file, place, &test), resources)
                })
                .collect()
        }
        "jsonl" | "ndjson" => {
            let records = read::records(file, text)?;
            records.iter().map(|(place, record)| default.with(&Item::new(file, place, record), resources)).collect()
        }
        _ => {
            let document = read::yaml(file, text)?;
            let root = Item::new(file, "", &document);
            root.one_or_many().iter().map(|item| default.with(item, resources)).collect()
        }
    }
}

/// A row of a CSV file as a test: columns are variables, except for those that begin with two underscores.
fn of_row(row: &Item, notes: &mut Notes) -> Result<Value, ImportError> {
    let mut vars = Map::new();
    let mut metadata = Map::new();
    let mut asserts = Vec::new();
    let mut description = Value::Null;
    for (column, cell) in row.object()? {
        let text = cell.as_str().unwrap_or_default();
        let Some(special) = column.strip_prefix("__") else {
            vars.insert(column.clone(), cell.clone());
            continue;
        };
        if text.is_empty() {
            continue;
        }
        if special.starts_with("expected") {
            asserts.push(assertion::of_shorthand(text));
        } else if special == "description" {
            description = cell.clone();
        } else if let Some(key) = special.strip_prefix("metadata:") {
            let (key, list) = key.strip_suffix("[]").map_or((key, false), |key| (key, true));
            let values: Value = text.split(',').map(str::trim).collect();
            metadata.insert(key.to_owned(), if list { values } else { cell.clone() });
        } else {
            notes.add(row.place(), format!("column `{column}`"), "it has no counterpart");
        }
    }
    Ok(json!({"vars": vars, "metadata": metadata, "assert": asserts, "description": description}))
}

/// The tests of `scenarios`: every configuration with every test.
pub(super) fn of_scenarios(
    config: &Item,
    resources: &Resources,
    default: &TestCase,
    notes: &mut Notes,
) -> Result<Vec<TestCase>, ImportError> {
    let mut tests = Vec::new();
    for scenario in config.list_or_empty("scenarios")? {
        if let Some(reference) = scenario.value.as_str() {
            notes.add(scenario.place(), format!("scenario `{reference}`"), "write it into the configuration itself");
            continue;
        }
        for configuration in scenario.need("config")?.list()? {
            let base = default.with(&configuration, resources)?;
            match scenario.get("tests") {
                Some(inner) => tests.extend(of_field(&inner, resources, &base, notes)?),
                None => tests.push(base),
            }
        }
    }
    Ok(tests)
}

/// The variables of each scenario that a test becomes: one for every combination of the values in lists.
pub(super) fn combinations(test: &TestCase) -> Result<Vec<Map<String, Value>>, ImportError> {
    let mut all = vec![test.vars.clone()];
    if test.options.get("disableVarExpansion") == Some(&Value::Bool(true)) {
        return Ok(all);
    }
    for (name, value) in &test.vars {
        let Some(values) = value.as_array().filter(|values| !values.is_empty() && values.iter().all(Value::is_string))
        else {
            continue;
        };
        if all.len() * values.len() > MOST_COMBINATIONS {
            return Err(ImportError {
                file: test.file.clone(),
                item: test.place.clone(),
                field: format!("vars.{name}"),
                problem: format!("gives more than {MOST_COMBINATIONS} combinations of values"),
                fix: "shorten the lists, or set options.disableVarExpansion".to_owned(),
            });
        }
        all = all
            .iter()
            .flat_map(|vars| {
                values.iter().map(move |value| {
                    let mut one = vars.clone();
                    one.insert(name.clone(), value.clone());
                    one
                })
            })
            .collect();
    }
    Ok(all)
}
