//! The history: cycles, and versions with the reasons for their phases.

use std::fmt::Write as _;

use kube::ResourceExt as _;

use super::words::{cause, kind, verdict_words, version_mark};
use super::{View, currency, object_of, section};
use crate::api::status::FinishedCycle;
use crate::api::{AgentOptimization, PromptVersion};
use crate::web::moment::{relative, took};
use crate::web::terminal::{Tone, harmless, line, lines, short};
use whetstone_domain::words::counted;

/// The indentation of the reasons below a row.
const REASON_COLUMN: usize = 6;

/// The last cycles, and all versions with all reasons.
#[must_use]
pub(crate) fn history(object: &AgentOptimization, versions: &[PromptVersion], limit: usize, view: &View<'_>) -> String {
    let cycles = object.status.as_ref().map(|status| status.history.as_slice()).unwrap_or_default();
    let shown = &cycles[..cycles.len().min(limit)];
    let mut text = format!("{}\n", view.terminal.paint(Tone::Strong, &object_of(object)));
    if shown.is_empty() && versions.is_empty() {
        let status = view.command(&format!("status {}", object.name_any()));
        let _ = writeln!(text, "no cycle has ended yet; see the current state with {status}");
    }
    section(&mut text, "cycles", &self::cycles(shown, &currency(object), view), view);
    section(&mut text, "versions", &lineage(versions, usize::MAX, view), view);
    text
}

/// The cycles, newest first.
pub(super) fn cycles(cycles: &[FinishedCycle], currency: &str, view: &View<'_>) -> String {
    let plain = |text: String| (Tone::Plain, text);
    let row = |cycle: &FinishedCycle| {
        let (tone, verdict) = verdict_words(&cycle.verdict);
        let versions = match &cycle.challenger {
            Some(challenger) => format!("{challenger} against {}", cycle.champion),
            None => cycle.champion.clone(),
        };
        vec![
            plain(relative(cycle.ended_at, view.now)),
            (tone, verdict.to_owned()),
            plain(versions),
            plain(cycle.score.as_ref().map(|score| format!("champion {score}")).unwrap_or_default()),
            plain(format!("{} {currency}", cycle.cost)),
            plain(took(cycle.ended_at.duration_since(cycle.started_at))),
            plain(format!("{}, {}", kind(cycle.kind), cause(cycle.cause))),
            (Tone::Faint, cycle.id.clone()),
        ]
    };
    let rows: Vec<_> = cycles.iter().map(row).collect();
    let mut text = String::new();
    for (row, cycle) in view.terminal.columns(&rows).iter().zip(cycles) {
        let _ = writeln!(text, "  {row}");
        reason(&mut text, &cycle.message, view);
    }
    text
}

/// The versions, newest first, with a limited number of reasons each.
pub(super) fn lineage(versions: &[PromptVersion], reasons: usize, view: &View<'_>) -> String {
    const ADDRESSED: usize = 100;
    let newest = newest_first(versions);
    let row = |version: &&PromptVersion| {
        let status = version.status.clone().unwrap_or_default();
        let (tone, mark) = version_mark(status.phase);
        let phase = status.phase.map_or("not reconciled yet", |phase| phase.as_str());
        vec![
            (tone, mark.to_owned()),
            (Tone::Strong, version_name(version)),
            (tone, phase.to_owned()),
            (Tone::Plain, status.since.map(|since| relative(since, view.now)).unwrap_or_default()),
            (Tone::Plain, status.score.map(|score| format!("score {score}")).unwrap_or_default()),
            (Tone::Faint, origin_of(version).map(|parent| format!("from {parent}")).unwrap_or_default()),
        ]
    };
    let rows: Vec<_> = newest.iter().map(row).collect();
    let mut text = String::new();
    for (row, version) in view.terminal.columns(&rows).iter().zip(newest) {
        let _ = writeln!(text, "  {row}");
        let why = version.status.iter().flat_map(|status| &status.reasons);
        for message in why.take(reasons) {
            reason(&mut text, message, view);
        }
        if reasons > 1 && !version.spec.addresses.is_empty() {
            let addressed: Vec<String> = version.spec.addresses.iter().map(|label| short(label, ADDRESSED)).collect();
            reason(&mut text, &format!("addresses {}", addressed.join("; ")), view);
        }
    }
    text
}

/// The versions, newest first.
#[must_use]
pub(crate) fn newest_first(versions: &[PromptVersion]) -> Vec<&PromptVersion> {
    let mut newest: Vec<&PromptVersion> = versions.iter().collect();
    newest.sort_by_key(|version| {
        let created = version.metadata.creation_timestamp.as_ref().map(|time| time.0);
        std::cmp::Reverse((created, number(version), version.name_any()))
    });
    newest
}

fn reason(text: &mut String, message: &str, view: &View<'_>) {
    if !message.is_empty() {
        text.push_str(&view.terminal.labelled("", REASON_COLUMN, Tone::Faint, &lines(message)));
    }
}

/// Its name in the lineage: the one that the operator assigned, else the one that its author gave.
#[must_use]
pub(crate) fn version_name(version: &PromptVersion) -> String {
    let given = version.status.as_ref().and_then(|status| status.version.as_ref()).or(version.spec.version.as_ref());
    line(given.unwrap_or(&version.name_any()))
}

/// Its parent, or the version that it was gated against.
pub(super) fn origin_of(version: &PromptVersion) -> Option<&str> {
    let gated = version.status.as_ref().and_then(|status| status.parent.as_deref());
    version.spec.parent.as_deref().or(gated)
}

/// The number in names such as `v12`, so that v10 comes after v9.
fn number(version: &PromptVersion) -> Option<u64> {
    version_name(version).trim_start_matches('v').parse().ok()
}

/// A unified diff in color, with a limited number of lines.
pub(super) fn diff(diff: &str, most: usize, view: &View<'_>) -> String {
    let lines: Vec<&str> = diff.lines().filter(|line| !line.starts_with("---") && !line.starts_with("+++")).collect();
    let mut text = String::new();
    for line in lines.iter().take(most) {
        let tone = match line.chars().next() {
            Some('+') => Tone::Good,
            Some('-') => Tone::Bad,
            Some('@') => Tone::Busy,
            _ => Tone::Plain,
        };
        let _ = writeln!(text, "  {}", view.terminal.paint(tone, &harmless(line)));
    }
    if lines.len() > most {
        let _ = writeln!(text, "  and {}", counted(lines.len() - most, "more line"));
    }
    text
}
