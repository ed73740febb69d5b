//! The requirements on every store, written once against the traits. An adapter runs them with one line in its own tests:
//! `conformance::suite!(super::fixture)`, where `fixture` creates an empty store, and what must live as long as it.

mod history;
mod ledger;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rust_decimal::Decimal;
use serde_json::json;

use super::{CYCLES_KEPT, CallRow, Store, VersionRow};
use whetstone_decide::conclude::Verdict;
use whetstone_domain::call::{
    Answer, CallKey, ChatAnswer, Embeddings, Finish, ModelIdentity, Phase, Purpose, Unusable,
};
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::DimensionName;
use whetstone_domain::money::{Money, Usage};
use whetstone_domain::patch::{Edit, Patch, RejectedPatch};
use whetstone_domain::score::{DimensionScore, Evaluation, Sample, ScenarioResult, Score};
use whetstone_domain::tool::ToolCall;
use whetstone_domain::transcript::OpaqueParts;
use whetstone_domain::version::{Version, VersionPhase};
use whetstone_engine::ports::{CallTags, CycleRecord, CycleStart, Kept, LedgerEntry, Memory, StoreErrorKind};

/// Runs the suite on the stores that a fixture creates.
macro_rules! suite {
    ($fixture:path) => {
        $crate::store::conformance::suite! { $fixture:
            a_recorded_call_is_found_again,
            an_answer_comes_back_to_the_last_bit,
            recording_a_key_again_changes_nothing,
            what_cannot_be_used_is_counted_every_time_and_never_found,
            a_discarded_answer_is_not_found_any_more_and_stays_counted,
            a_vector_that_is_no_number_is_refused,
            a_hundred_callers_find_what_each_recorded,
            a_cycle_lists_the_calls_that_it_paid,
            totals_add_up_to_the_cent,
            the_first_cycle_makes_its_champion_v1,
            a_resumed_cycle_has_the_same_memory,
            a_repeated_cycle_has_the_same_memory,
            a_version_number_assigned_meanwhile_is_not_assigned_twice,
            a_cycle_remembers_patches_that_others_rejected,
            patches_rejected_for_an_unrelated_prompt_are_not_remembered,
            champion_scores_come_oldest_first,
            only_held_out_scores_of_champions_are_remembered,
            a_known_prompt_keeps_its_version_and_its_descent,
            a_version_name_never_means_two_prompts,
            only_one_version_is_champion,
            a_version_that_somebody_else_knows_keeps_its_name,
            objects_share_nothing_but_the_ledger,
            closing_again_replaces_what_was_recorded,
            a_cycle_that_was_never_opened_cannot_be_closed,
            scores_come_back,
            cycles_are_listed_newest_first_and_found_by_prefix,
            old_cycles_keep_one_line,
        }
    };
    ($fixture:path: $($test:ident),* $(,)?) => {
        mod conformance {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    let (_kept, store) = $fixture().await;
                    $crate::store::conformance::$test(&store).await;
                }
            )*
        }
    };
}
pub(crate) use suite;

pub(super) use self::{history::*, ledger::*};

pub(super) const OBJECT: &str = "shop/support";

pub(super) fn hash(text: &str) -> ContentHash {
    ContentHash::of_bytes(text.as_bytes())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn chat(text: &str) -> Answer {
    Answer::Chat(ChatAnswer { usage: Usage { input: 100, cached_input: 40, output: 7 }, ..ChatAnswer::said(text) })
}

/// A call whose key is the hash of a name, and whose answer is that name.
pub(super) fn entry(name: &str) -> LedgerEntry {
    LedgerEntry {
        key: CallKey(hash(name)),
        identity: ModelIdentity {
            provider: "openai".into(),
            endpoint: "http://litellm.llm:4000/v1".into(),
            model: "gpt-4o-mini".into(),
        },
        model: "worker".into(),
        answer: chat(name),
        cost: Some("0.000123".parse::<Decimal>().unwrap().into()),
        latency: Duration::from_micros(512_345),
        tags: CallTags {
            cycle: hash("cycle"),
            phase: Phase::Run,
            purpose: Purpose::Agent,
            scenario: Some("refund-12".into()),
        },
    }
}

fn start(cycle: &str, champion: &str) -> CycleStart {
    CycleStart {
        cycle: hash(cycle),
        object: OBJECT.into(),
        champion: hash(champion),
        champion_text: champion.into(),
        at: at(0),
    }
}

/// A cycle that kept its champion and recorded nothing else.
fn kept(cycle: &str, second: i64) -> CycleRecord {
    CycleRecord {
        cycle: hash(cycle),
        object: OBJECT.into(),
        verdict: Verdict::Kept,
        report: json!({"verdict": "kept", "cycle": cycle}),
        versions: Vec::new(),
        kept: Kept::default(),
        evaluations: Vec::new(),
        dimensions: Vec::new(),
        champion_scores: BTreeMap::new(),
        at: at(second),
    }
}

/// What a cycle leaves that rejected these patches.
fn rejecting(rejected: Vec<RejectedPatch>) -> Kept {
    Kept { rejected }
}

fn version(name: &str, text: &str, parent: Option<&str>, phase: VersionPhase) -> Version {
    Version {
        name: name.into(),
        hash: hash(text),
        text: text.into(),
        parent: parent.map(Into::into),
        diff: parent.map(|_| format!("+{text}")).unwrap_or_default(),
        addresses: parent.map(|_| "refunds without a receipt".to_owned()).into_iter().collect(),
        phase,
    }
}

fn rejection(prompt: &str) -> RejectedPatch {
    let edit = Edit::Insert { section: "Refunds".into(), after: None, text: prompt.into() };
    RejectedPatch {
        prompt: hash(prompt),
        patch: Patch { rationale: format!("because of {prompt}"), edits: vec![edit] },
        reason: "worse on safety".into(),
    }
}

fn prompts(memory: &Memory) -> Vec<ContentHash> {
    memory.rejected.iter().map(|rejected| rejected.prompt).collect()
}

fn names(versions: &[VersionRow]) -> Vec<(&str, &str, &str)> {
    versions
        .iter()
        .map(|row| (row.version.name.as_str(), row.version.text.as_str(), row.version.phase.as_str()))
        .collect()
}
