//! Test cases: inline, in files of YAML, JSON, JSONL or CSV, and as scenarios with configurations.

use serde_json::{Map, Value, json};

use super::super::Notes;
use super::super::error::ImportError;
use super::super::read::{self, Item, extension, scalar};
use super::resource::{self, Resources};
use super::user::SIMULATED_USER;
use super::{Reading, assertion, at};

/// The fields of a test case.
pub(in super::super) const TEST_FIELDS: [&str; 12] = [
    "description",
    "vars",
    "provider",
    "providers",
    "prompts",
    "providerOutput",
    "assert",
    "assertScoringFunction",
    "options",
    "threshold",
    "metadata",
    "type",
];

/// The maximum number of scenarios from lists of values in one test.
const MOST_COMBINATIONS: usize = 10_000;

/// A test case with the defaults merged in.
#[derive(Clone, Debug, Default)]
pub(super) struct TestCase {
    pub file: String,
    /// Its place in the file, such as `tests[3]`.
    pub place: String,
    pub description: Option<String>,
    pub vars: Map<String, Value>,
    /// The assertions, each with its file and place.
    pub asserts: Vec<(String, String, Value)>,
    metadata: Map<String, Value>,
    options: Map<String, Value>,
    provider: Option<Value>,
    threshold: Option<Value>,
    /// Other fields, which are not supported.
    others: Vec<String>,
}

impl TestCase {
    /// Its location for a note: `file: place`, the file without its directories.
    pub(super) fn at(&self) -> String {
        at(&self.file, &self.place)
    }

    pub(super) fn provider(&self) -> Option<&Value> {
        self.provider.as_ref()
    }

    fn provider_id(&self) -> Option<&str> {
        let provider = self.provider.as_ref()?;
        provider.as_str().or_else(|| provider.get("id")?.as_str())
    }

    pub(super) fn simulates_user(&self) -> bool {
        self.provider_id() == Some(SIMULATED_USER)
    }

    /// Metadata as tags: `key:value`, and those under `tags` unchanged.
    pub(super) fn tags(&self, notes: &mut Notes) -> Vec<String> {
        let mut tags = Vec::new();
        for (key, value) in self.metadata.iter().filter(|(_, value)| !value.is_null()) {
            let values = value.as_array().map_or_else(|| vec![value], |list| list.iter().collect());
            for value in values {
                match scalar(value) {
                    Some(text) => tags.push(if key == "tags" { text } else { format!("{key}:{text}") }),
                    None => notes.add(self.at(), format!("metadata `{key}`"), "only strings and numbers become tags"),
                }
            }
        }
        tags
    }

    /// Reports the unsupported fields of a test.
    pub(super) fn note_what_is_lost(&self, notes: &mut Notes) {
        for key in
            self.options.keys().filter(|key| !["disableVarExpansion", "disableDefaultAsserts"].contains(&key.as_str()))
        {
            notes.add(
                self.at(),
                format!("option `{key}`"),
                "it configures how promptfoo runs or grades; it was left out",
            );
        }
        for key in &self.others {
            notes.add(self.at(), format!("`{key}` of a test"), "scenarios have no such field");
        }
        if self.threshold.is_some() {
            notes.add(self.at(), "threshold of a test", "every check must pass; use `passAt` of the dimension");
        }
        if self.provider_id().is_some_and(|id| id != SIMULATED_USER) {
            notes.add(self.at(), "provider of a test", "all scenarios run with the agent of the resource");
        }
    }

    /// This test with the fields of a more specific one added or replaced.
    fn with(&self, item: &Item, reading: &mut Reading) -> Result<Self, ImportError> {
        item.object()?;
        let mut test = self.clone();
        item.file().clone_into(&mut test.file);
        test.place = place_in_file(item);
        if let Some(description) = item.get("description") {
            test.description = Some(description.scalar()?);
        }
        if let Some(vars) = item.get("vars") {
            test.add_vars(&vars, reading)?;
        }
        for (key, into) in [("metadata", &mut test.metadata), ("options", &mut test.options)] {
            if let Some(fields) = item.get(key) {
                into.extend(fields.object()?.clone());
            }
        }
        if test.options.get("disableDefaultAsserts") == Some(&Value::Bool(true)) {
            test.asserts.clear();
        }
        for assertion in item.get("assert").iter().flat_map(Item::one_or_many) {
            test.add_assertion(&assertion, reading);
        }
        test.provider = item.get("provider").map(|provider| provider.value.clone()).or(test.provider);
        test.threshold = item.get("threshold").map(|threshold| threshold.value.clone()).or(test.threshold);
        let read = ["description", "vars", "metadata", "options", "assert", "provider", "threshold", "type"];
        let others = item.object()?.iter().filter(|(key, value)| !value.is_null() && !read.contains(&key.as_str()));
        test.others.extend(others.map(|(key, _)| key.clone()));
        Ok(test)
    }

    /// Variables: an object, a file with one, or a list of such files.
    fn add_vars(&mut self, vars: &Item, reading: &Reading) -> Result<(), ImportError> {
        if vars.value.is_object() {
            self.vars.extend(vars.object()?.clone());
            return Ok(());
        }
        for entry in vars.one_or_many() {
            let reference = entry
                .value
                .as_str()
                .ok_or_else(|| entry.error("is not an object", "make it an object with the variables"))?;
            let found = reading.resources.find(reference);
            if found.is_empty() {
                return Err(resource::missing(reference, &entry));
            }
            for (file, text) in found {
                let loaded = read::yaml(file, text)?;
                self.vars.extend(Item::new(vars.file(), reference, &loaded).object()?.clone());
            }
        }
        Ok(())
    }

    /// An assertion, or a file with some.
    fn add_assertion(&mut self, assertion: &Item, reading: &mut Reading) {
        let place = place_in_file(assertion);
        let file = assertion.value.as_str().filter(|text| text.starts_with("file://") && !resource::is_program(text));
        let Some(reference) = file else {
            self.asserts.push((assertion.file().to_owned(), place, assertion.value.clone()));
            return;
        };
        match reading.resources.value(reference, assertion) {
            Ok(loaded) => {
                for inner in assertion.holding(&loaded).one_or_many() {
                    self.asserts.push((inner.file().to_owned(), place_in_file(&inner), inner.value.clone()));
                }
            }
            Err(error) => reading.notes.could_not_read("assertions that could not be read", error),
        }
    }
}

/// The place of a value without its file.
fn place_in_file(item: &Item) -> String {
    item.place().split_once(": ").map_or(String::new(), |(_, place)| place.to_owned())
}

/// The defaults in `defaultTest`.
pub(super) fn default_of(config: &Item, reading: &mut Reading) -> TestCase {
    let Some(item) = config.get("defaultTest") else { return TestCase::default() };
    let read = match item.value.as_str() {
        Some(reference) => reading
            .resources
            .value(reference, &item)
            .and_then(|loaded| TestCase::default().with(&Item::new(item.file(), reference, &loaded), reading)),
        None => TestCase::default().with(&item, reading),
    };
    read.unwrap_or_else(|error| {
        reading.notes.could_not_read("default test that could not be read", error);
        TestCase::default()
    })
}

/// The tests under `tests`: a list of tests and references, or one reference. Unreadable ones are reported.
pub(super) fn of_field(item: &Item, reading: &mut Reading, default: &TestCase) -> Vec<TestCase> {
    let mut tests = Vec::new();
    for entry in item.one_or_many() {
        let Some(reference) = entry.value.as_str().or_else(|| entry.value.get("path")?.as_str()) else {
            let test = default.with(&entry, reading);
            tests.extend(reading.notes.keep(test));
            continue;
        };
        if resource::is_program(reference) {
            let detail = "write them to a YAML, JSON or CSV file and import that";
            reading.notes.add(entry.place(), "tests generated by a program or a service", detail);
            continue;
        }
        let found = reading.resources.find(reference);
        if found.is_empty() {
            reading.notes.could_not_read("tests that could not be read", resource::missing(reference, &entry));
        }
        for (file, _) in found {
            match of_file(file, reading, default) {
                Ok(found) => tests.extend(found),
                Err(error) => reading.notes.could_not_read("tests that could not be read", error),
            }
        }
    }
    tests
}

/// The tests of a separate file.
pub(super) fn of_file(file: &str, reading: &mut Reading, default: &TestCase) -> Result<Vec<TestCase>, ImportError> {
    let null = Value::Null;
    let (file, text) = reading.resources.text(file, &Item::new(file, "", &null))?;
    let mut tests = Vec::new();
    match extension(file).as_str() {
        "csv" | "tsv" => {
            for (place, row) in read::csv(file, text, reading.notes)? {
                let test = of_row(&Item::new(file, &place, &row), reading.notes)?;
                let test = default.with(&Item::new(file, &place, &test), reading);
                tests.extend(reading.notes.keep(test));
            }
        }
        "jsonl" | "ndjson" => {
            for (place, record) in read::records(file, text, reading.notes)? {
                let test = default.with(&Item::new(file, &place, &record), reading);
                tests.extend(reading.notes.keep(test));
            }
        }
        _ => {
            let document = read::yaml(file, text)?;
            let root = Item::new(file, "", &document);
            for item in root.one_or_many() {
                let test = default.with(&item, reading);
                tests.extend(reading.notes.keep(test));
            }
        }
    }
    Ok(tests)
}

/// A row of a CSV file as a test: columns are variables, except for those that begin with two underscores.
fn of_row(row: &Item, notes: &mut Notes) -> Result<Value, ImportError> {
    let mut test = json!({"vars": {}, "metadata": {}, "assert": [], "options": {}});
    let mut columns = Vec::new();
    for (column, cell) in row.object()? {
        let text = cell.as_str().unwrap_or_default();
        let Some(special) = column.strip_prefix("__") else {
            test["vars"][column] = cell.clone();
            continue;
        };
        if text.trim().is_empty() {
            continue;
        }
        match special {
            "description" | "threshold" | "providerOutput" => test[special] = cell.clone(),
            "prefix" | "suffix" => test["options"][special] = cell.clone(),
            _ if special.starts_with("expected") => {
                columns.push(column.as_str());
                if let Some(asserts) = test["assert"].as_array_mut() {
                    asserts.push(assertion::of_shorthand(text));
                }
            }
            _ => match special.split_once(':') {
                Some(("metadata", key)) => {
                    let (key, list) = key.strip_suffix("[]").map_or((key, false), |key| (key, true));
                    let values: Value = assertion::divided(text).into_iter().collect();
                    test["metadata"][key] = if list { values } else { cell.clone() };
                }
                // Applied after all assertions are known.
                Some(("config", _)) => {}
                _ if special == "metric" => {
                    notes.add(row.place(), "column `__metric`", "checks count for accuracy; set `dimension` on them");
                }
                _ => notes.add(row.place(), format!("column `{column}`"), "not supported"),
            },
        }
    }
    for (column, cell) in row.object()? {
        let Some((of, key)) = column.strip_prefix("__config:").and_then(|rest| rest.rsplit_once(':')) else { continue };
        if cell.as_str().is_none_or(str::is_empty) {
            continue;
        }
        match columns.iter().position(|name| *name == of) {
            Some(index) => test["assert"][index][key] = cell.clone(),
            None => notes.add(row.place(), format!("column `{column}`"), "the assertion does not exist"),
        }
    }
    Ok(test)
}

/// The tests of `scenarios`: the product of configurations and tests.
pub(super) fn of_scenarios(config: &Item, reading: &mut Reading, default: &TestCase) -> Vec<TestCase> {
    let mut tests = Vec::new();
    for entry in config.get("scenarios").iter().flat_map(Item::one_or_many) {
        let Some(reference) = entry.value.as_str() else {
            of_scenario(&entry, reading, default, &mut tests);
            continue;
        };
        if resource::is_program(reference) {
            reading.notes.add(entry.place(), "scenarios generated by a program", "write them into the configuration");
            continue;
        }
        let found = reading.resources.find(reference);
        if found.is_empty() {
            reading.notes.could_not_read("scenarios that could not be read", resource::missing(reference, &entry));
        }
        for (file, text) in found {
            match read::yaml(file, text) {
                Ok(loaded) => {
                    for inner in Item::new(file, "", &loaded).one_or_many() {
                        of_scenario(&inner, reading, default, &mut tests);
                    }
                }
                Err(error) => reading.notes.could_not_read("scenarios that could not be read", error),
            }
        }
    }
    tests
}

fn of_scenario(scenario: &Item, reading: &mut Reading, default: &TestCase, tests: &mut Vec<TestCase>) {
    let configurations = match scenario.need("config") {
        Ok(config) => of_field(&config, reading, default),
        Err(error) => return reading.notes.leave_out(error),
    };
    scenario.note_others(&["config", "tests", "description"], reading.notes);
    for base in configurations {
        match scenario.get("tests") {
            Some(inner) => tests.extend(of_field(&inner, reading, &base)),
            None => tests.push(base),
        }
    }
}

/// The variables of the scenarios of a test: one scenario for every combination of the values in lists, and of the files
/// that match a pattern.
pub(super) fn combinations(test: &TestCase, resources: &Resources) -> Result<Vec<Map<String, Value>>, ImportError> {
    let mut all = vec![test.vars.clone()];
    if test.options.get("disableVarExpansion") == Some(&Value::Bool(true)) {
        return Ok(all);
    }
    for (name, value) in &test.vars {
        let values: Vec<Value> = match value {
            Value::Array(values) if !values.is_empty() && values.iter().all(Value::is_string) => values.clone(),
            Value::String(text) if text.starts_with("file://") && text.contains('*') => {
                resources.find(text).iter().map(|(file, _)| Value::from(format!("file://{file}"))).collect()
            }
            _ => continue,
        };
        if values.is_empty() {
            continue;
        }
        if all.len() * values.len() > MOST_COMBINATIONS {
            return Err(ImportError {
                file: test.file.clone(),
                item: test.place.clone(),
                field: format!("vars.{name}"),
                problem: format!("gives more than {MOST_COMBINATIONS} combinations of values"),
                fix: "shorten the lists or set options.disableVarExpansion".to_owned(),
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
