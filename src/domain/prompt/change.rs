//! What changed between two prompts.

use std::collections::HashMap;

use similar::{Algorithm, DiffTag, TextDiff, capture_diff_slices};

use super::Prompt;
use crate::domain::words::counted;

/// The most lines or words, of both prompts together and between those that they begin and end with alike, that are compared
/// one by one. Comparing takes up to the product of both.
const MOST_COMPARED: usize = 20_000;

/// Whether what lies between the common beginning and the common end is short enough to be compared part by part.
fn is_comparable(old: &[&str], new: &[&str]) -> bool {
    let before = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[before..], &new[before..]);
    let after = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    old.len() + new.len() - 2 * after <= MOST_COMPARED
}

/// The share of the text that changed, by words, from 0 (the same words) to 1 (nothing in common): the words taken away or
/// the words added, whichever are more, over the words of the longer text. White space alone changes nothing. Where thousands
/// of words differ, their order is of no account.
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

/// The words taken away, and those added.
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

/// The same, whatever their order.
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

/// The difference in unified form with three lines of context; empty when there is none. `names` are what stands behind
/// `---` and `+++`. Prompts that differ in thousands of lines are not compared line by line.
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

/// The sections whose text differs, in the order of `after`, then those that are gone.
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
