//! Problems and warnings found while a resource is resolved.

use std::sync::Arc;

use super::super::document::nearest::hint;
use super::super::problem::{Problem, Problems};
use super::super::scoring::ChatModelRef;
use super::super::source::TextSource;
use super::super::submission::Submission;
use super::references::{References, Text};
use whetstone_domain::call::{Parameters, Temperature};
use whetstone_domain::ids::ModelName;
use whetstone_domain::plan::ModelUse;
use whetstone_domain::prompt::Prompt;

/// Problems and warnings, each with the place of its field.
pub(super) struct Findings<'a> {
    submission: &'a Submission,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(submission: &'a Submission) -> Self {
        Self { submission, problems: submission.problems.clone(), warnings: submission.warnings.clone() }
    }

    /// The warnings, if there are no problems.
    pub(super) fn finish(self) -> Result<Vec<String>, Problems> {
        if self.problems.is_empty() { Ok(self.warnings) } else { Err(self.into_problems()) }
    }

    /// The problems, if they prevent a plan.
    pub(super) fn into_problems(self) -> Problems {
        Problems::sorted(self.problems)
    }

    /// Records a problem with a field of the resource. A field whose form was already reported is not reported again.
    pub(super) fn problem(&mut self, field: &str, message: impl Into<String>) {
        let problem = self.submission.problem(field, message);
        let mut earlier = self.submission.problems.iter();
        if !earlier.any(|earlier| earlier.field == problem.field) {
            self.problems.push(problem);
        }
    }

    /// Creates a problem to be added later.
    pub(super) fn problem_at(&self, field: &str, message: impl Into<String>) -> Problem {
        self.submission.problem(field, message)
    }

    /// Records a problem with a referenced text.
    pub(super) fn add(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The problems of other documents.
    pub(super) fn problems(&mut self) -> &mut Vec<Problem> {
        &mut self.problems
    }

    /// Records a warning about a field.
    pub(super) fn warn(&mut self, field: &str, message: impl AsRef<str>) {
        self.warnings.push(format!("{}: {}", self.submission.path(field), message.as_ref()));
    }

    /// The name of the only given field; otherwise records a problem.
    pub(super) fn exactly_one(&mut self, field: &str, options: &[(&'static str, bool)]) -> Option<&'static str> {
        match exactly_one(options) {
            Ok(name) => Some(name),
            Err(message) => {
                self.problem(field, message);
                None
            }
        }
    }

    /// Checks that a model exists in `spec.models`.
    pub(super) fn model(&mut self, field: &str, name: &str) -> Option<ModelName> {
        let models = &self.submission.resource.spec.models;
        if models.iter().any(|model| model.name == name) {
            return Some(name.into());
        }
        let near = hint(name, models.iter().map(|model| model.name.as_str()));
        self.problem(field, format!("no model {name:?} in spec.models{near}"));
        None
    }

    /// Checks that sections exist in the prompt.
    pub(super) fn sections(&mut self, field: &str, names: &[String], prompt: Option<&Prompt>) {
        let Some(prompt) = prompt else { return };
        for (index, name) in names.iter().enumerate() {
            if !prompt.sections().iter().any(|section| section.name == *name) {
                let near = hint(name, prompt.sections().iter().map(|section| section.name.as_str()));
                self.problem(&format!("{field}[{index}]"), format!("the prompt has no section {name:?}{near}"));
            }
        }
    }

    /// Checks that the free-form part of sampling parameters does not set dedicated fields.
    pub(super) fn parameters(&mut self, field: &str, parameters: Option<&Parameters>) {
        const OWN: [(&str, &str); 9] = [
            ("temperature", "use the field temperature"),
            ("top_p", "use the field topP"),
            (
                "max_tokens",
                "use maxOutputTokens; to send it as max_tokens, set openAI.tokenLimit of the model to MaxTokens",
            ),
            (
                "max_completion_tokens",
                "use maxOutputTokens; to send it as max_completion_tokens, set openAI.tokenLimit of the model to MaxCompletionTokens",
            ),
            ("model", "the model is set in spec.models"),
            ("messages", "Whetstone sends the messages of the conversation; remove it"),
            ("tools", "tools are set in spec.agent"),
            ("seed", "Whetstone sends the index of the repeat as the seed; remove it"),
            ("stream", "answers are not streamed; remove it"),
        ];
        let Some(parameters) = parameters else { return };
        if let Some(Temperature::Unknown(written)) = &parameters.temperature {
            let message = format!("expected a number from 0 to 2, or the word \"omit\", found {written}");
            self.problem(&format!("{field}.temperature"), message);
        }
        let Some(extra) = &parameters.extra else { return };
        for (name, why) in OWN.into_iter().filter(|(name, _)| extra.contains_key(*name)) {
            self.problem(&format!("{field}.extra.{name}"), why);
        }
    }

    /// Resolves a chat model with its parameters; it must exist in `spec.models`.
    pub(super) fn chat_model(&mut self, field: &str, named: &ChatModelRef) -> Option<ModelUse> {
        let ChatModelRef { model, parameters } = named;
        self.parameters(&format!("{field}.parameters"), parameters.as_ref());
        let model = self.model(&format!("{field}.ref"), model)?;
        Some(ModelUse { model, parameters: Arc::new(parameters.clone().unwrap_or_default()) })
    }

    /// The text of a source: the inline text, or the one that was read for it.
    pub(super) fn text(&mut self, field: &str, source: &TextSource, references: &References) -> Option<Text> {
        let options = [
            ("configMapKeyRef", source.config_map_key_ref.is_some()),
            ("file", source.file.is_some()),
            ("inline", source.inline.is_some()),
        ];
        let given = self.exactly_one(field, &options)?;
        if let Some(inline) = &source.inline {
            return Some(Text { name: self.submission.path(&format!("{field}.inline")), text: inline.clone() });
        }
        match references.of_source(source)? {
            Ok(text) => Some(text.clone()),
            Err(why) => {
                self.problem(&format!("{field}.{given}"), why);
                None
            }
        }
    }
}

/// The name of the only given field, or a message if none or several are given.
pub(super) fn exactly_one(options: &[(&'static str, bool)]) -> Result<&'static str, String> {
    let names: Vec<&str> = options.iter().map(|(name, _)| *name).collect();
    let given: Vec<&'static str> = options.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    match given.as_slice() {
        [one] => Ok(one),
        [] => Err(format!("exactly one of {} is required; none is given", names.join(", "))),
        several => Err(format!("exactly one of {} is allowed; {} are given", names.join(", "), several.join(" and "))),
    }
}
