//! The effects of an approval or a rollback, shown before the confirmation.

use std::fmt::Write as _;

use similar::TextDiff;

use super::past::{diff, origin_of, version_name};
use super::{View, object_of, scored};
use crate::api::status::Challenger;
use crate::api::{AgentOptimization, PromptVersion};
use crate::web::moment::relative;
use crate::web::terminal::{Tone, line, short};
use whetstone_domain::version::VersionPhase;

/// The maximum number of lines of a diff.
const LINES: usize = 60;

/// The maximum length of what a version addresses.
const ADDRESSED: usize = 160;

/// The version of a name. A version that was refused because of a duplicate name is not considered; of several, the oldest.
#[must_use]
pub(crate) fn find<'a>(versions: &'a [PromptVersion], name: &str) -> Option<&'a PromptVersion> {
    let named = versions.iter().filter(|version| version_name(version) == name);
    named.min_by_key(|version| {
        let phase = version.status.as_ref().and_then(|status| status.phase);
        (phase == Some(VersionPhase::Rejected), version.metadata.creation_timestamp.as_ref().map(|time| time.0))
    })
}

/// The version that an approval would promote, and the one that it would replace.
#[must_use]
pub(crate) fn approval(
    object: &AgentOptimization,
    challenger: &Challenger,
    versions: &[PromptVersion],
    view: &View<'_>,
) -> String {
    let champion = object.status.as_ref().and_then(|status| status.champion.as_ref());
    let mut text = format!("{}\n\n", view.terminal.paint(Tone::Strong, &object_of(object)));
    if let Some(champion) = champion {
        let since = relative(champion.since, view.now);
        let serves = format!("{}{}, {since}", champion.version, scored(champion.score.as_ref()));
        text.push_str(&view.terminal.labelled("  serves", 14, Tone::Plain, &serves));
    }
    let proposed = format!("{}{}", challenger.version, scored(challenger.score.as_ref()));
    text.push_str(&view.terminal.labelled("  instead", 14, Tone::Notable, &proposed));
    let serving = champion.map(|champion| champion.version.as_str());
    match find(versions, &challenger.version) {
        Some(version) => about(&mut text, version, serving.and_then(|name| find(versions, name)), serving, view),
        None => text.push_str("\nits PromptVersion does not exist, so its changes cannot be shown\n"),
    }
    text
}

/// The version that a rollback would restore, and the one that it would quarantine.
#[must_use]
pub(crate) fn rollback(object: &AgentOptimization, to: &str, versions: &[PromptVersion], view: &View<'_>) -> String {
    let mut text = format!("{}\n\n", view.terminal.paint(Tone::Strong, &object_of(object)));
    let champion = object.status.as_ref().and_then(|status| status.champion.as_ref());
    let target = find(versions, to);
    let score = target.and_then(|version| version.status.as_ref()?.score.as_ref());
    if let Some(champion) = champion {
        let since = relative(champion.since, view.now);
        let serves = format!(
            "{}{}, {since}: will be quarantined and not be promoted again automatically",
            champion.version,
            scored(champion.score.as_ref())
        );
        text.push_str(&view.terminal.labelled("  serves", 14, Tone::Plain, &serves));
    }
    text.push_str(&view.terminal.labelled("  instead", 14, Tone::Notable, &format!("{to}{}", scored(score))));
    let status = target.and_then(|version| version.status.as_ref());
    if let Some((phase, reason)) = status.and_then(|status| Some((status.phase?, status.reasons.first()?))) {
        text.push_str(&view.terminal.labelled("", 14, Tone::Faint, &format!("{}: {}", phase.as_str(), line(reason))));
    }
    if let (Some(target), Some(serving)) = (target, champion.and_then(|champion| find(versions, &champion.version))) {
        change(&mut text, &between(serving, target), view);
    }
    text
}

/// The reasons for a version, and its changes.
fn about(
    text: &mut String,
    version: &PromptVersion,
    champion: Option<&PromptVersion>,
    serving: Option<&str>,
    view: &View<'_>,
) {
    let addresses = version.spec.addresses.iter().map(|label| short(label, ADDRESSED));
    listed(text, "  addresses", addresses, view);
    let mut reasons: Vec<String> = Vec::new();
    for reason in version.status.iter().flat_map(|status| &status.reasons).map(|reason| line(reason)) {
        // Skips a sentence that equals the previous one.
        if !reasons.last().is_some_and(|before| before.contains(&reason)) {
            reasons.push(reason);
        }
    }
    listed(text, "  because", reasons.into_iter(), view);
    // The recorded diff is from the parent, which is not necessarily the champion.
    let recorded = version.spec.diff.as_ref().filter(|_| origin_of(version) == serving || champion.is_none());
    match (recorded, champion) {
        (Some(recorded), _) => change(text, recorded, view),
        (None, Some(champion)) => change(text, &between(champion, version), view),
        (None, None) => {}
    }
}

/// Several texts under one label.
fn listed(text: &mut String, label: &str, items: impl Iterator<Item = String>, view: &View<'_>) {
    for (index, item) in items.enumerate() {
        let label = if index == 0 { label } else { "" };
        text.push_str(&view.terminal.labelled(label, 14, Tone::Plain, &item));
    }
}

fn between(before: &PromptVersion, after: &PromptVersion) -> String {
    TextDiff::from_lines(before.spec.prompt.as_str(), after.spec.prompt.as_str())
        .unified_diff()
        .context_radius(2)
        .to_string()
}

fn change(text: &mut String, unified: &str, view: &View<'_>) {
    let changed = diff(unified, LINES, view);
    if changed.is_empty() {
        text.push_str("\nthe prompt is the same\n");
    } else {
        let _ = write!(text, "\n{}\n{changed}", view.terminal.paint(Tone::Strong, "changes"));
    }
}
