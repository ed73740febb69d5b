//! The difference between two prompts.

use std::collections::HashMap;

use similar::{Algorithm, DiffTag, TextDiff, capture_diff_slices};

use super::Prompt;
use crate::words::counted;

/// The maximum number of lines or words that are compared one by one, of both prompts together and without their common
/// beginning and end. The comparison takes up to the product of both.
const MOST_COMPARED: usize = 20_000;

/// Whether the parts between the common beginning and the common end are short enough to be compared one by one.
fn is_comparable(old: &[&str], new: &[&str]) -> bool {
    let before = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[before..], &new[before..]);
    let after = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    old.len() + new.len() - 2 * after <= MOST_COMPARED
}

/// The fraction of the words that changed, from 0 (the same words) to 1 (nothing in common): the removed or the added words,
/// whichever are more, relative to the words of the longer text. White space does not count. If thousands of words differ,
/// their order is ignored.
#[must_use]
pub fn edit_share(before: &Prompt, after: &Prompt) -> f64 {
    let old: Vec<&str> = before.text().split_whitespace().collect();
    let new: Vec<&str> = after.text().split_whitespace().collect();
    let longer = old.len().max(new.len());
    if longer == 0 {
        return 0.0;
    }
    let (removed, added) = if is_comparable(&old, &new) { changed_in_order(&old, &new) } else { changed(&old, &new) };
    removed.max(added) as f64 / longer as f64
}

/// The number of removed and of added words.
fn changed_in_order(old: &[&str], new: &[&str]) -> (usize, usize) {
    let (mut removed, mut added) = (0, 0);
    for change in capture_diff_slices(Algorithm::Myers, old, new) {
        if change.tag() != DiffTag::Equal {
            removed += change.old_range().len();
            added += change.new_range().len();
        }
    }
    (removed, added)
}

/// The same, ignoring the order.
fn changed(old: &[&str], new: &[&str]) -> (usize, usize) {
    let mut counts: HashMap<&str, i64> = HashMap::new();
    for word in old {
        *counts.entry(word).or_default() -= 1;
    }
    for word in new {
        *counts.entry(word).or_default() += 1;
    }
    let sum = |sign: i64| counts.values().map(|count| usize::try_from(count * sign).unwrap_or(0)).sum();
    (sum(-1), sum(1))
}

/// The unified diff with three lines of context; empty if there is no difference. `names` are the names after `---` and `+++`.
/// Prompts that differ in thousands of lines are not compared line by line.
#[must_use]
pub fn diff(before: &Prompt, after: &Prompt, names: (&str, &str)) -> String {
    let old: Vec<&str> = before.text().split_inclusive('\n').collect();
    let new: Vec<&str> = after.text().split_inclusive('\n').collect();
    if !is_comparable(&old, &new) {
        let (old, new) = (old.len(), new.len());
        return format!("--- {}\n+++ {}\n@@ {}, and {new} in their place @@\n", names.0, names.1, counted(old, "line"));
    }
    TextDiff::from_lines(before.text(), after.text())
        .unified_diff()
        .context_radius(3)
        .header(names.0, names.1)
        .to_string()
}

/// The sections whose text differs, in the order of `after`, then the removed ones.
#[must_use]
pub fn changed_sections(before: &Prompt, after: &Prompt) -> Vec<String> {
    let text_of = |prompt: &Prompt, name: &str| {
        prompt.section(name).map(|section| prompt.text()[section.start..section.end].trim_end().to_owned())
    };
    let names =
        |prompt: &Prompt| -> Vec<String> { prompt.sections().iter().map(|section| section.name.clone()).collect() };
    let gone = names(before).into_iter().filter(|name| after.section(name).is_none());
    names(after).into_iter().filter(|name| text_of(before, name) != text_of(after, name)).chain(gone).collect()
}
