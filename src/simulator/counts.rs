//! Counts the answers of a server by kind, for comparison with a ledger.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::mishaps::Mishap;
use super::request::Role;

/// The counts since the server started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Answers that were sent completely and well-formed.
    pub answered: Answered,
    /// Faults.
    pub faults: FaultCounts,
    /// Invalid requests that were refused.
    pub refused: u64,
}

impl Counts {
    /// The counts in the text format of Prometheus.
    pub fn write(&self, out: &mut String) {
        write_counters(out, "simulator_answers_total", "Answers, by role.", "role", &self.answered);
        write_counters(out, "simulator_faults_total", "Faults, by kind.", "kind", &self.faults);
        let (name, help) = ("simulator_refused_total", "Refused invalid requests.");
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {}", self.refused);
    }
}

/// One counter for each field of an object of numbers.
fn write_counters(out: &mut String, name: &str, help: &str, label: &str, counts: &impl Serialize) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
    let counts = serde_json::to_value(counts).unwrap_or_default();
    for (field, count) in counts.as_object().into_iter().flatten() {
        let _ = writeln!(out, "{name}{{{label}=\"{field}\"}} {count}");
    }
}

/// Answers by role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answered {
    /// Turns of the agent.
    pub agent: u64,
    /// Verdicts of the judge, including prose.
    pub judge: u64,
    /// Proposals of the patch writer, including prose.
    pub patch: u64,
    /// Turns of the simulated user.
    pub user: u64,
    /// Requests for embeddings.
    pub embeddings: u64,
}

impl Answered {
    /// The total.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.agent + self.judge + self.patch + self.user + self.embeddings
    }
}

/// Faults by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultCounts {
    /// 429s.
    pub rate_limited: u64,
    /// 429s because of too many concurrent requests.
    pub overloaded: u64,
    /// 500s.
    pub server_error: u64,
    /// Connections cut in the middle of an answer.
    pub hang_up: u64,
    /// Answers with truncated JSON.
    pub truncated_json: u64,
    /// Malformed answers.
    pub malformed: u64,
    /// Stalled answers.
    pub stalled: u64,
    /// Prose although JSON was requested. Counted as answers as well.
    pub prose: u64,
}

/// The places of the tally.
#[derive(Clone, Copy)]
pub(super) enum Event {
    /// An answer to a chat.
    Chat(Role),
    /// An answer with embeddings.
    Embeddings,
    /// A fault.
    Fault(Mishap),
    /// Too many concurrent requests.
    Overloaded,
    /// Prose.
    Prose,
    /// Refused.
    Refused,
}

/// Concurrent counters.
#[derive(Default)]
pub(super) struct Tally([AtomicU64; 14]);

impl Tally {
    /// Increments a count.
    pub(super) fn add(&self, event: Event) {
        let place = match event {
            Event::Chat(Role::Agent) => 0,
            Event::Chat(Role::Judge) => 1,
            Event::Chat(Role::Patch) => 2,
            Event::Chat(Role::User) => 3,
            Event::Embeddings => 4,
            Event::Fault(Mishap::RateLimited(_)) => 5,
            Event::Overloaded => 6,
            Event::Fault(Mishap::ServerError) => 7,
            Event::Fault(Mishap::HangUp) => 8,
            Event::Fault(Mishap::TruncatedJson) => 9,
            Event::Fault(Mishap::Malformed) => 10,
            Event::Fault(Mishap::Stall(_)) => 11,
            Event::Prose => 12,
            Event::Refused => 13,
        };
        self.0[place].fetch_add(1, Ordering::Relaxed);
    }

    /// All counts as they are now.
    pub(super) fn read(&self) -> Counts {
        let [agent, judge, patch, user, embeddings, rate_limited, overloaded, server_error, rest @ ..] =
            self.0.each_ref().map(|count| count.load(Ordering::Relaxed));
        let [hang_up, truncated_json, malformed, stalled, prose, refused] = rest;
        Counts {
            answered: Answered { agent, judge, patch, user, embeddings },
            faults: FaultCounts {
                rate_limited,
                overloaded,
                server_error,
                hang_up,
                truncated_json,
                malformed,
                stalled,
                prose,
            },
            refused,
        }
    }
}
