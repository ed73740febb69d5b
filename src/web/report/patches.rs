//! Patches in the report: their outcomes and edits, and the edits that were left out because they break critical scenarios.

use std::fmt::Write as _;

use comfy_table::{Table, presets};

use super::inline;
use crate::web::terminal::line;
use whetstone_decide::critical::{DroppedEdit, Standing, named};
use whetstone_domain::patch::Edit;
use whetstone_engine::report::Report;
use whetstone_engine::validate::attempt::{Attempt, AttemptKind};

/// Patches whose text the Markdown report shows; `report.json` has all of them.
const SHOWN_PATCHES: usize = 40;

/// An edit and what it breaks, on one line.
pub(super) fn dropped_line(dropped: &DroppedEdit) -> String {
    format!("{} — newly fails: {}", edit_line(&dropped.edit), named(&dropped.breaks))
}

/// An edit on one line.
fn edit_line(edit: &Edit) -> String {
    match edit {
        Edit::Insert { section, after: None, text } => format!("insert at the end of {section:?}: {text}"),
        Edit::Insert { section, after: Some(after), text } => format!("insert in {section:?} after {after:?}: {text}"),
        Edit::Replace { section, find, text } => format!("replace in {section:?} {find:?} by: {text}"),
        Edit::Delete { section, find } => format!("delete in {section:?}: {find}"),
    }
}

/// Apparent new failures in critical dimensions, and the edits that were left out because of them.
pub(super) fn markdown_critical(report: &Report, text: &mut String) {
    let Some(critical) = &report.found.critical else { return };
    if critical.failures.is_empty() && critical.dropped.is_empty() {
        return;
    }
    text.push_str("\n## Critical dimensions\n\n");
    for dropped in &critical.dropped {
        let clusters = dropped.clusters.join(", ");
        let what = inline(&edit_line(&dropped.edit));
        let _ = writeln!(text, "- Left out (round {}, {clusters}): {what}", dropped.round);
        let _ = writeln!(text, "  - newly fails: {}", inline(&named(&dropped.breaks)));
    }
    if critical.failures.is_empty() {
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "scenario",
        "part",
        "dimension",
        "prompt",
        "passed before",
        "after",
        "again before",
        "after",
        "",
    ]);
    for failure in &critical.failures {
        let standing = match failure.standing() {
            Standing::Confirmed => "newly fails",
            Standing::NotConfirmed => "not confirmed",
            Standing::Unscored => "could not be scored",
        };
        let scenario = inline(failure.scenario.as_str()).replace('|', "\\|");
        let dimension = inline(failure.dimension.as_str()).replace('|', "\\|");
        let passes = [failure.before, failure.after, failure.before_again, failure.after_again];
        let mut row = vec![scenario, failure.part.as_str().to_owned(), dimension, failure.prompt.clone()];
        row.extend(passes.iter().map(ToString::to_string));
        row.push(standing.to_owned());
        table.add_row(row);
    }
    let _ = writeln!(text, "\nApparent new failures, and the results of further repeats:\n\n{table}");
    let more = critical.failures_in_all.saturating_sub(critical.failures.len());
    if more > 0 {
        let _ = writeln!(text, "\nand {more} more");
    }
}

/// The outcome and the edits of every patch.
pub(super) fn markdown_attempts(report: &Report, text: &mut String) {
    if report.found.attempts.is_empty() {
        return;
    }
    text.push_str("\n## Patches\n\n");
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["round", "cluster", "prompt", "", "outcome"]);
    for attempt in &report.found.attempts {
        let survived = if attempt.survived { "✓" } else { "✗" };
        let prompt = attempt.prompt.clone().unwrap_or_else(|| "—".to_owned());
        let reason = inline(&attempt.reason).replace('|', "\\|");
        table.add_row([attempt.round.to_string(), line(&attempt.cluster), prompt, survived.to_owned(), reason]);
    }
    let _ = writeln!(text, "{table}");
    let said = |attempt: &&Attempt| {
        attempt.kind == AttemptKind::Patch && !(attempt.edits.is_empty() && attempt.answer.is_empty())
    };
    for attempt in report.found.attempts.iter().filter(said).take(SHOWN_PATCHES) {
        let what = attempt.prompt.as_ref().map_or("not tried".to_owned(), |prompt| format!("`{prompt}`"));
        let _ = writeln!(text, "\nRound {}, {}, {what}:\n", attempt.round, inline(&attempt.cluster));
        for edit in &attempt.edits {
            let _ = writeln!(text, "- {}", inline(&edit_line(edit)));
        }
        if !attempt.answer.is_empty() {
            let _ = writeln!(text, "- answered: {}", inline(&attempt.answer));
        }
    }
}
