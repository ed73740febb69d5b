//! The form in which a server accepts a request: what the resource sets, and, if it leaves something open, what the server
//! turned out to accept.
//!
//! A refusal is learned from once, for the lifetime of the process. A setting in the resource is never changed, only what
//! it leaves open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::setting::Setting;
use super::wire::Wire;
use whetstone_domain::plan::model::{StructuredOutput, SystemRole, TokenLimit};

/// The maximum number of changes of the form of one call: structured output twice, and the limit, seed and temperature once
/// each.
pub(super) const MOST_CHANGES: usize = 5;

/// The maximum number of servers that are remembered. If there are more, all are forgotten.
const MOST_REMEMBERED: usize = 1_000;

/// How structured output is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Structured {
    /// By its schema: `json_schema`, or a tool that must be called.
    Schema,
    /// As any JSON object, with instructions that describe its form.
    Object,
    /// With instructions only.
    Plain,
}

/// The name of the limit on output tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LimitName {
    /// `max_tokens`, which most servers know.
    MaxTokens,
    /// `max_completion_tokens`, which OpenAI and Azure require for newer models.
    MaxCompletionTokens,
}

/// The form of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// How structured output is requested.
    pub structured: Structured,
    /// The field for the limit on output tokens.
    pub limit: LimitName,
    /// The role of the system message.
    pub system: SystemRole,
    /// Whether the number of the repeat is sent as `seed`.
    pub seed: bool,
    /// Whether a temperature that the resource does not set is sent.
    pub preferred_temperature: bool,
}

/// The form that the resource asks for, and what it leaves open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// The protocol of the requests.
    pub wire: &'static dyn Wire,
    /// `models[].structuredOutput`.
    pub structured: StructuredOutput,
    /// `models[].openAI.tokenLimit`.
    pub limit: TokenLimit,
    /// The name of the limit if that is `Auto`.
    pub usual_limit: LimitName,
    /// `models[].openAI.systemRole`.
    pub system: SystemRole,
    /// `models[].openAI.seed`.
    pub seed: bool,
}

/// What was learned about a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lessons {
    structured: Option<Structured>,
    limit: Option<LimitName>,
    no_seed: bool,
    no_temperature: bool,
}

impl Wanted {
    /// The form of a request to a server, given what was learned about it.
    pub(super) fn form(self, lessons: Lessons) -> Form {
        let structured = match self.structured {
            StructuredOutput::Auto => lessons.structured.unwrap_or(Structured::Schema),
            StructuredOutput::JsonSchema => Structured::Schema,
            StructuredOutput::JsonObject => Structured::Object,
            StructuredOutput::Plain => Structured::Plain,
        };
        let limit = match self.limit {
            TokenLimit::Auto => lessons.limit.unwrap_or(self.usual_limit),
            TokenLimit::MaxTokens => LimitName::MaxTokens,
            TokenLimit::MaxCompletionTokens => LimitName::MaxCompletionTokens,
        };
        Form {
            structured,
            limit,
            system: self.system,
            seed: self.seed && !lessons.no_seed,
            preferred_temperature: !lessons.no_temperature,
        }
    }

    /// What there is to learn from the refusal of a request in the form for these lessons; `None` if the same request would
    /// be sent again.
    pub(super) fn learn(self, lessons: Lessons, refused: Setting) -> Option<Lessons> {
        let mut learned = lessons;
        let form = self.form(lessons);
        match refused {
            Setting::StructuredOutput => learned.structured = Some(self.wire.instead_of(form.structured)),
            // Once: if the server refuses both names, the reason is another one.
            Setting::MaxTokens if lessons.limit.is_none() && form.limit == LimitName::MaxTokens => {
                learned.limit = Some(LimitName::MaxCompletionTokens);
            }
            Setting::MaxCompletionTokens if lessons.limit.is_none() && form.limit == LimitName::MaxCompletionTokens => {
                learned.limit = Some(LimitName::MaxTokens);
            }
            Setting::Seed => learned.no_seed = true,
            Setting::Temperature => learned.no_temperature = true,
            _ => {}
        }
        (learned != lessons && self.form(learned) != form).then_some(learned)
    }
}

/// What was learned about servers, for the whole process. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Remembered(Arc<Mutex<HashMap<String, Lessons>>>);

impl Remembered {
    /// What was learned about a server and model.
    pub(super) fn of(&self, server: &str) -> Lessons {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(server).copied().unwrap_or_default()
    }

    /// Remembers what was learned.
    pub(super) fn keep(&self, server: &str, lessons: Lessons) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_REMEMBERED && !known.contains_key(server) {
            known.clear();
        }
        known.insert(server.to_owned(), lessons);
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire;
    use super::*;
    use whetstone_domain::plan::Provider;

    fn wanted(provider: Provider) -> Wanted {
        Wanted {
            wire: wire::of(provider),
            structured: StructuredOutput::Auto,
            limit: TokenLimit::Auto,
            usual_limit: LimitName::MaxTokens,
            system: SystemRole::System,
            seed: true,
        }
    }

    /// The forms of successive requests to a server that always refuses the same setting.
    fn forms(wanted: Wanted, refused: Setting) -> Vec<Form> {
        let mut lessons = Lessons::default();
        let mut forms = vec![wanted.form(lessons)];
        while let Some(learned) = wanted.learn(lessons, refused) {
            lessons = learned;
            forms.push(wanted.form(lessons));
            assert!(forms.len() <= MOST_CHANGES + 1, "{refused:?} never ends");
        }
        forms
    }

    #[test]
    fn structured_output_falls_back_step_by_step() {
        let steps = |provider| -> Vec<Structured> {
            forms(wanted(provider), Setting::StructuredOutput).into_iter().map(|form| form.structured).collect()
        };
        assert_eq!(steps(Provider::OpenAi), [Structured::Schema, Structured::Object, Structured::Plain]);
        assert_eq!(steps(Provider::Anthropic), [Structured::Schema, Structured::Plain]);
    }

    #[test]
    fn the_name_of_the_limit_changes_once() {
        let steps = forms(wanted(Provider::OpenAi), Setting::MaxTokens);
        assert_eq!(steps.last().unwrap().limit, LimitName::MaxCompletionTokens);
        assert_eq!(steps.len(), 2);
        let both = Lessons { limit: Some(LimitName::MaxCompletionTokens), ..Lessons::default() };
        assert_eq!(wanted(Provider::OpenAi).learn(both, Setting::MaxCompletionTokens), None, "not back again");
    }

    #[test]
    fn seed_and_a_temperature_that_nobody_asked_for_are_left_out() {
        assert!(!forms(wanted(Provider::OpenAi), Setting::Seed).last().unwrap().seed);
        assert!(!forms(wanted(Provider::OpenAi), Setting::Temperature).last().unwrap().preferred_temperature);
    }

    #[test]
    fn what_a_person_wrote_is_never_changed() {
        let written = Wanted {
            structured: StructuredOutput::JsonSchema,
            limit: TokenLimit::MaxTokens,
            seed: false,
            ..wanted(Provider::OpenAi)
        };
        for refused in
            [Setting::StructuredOutput, Setting::MaxTokens, Setting::Seed, Setting::SystemRole, Setting::Tools]
        {
            assert_eq!(forms(written, refused).len(), 1, "{refused:?}");
        }
    }

    #[test]
    fn no_more_servers_are_remembered_than_there_is_room_for() {
        let remembered = Remembered::default();
        let lessons = Lessons { no_seed: true, ..Lessons::default() };
        for server in 0..MOST_REMEMBERED + 10 {
            remembered.keep(&server.to_string(), lessons);
        }
        assert!(remembered.0.lock().unwrap().len() <= MOST_REMEMBERED);
        assert_eq!(remembered.of("1009"), lessons);
        assert_eq!(remembered.of("nobody"), Lessons::default());
    }
}
