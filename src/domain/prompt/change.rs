//! What changed between two prompts.

use similar::{Algorithm, DiffTag, TextDiff, capture_diff_slices};

use super::Prompt;

/// The share of the text that changed, by words, from 0 (the same words) to 1 (nothing in common): the words taken away or
/// the words added, whichever are more, over the words of the longer text. White space alone changes nothing.
#[must_use]
pub fn edit_share(before: &Prompt, after: &Prompt) -> f64 {
    let old: Vec<&str> = before.text().split_whitespace().collect();
    let new: Vec<&str> = after.text().split_whitespace().collect();
    let longer = old.len().max(new.len());
    if longer == 0 {
        return 0.0;
    }
    let (mut removed, mut added) = (0, 0);
    for change in capture_diff_slices(Algorithm::Myers, &old, &new) {
        if change.tag() != DiffTag::Equal {
            removed += change.old_range().len();
            added += change.new_range().len();
        }
    }
    removed.max(added) as f64 / longer as f64
}

/// The difference in unified form with three lines of context; empty when there is none. `names` are what stands behind
/// `---` and `+++`.
#[must_use]
pub fn diff(before: &Prompt, after: &Prompt, names: (&str, &str)) -> String {
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
