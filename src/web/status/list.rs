//! The list of objects, and one line for each change.

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{Health, View, condition, currency, progress_words, words};
use crate::api::AgentOptimization;
use crate::api::status::AgentOptimizationStatus;
use crate::web::moment::age;
use crate::web::terminal::{Tone, line, short};

/// The minimum width in which a message is shown.
const LEAST_MESSAGE: usize = 20;

/// The maximum length of a message if the width of the terminal is unknown.
const MOST_MESSAGE: usize = 100;

/// A table with one line for each object. `everywhere` adds the namespace.
#[must_use]
pub(crate) fn list(objects: &[AgentOptimization], everywhere: bool, view: &View<'_>) -> String {
    let header = ["NAMESPACE", "NAME", "PHASE", "READY", "CHAMPION", "CHALLENGER", "SCORE", "COST", "AGE"];
    let header = header.iter().skip(usize::from(!everywhere)).map(|name| (Tone::Faint, (*name).to_owned())).collect();
    let mut rows: Vec<Vec<(Tone, String)>> = vec![header];
    rows.extend(objects.iter().map(|object| row(object, everywhere, view.now)));
    let widths =
        (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column].1.chars().count()).max().unwrap_or(0));
    let taken: usize = widths.map(|width| width + 2).sum();
    let room = view.terminal.width.map_or(MOST_MESSAGE, |width| usize::from(width).saturating_sub(taken));
    if room >= LEAST_MESSAGE {
        rows[0].push((Tone::Faint, "MESSAGE".to_owned()));
        for (row, object) in rows[1..].iter_mut().zip(objects) {
            row.push((Tone::Plain, short(message(object), room)));
        }
    }
    view.terminal.columns(&rows).into_iter().map(|line| line + "\n").collect()
}

fn row(object: &AgentOptimization, everywhere: bool, now: Timestamp) -> Vec<(Tone, String)> {
    let nothing = AgentOptimizationStatus::default();
    let status = object.status.as_ref().unwrap_or(&nothing);
    let ready = condition(object, "Ready").map_or("—", |ready| ready.status.as_str());
    let or_dash = |text: Option<&String>| (Tone::Plain, text.map_or("—", String::as_str).to_owned());
    let champion = status.champion.as_ref();
    let challenger = status.challenger.as_ref();
    let mut cells = Vec::new();
    if everywhere {
        cells.push((Tone::Plain, object.namespace().unwrap_or_default()));
    }
    cells.extend([
        (Tone::Strong, object.name_any()),
        status.phase.map_or((Tone::Faint, "—".to_owned()), |phase| (words::phase(phase), phase.as_str().to_owned())),
        (Health::of(object).mark().0, ready.to_owned()),
        or_dash(champion.map(|champion| &champion.version)),
        or_dash(challenger.map(|challenger| &challenger.version)),
        or_dash(champion.and_then(|champion| champion.score.as_ref())),
        (Tone::Plain, status.cost.as_ref().map_or("—".to_owned(), |cost| format!("{} {}", cost.amount, cost.currency))),
        (Tone::Plain, object.creation_timestamp().map(|created| age(created.0, now)).unwrap_or_default()),
    ]);
    cells
}

fn message(object: &AgentOptimization) -> &str {
    condition(object, "Ready").map(|ready| ready.message.as_str()).unwrap_or_default()
}

/// The line that is printed when it changes: phase, progress of the running cycle, and the message of `Ready`.
#[must_use]
pub(crate) fn change(object: &AgentOptimization, view: &View<'_>) -> String {
    let status = object.status.as_ref();
    let (tone, phase) = match status.and_then(|status| status.phase) {
        Some(phase) => (words::phase(phase), phase.as_str()),
        None => (Tone::Faint, "no status yet"),
    };
    let progress = status
        .and_then(|status| status.cycle.as_ref()?.progress.as_ref())
        .map(|progress| progress_words(progress, &currency(object), false));
    let said = [progress, Some(line(message(object)))];
    let said: Vec<String> = said.into_iter().flatten().filter(|text| !text.is_empty()).collect();
    format!("{}  {}", view.terminal.paint(tone, &format!("{phase:<16}")), said.join("; ")).trim_end().to_owned()
}
