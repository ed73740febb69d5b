//! The world file, which defines the behavior of the simulator. `docs/world.md` documents it for users.

mod faults;
mod models;
mod skills;
mod traffic;
mod values;

use std::collections::BTreeSet;

use regex::RegexSet;
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use faults::{Faults, Latency, Overload, Spread};
pub(crate) use models::{Embeddings, Harm, Judge, PatchWriter, User, listed};
pub(crate) use skills::{Failure, FailureKind, Interference, PromptCost, Skill};
pub(crate) use traffic::Traffic;
#[cfg(test)]
pub(crate) use values::Chance;
pub(crate) use values::Pattern;

use crate::api::problem::{Place, Problem, Problems};

/// A simulated world.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "World", description = "A simulated world for `whetstone simulate`.")]
pub struct World {
    /// The seed of every random draw. Defaults to 0.
    #[serde(default)]
    pub seed: u64,
    /// The API key that requests must have. By default any key or none is accepted.
    #[serde(default)]
    pub api_key: Option<String>,
    /// The names of the models; requests for others are answered with 404. By default every name is accepted.
    #[serde(default)]
    pub models: Vec<String>,
    /// The skills of the agent. If a conversation needs several, all of them apply, in this order.
    #[serde(default)]
    pub skills: Vec<Skill>,
    /// The agent's answer if a conversation needs no skill. Defaults to a polite sentence.
    #[serde(default)]
    pub fallback: Option<String>,
    /// Instructions that interfere with skills.
    #[serde(default)]
    pub interference: Vec<Interference>,
    /// The effect of long prompts. By default they have none.
    #[serde(default)]
    pub prompt_cost: Option<PromptCost>,
    /// The judge.
    #[serde(default)]
    pub judge: Judge,
    /// The patch writer.
    #[serde(default)]
    pub patch_writer: PatchWriter,
    /// The simulated user.
    #[serde(default)]
    pub user: User,
    /// The embedding model.
    #[serde(default)]
    pub embeddings: Embeddings,
    /// Faults.
    #[serde(default)]
    pub faults: Faults,
    /// The limit of concurrent requests. By default there is none.
    #[serde(default)]
    pub overload: Option<Overload>,
    /// The customers of the agent in production. Only used by `whetstone simulate --live-prompt`.
    #[serde(default)]
    pub traffic: Option<Traffic>,
    /// The `taughtBy` patterns of the skills, then the `pattern`s of the interferences, to match all at once.
    #[serde(skip)]
    taught: RegexSet,
    /// For each skill and interference its index in `taught`, if it has a pattern.
    #[serde(skip)]
    taught_at: Vec<Option<usize>>,
}

impl World {
    /// Reads a world file.
    ///
    /// # Errors
    /// [`Problems`], each with its field and line.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        Self::parse_file("world", text)
    }

    /// Reads a world file whose problems are reported under the name `file`.
    ///
    /// # Errors
    /// [`Problems`], each with its field and line.
    pub fn parse_file(file: &str, text: &str) -> Result<Self, Problems> {
        let text = if text.trim().is_empty() { "{}" } else { text };
        let place = |at: Option<serde_saphyr::Location>| {
            at.map(|at| Place { file: file.to_owned(), line: at.line() as usize, column: at.column() as usize })
        };
        let mut field = String::new();
        let parsed = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
            serde_path_to_error::deserialize::<_, Self>(deserializer).map_err(|error| {
                field = error.path().to_string();
                error.into_inner()
            })
        });
        let mut world = parsed.map_err(|error| {
            let at = error.location();
            let message = error.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter);
            // The place is reported separately.
            let message = message.split(" at line ").next().unwrap_or_default().trim().to_owned();
            let field = field.replace(".value", "").trim_matches('.').to_owned();
            Problems(vec![Problem { place: place(at), field, message }])
        })?;
        let mut problems: Vec<Problem> = world
            .contradictions()
            .into_iter()
            .map(|(field, at, message)| Problem { place: place(at), field, message })
            .collect();
        if !problems.is_empty() {
            problems.sort();
            return Err(Problems(problems));
        }
        world.prepare();
        Ok(world)
    }

    /// The JSON Schema of world files.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }

    /// What a system prompt teaches: for each skill and then each interference, whether its pattern matches.
    pub fn teaches(&self, prompt: &str) -> Vec<bool> {
        let found = self.taught.matches(prompt);
        let mut taught: Vec<bool> =
            self.taught_at.iter().map(|place| place.is_none_or(|place| found.matched(place))).collect();
        for (index, interference) in self.interference.iter().enumerate() {
            if let Some(teaching) = &interference.teaching {
                let teacher = self.skills.iter().position(|skill| skill.name.value == teaching.value);
                taught[self.skills.len() + index] = teacher.is_some_and(|teacher| taught[teacher]);
            }
        }
        taught
    }

    /// The chance of success of each skill, given the length of the system prompt in tokens and what it teaches.
    pub fn chances(&self, taught: &[bool], tokens: u64) -> Vec<f64> {
        let cost =
            self.prompt_cost.map_or(0.0, |cost| cost.per1000.0 * tokens.saturating_sub(cost.above) as f64 / 1000.0);
        self.skills
            .iter()
            .enumerate()
            .map(|(index, skill)| {
                let chance = if taught[index] { skill.with.0 } else { skill.without.0 };
                let harm: f64 = self
                    .interference
                    .iter()
                    .zip(&taught[self.skills.len()..])
                    .filter(|(interference, active)| **active && interference.harms.value == skill.name.value)
                    .map(|(interference, _)| interference.by.0)
                    .sum();
                (chance - harm - cost).clamp(0.0, 1.0)
            })
            .collect()
    }

    fn prepare(&mut self) {
        let skills = self.skills.iter().map(|skill| skill.taught_by.as_ref());
        let interferences = self.interference.iter().map(|interference| interference.pattern.as_ref());
        let mut patterns = Vec::new();
        self.taught_at = skills
            .chain(interferences)
            .map(|pattern| {
                let pattern = pattern?;
                patterns.push(pattern.as_str());
                Some(patterns.len() - 1)
            })
            .collect();
        // Patterns that compile separately can fail together only because of the size limit, which is disabled.
        self.taught = regex::RegexSetBuilder::new(&patterns)
            .size_limit(usize::MAX)
            .build()
            .expect("every pattern was compiled before, and there is no limit on their sum");
    }

    /// Problems that involve several fields: field, place, message.
    fn contradictions(&self) -> Vec<(String, Option<serde_saphyr::Location>, String)> {
        let mut found = Vec::new();
        let mut names = BTreeSet::new();
        for (index, skill) in self.skills.iter().enumerate() {
            let at = Some(skill.name.referenced);
            let name = &skill.name.value;
            let mut wrong = |field: &str, message: String| {
                found.push((format!("skills[{index}].{field}"), at, format!("skill {name:?}: {message}")));
            };
            if !names.insert(name.as_str()) {
                wrong("name", "duplicate name; rename one of the skills".to_owned());
            }
            if skill.needs.pattern.is_none() && skill.needs.tag.is_none() {
                wrong("needs", "no conversation needs it; give a pattern or a tag".to_owned());
            }
            if let (Some(taught_by), Some(instruction)) = (&skill.taught_by, &skill.instruction)
                && !taught_by.is_match(instruction)
            {
                let message = format!(
                    "taughtBy {:?} does not match this text, so it would not teach the skill",
                    taught_by.as_str()
                );
                wrong("instruction", message);
            }
            for (field, missing) in skill.failure.missing() {
                wrong(field, missing);
            }
        }
        for (index, interference) in self.interference.iter().enumerate() {
            let at = Some(interference.harms.referenced);
            if interference.teaching.is_some() == interference.pattern.is_some() {
                let message = "give either teaching (a skill) or pattern (what the prompt contains)".to_owned();
                found.push((format!("interference[{index}]"), at, message));
            }
            let named = [("teaching", interference.teaching.as_ref()), ("harms", Some(&interference.harms))];
            for (field, skill) in named.into_iter().filter_map(|(field, skill)| Some((field, skill?))) {
                if !names.contains(skill.value.as_str()) {
                    let message = format!("there is no skill {:?}; name one of skills[].name", skill.value);
                    found.push((format!("interference[{index}].{field}"), Some(skill.referenced), message));
                }
            }
        }
        if self.faults.total() > 1.0 {
            let message = format!("the chances add up to {}; they must not exceed 1", self.faults.total());
            found.push(("faults".to_owned(), None, message));
        }
        let Embeddings { dimensions, ngrams, .. } = self.embeddings;
        if !(1..=8192).contains(&dimensions) || !(1..=5).contains(&ngrams) {
            let message = "dimensions must be 1 to 8192, and ngrams 1 to 5".to_owned();
            found.push(("embeddings".to_owned(), None, message));
        }
        let traffic = self.traffic.iter().flat_map(Traffic::contradictions);
        found.extend(traffic.map(|(field, message)| (field, None, message)));
        found
    }
}

impl Failure {
    /// The missing fields of its kind.
    fn missing(&self) -> Vec<(&'static str, String)> {
        let mut missing = Vec::new();
        let answers = matches!(self.kind, FailureKind::WrongAnswer | FailureKind::UnsafeAnswer);
        if answers && self.answer.as_deref().is_none_or(|answer| answer.trim().is_empty()) {
            missing.push(("failure.answer", format!("{:?} requires the answer that the agent gives", self.kind)));
        }
        if !answers && self.tool.is_none() {
            missing.push(("failure.tool", format!("{:?} requires the tool that it concerns", self.kind)));
        }
        if self.kind == FailureKind::WrongArgument && self.argument.is_none() {
            missing.push(("failure.argument", "WrongArgument requires the argument that is wrong".to_owned()));
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        World::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn an_error_names_field_line_and_remedy() {
        let bad = [
            "seed: x",
            "skils: []",
            "judge: {noise: -1}",
            "skills:\n  - name: a\n    needs: {pattern: '(unclosed'}\n    failure: {kind: missingCall, tool: t}",
            "skills:\n  - name: a\n    needs: {pattern: x}\n    with: 1.5\n    failure: {kind: missingCall, tool: t}",
            "skills:\n  - name: a\n    needs: {pattern: x}\n    failure: {kind: missing}",
            "skills:\n  - name: a\n    needs: {pattern: x}",
            "faults:\n  latency: {fixed: soon}",
            "faults:\n  latency: {uniform: 1s}",
            "skills: [}",
        ];
        insta::assert_snapshot!(bad.map(problems).join("\n"));
    }

    #[test]
    fn contradictions_are_all_reported_at_once() {
        let bad = r"
skills:
  - {name: a, needs: {unless: x}, failure: {kind: missingCall}}
  - {name: a, needs: {pattern: x}, taughtBy: order, instruction: Nothing of it., failure: {kind: wrongAnswer}}
interference:
  - {harms: b, by: 0.1}
  - {teaching: c, harms: a, by: 0.1}
faults: {serverError: 0.7, hangUp: 0.4}
";
        insta::assert_snapshot!(problems(bad));
    }

    #[test]
    fn an_empty_file_is_a_world_without_surprises() {
        for text in ["", "{}", "# nothing\n"] {
            assert!(World::parse(text).unwrap().skills.is_empty(), "{text:?}");
        }
    }

    /// Every property of a schema and of the definitions in it.
    fn properties(schema: &serde_json::Value, found: &mut BTreeSet<String>) {
        if let Some(properties) = schema["properties"].as_object() {
            found.extend(properties.keys().cloned());
        }
        match schema {
            serde_json::Value::Object(entries) => entries.values().for_each(|entry| properties(entry, found)),
            serde_json::Value::Array(items) => items.iter().for_each(|item| properties(item, found)),
            _ => {}
        }
    }

    #[test]
    fn the_documentation_mentions_every_field_and_its_schema_is_up_to_date() {
        let written = include_str!("../../docs/world.schema.json");
        let schema = serde_json::to_string_pretty(&World::schema()).unwrap() + "\n";
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/world.schema.json"), &schema).unwrap();
        } else {
            assert!(written == schema, "run UPDATE_SCHEMA=1 cargo test --lib world");
        }
        let page = include_str!("../../docs/world.md");
        let mut fields = BTreeSet::new();
        properties(&World::schema(), &mut fields);
        let code = page.split('`').skip(1).step_by(2).flat_map(|code| code.split(|c: char| !c.is_alphanumeric()));
        let mentioned: BTreeSet<&str> = code.collect();
        let missing: Vec<&String> = fields.iter().filter(|field| !mentioned.contains(field.as_str())).collect();
        assert!(missing.is_empty(), "docs/world.md does not mention {missing:?}");
    }

    #[test]
    fn the_world_and_the_table_of_falls_in_the_documentation_are_true() {
        let page = include_str!("../../docs/world.md");
        let example = page.split("```yaml\n").find(|block| block.starts_with("seed:")).unwrap();
        World::parse(example.split("```").next().unwrap()).unwrap();
        for kind in FailureKind::ALL {
            let name = format!("{kind:?}");
            let name = name[..1].to_lowercase() + &name[1..];
            let falls =
                ["accuracy", "safety", "tool_compliance", "tone"].map(|it| Judge::default().fall(kind, it).to_string());
            let row = format!("| `{name}` | {} |", falls.join(" | "));
            assert!(page.contains(&row), "docs/world.md has no row {row}");
        }
    }

    #[test]
    fn the_example_worlds_are_valid() {
        for text in [
            include_str!("../../examples/quickstart/world.yaml"),
            include_str!("../../examples/quickstart/world-wrong-patches.yaml"),
            include_str!("../../examples/twelve-skills/world.yaml"),
        ] {
            World::parse(text).unwrap();
        }
    }
}
