//! Edits of a range of text by anchors: lines are inserted after an anchor, or the anchor is replaced or deleted.

use std::ops::Range;

use super::markdown::begins_underlined;
use crate::patch::Edit;

/// Why an edit cannot be made in a range of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// The anchor is blank.
    Blank,
    /// The anchor does not occur.
    Absent,
    /// The anchor occurs more than once.
    Ambiguous,
    /// Nothing would change.
    NoEffect,
}

/// Makes an edit in `text[within]` and returns the whole text.
///
/// `heading` is the line above the range: as the anchor of an insertion it means the beginning of the range. With
/// `keep_indent`, inserted lines are indented like the line that they follow.
pub(super) fn edit(
    text: &str,
    within: Range<usize>,
    heading: &str,
    keep_indent: bool,
    edit: &Edit,
) -> Result<String, Miss> {
    let body = &text[within.clone()];
    let found =
        |anchor: &str| find_once(body, anchor).map(|found| within.start + found.start..within.start + found.end);
    match edit {
        Edit::Insert { after, text: added, .. } => {
            let added = clean(added);
            if added.trim().is_empty() || has_lines(body, &added) {
                return Err(Miss::NoEffect);
            }
            let at = match after.as_deref().filter(|after| !after.trim().is_empty()) {
                Some(after) => match found(after) {
                    Ok(anchor) => end_of_line(text, anchor.end),
                    Err(Miss::Absent) if !heading.is_empty() && bare(heading) == bare(after) => within.start,
                    Err(miss) => return Err(miss),
                },
                None => within.start + end_of_last_line(body),
            };
            let added = if keep_indent { indent_like(text, &within, at, &added) } else { added };
            Ok(insert_lines(text, at, &added))
        }
        Edit::Replace { find, text: added, .. } => {
            let at = found(find)?;
            let added = clean(added);
            if added.trim().is_empty() {
                return Ok(delete(text, at));
            }
            if text[at.clone()] == added {
                return Err(Miss::NoEffect);
            }
            let (before, after) = (&text[..at.start], &text[at.end..]);
            Ok([before, gap(before, &added), &added, after].concat())
        }
        Edit::Delete { find, .. } => Ok(delete(text, found(find)?)),
    }
}

/// Normalizes line ends, and removes surrounding blank lines.
fn clean(added: &str) -> String {
    added.replace("\r\n", "\n").trim_matches('\n').to_owned()
}

/// The edited text, with Windows line ends if the original has only those.
pub(super) fn with_line_ends_of(original: &str, edited: String) -> String {
    let of_windows = original.matches("\r\n").count();
    if of_windows > 0 && of_windows == original.matches('\n').count() {
        return edited.replace("\r\n", "\n").replace('\n', "\r\n");
    }
    edited
}

/// A name normalized for comparison: models write `## Rules` or `rules:` for the section `Rules`.
pub(super) fn bare(name: &str) -> String {
    name.trim().trim_matches(['#', ':']).trim().to_lowercase()
}

/// Whether the body already contains these lines, consecutively and completely.
fn has_lines(body: &str, added: &str) -> bool {
    let body: Vec<&str> = body.lines().map(str::trim_end).collect();
    let added: Vec<&str> = added.lines().map(str::trim_end).collect();
    body.windows(added.len().max(1)).any(|window| window == added)
}

/// The only place where an anchor occurs, without surrounding line breaks. If the anchor is not found verbatim, white space at
/// the ends of lines is ignored.
fn find_once(body: &str, anchor: &str) -> Result<Range<usize>, Miss> {
    if anchor.trim().is_empty() {
        return Err(Miss::Blank);
    }
    let anchor = anchor.trim_matches(['\n', '\r']);
    match only(body, anchor) {
        Ok(start) => Ok(start..start + anchor.len()),
        Err(Miss::Absent) => {
            let (stripped, offsets) = strip_line_ends(body);
            let (anchor, _) = strip_line_ends(anchor);
            let start = only(&stripped, &anchor)?;
            Ok(offsets[start]..offsets[start + anchor.len() - 1] + 1)
        }
        Err(miss) => Err(miss),
    }
}

fn only(body: &str, anchor: &str) -> Result<usize, Miss> {
    let first = body.find(anchor).ok_or(Miss::Absent)?;
    let next = first + body[first..].chars().next().map_or(1, char::len_utf8);
    if body[next..].contains(anchor) { Err(Miss::Ambiguous) } else { Ok(first) }
}

/// The text without white space at the ends of its lines, and the original position of each byte.
fn strip_line_ends(text: &str) -> (String, Vec<usize>) {
    let mut stripped = String::with_capacity(text.len());
    let mut offsets = Vec::with_capacity(text.len());
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let kept = line.trim_end();
        stripped.push_str(kept);
        offsets.extend(start..start + kept.len());
        start += line.len();
        if line.ends_with('\n') {
            stripped.push('\n');
            offsets.push(start - 1);
        }
    }
    (stripped, offsets)
}

/// The offset after the line with the byte before `offset`, including its line break.
fn end_of_line(text: &str, offset: usize) -> usize {
    text[offset..].find('\n').map_or(text.len(), |length| offset + length + 1)
}

/// The offset after the last line that is not blank, including its line break; 0 if all are.
fn end_of_last_line(body: &str) -> usize {
    let mut offset = 0;
    let mut end = 0;
    for line in body.split_inclusive('\n') {
        offset += line.len();
        if !line.trim().is_empty() {
            end = offset;
        }
    }
    end
}

fn insert_lines(text: &str, at: usize, added: &str) -> String {
    let (before, after) = text.split_at(at);
    let line_is_open = !before.is_empty() && !before.ends_with('\n');
    let (lead, tail) = if line_is_open {
        ("\n", "")
    } else if before.is_empty() && after.is_empty() {
        ("", "")
    } else {
        ("", "\n")
    };
    let before = [before, lead].concat();
    [&before, gap(&before, added), added, tail, after].concat()
}

/// The empty line between a text and an underlined heading below it, without which the paragraph would become part of the heading.
fn gap(above: &str, below: &str) -> &'static str {
    let ends_in_words = above.ends_with('\n') && above.lines().next_back().is_some_and(|line| !line.trim().is_empty());
    if ends_in_words && begins_underlined(below) { "\n" } else { "" }
}

/// Indents the added lines like the line before `at`, or like the first line of the range at its beginning or end.
fn indent_like(text: &str, within: &Range<usize>, at: usize, added: &str) -> String {
    let body = &text[within.clone()];
    let last = within.start + end_of_last_line(body);
    let model = if at == within.start || at == last {
        body.lines().find(|line| !line.trim().is_empty())
    } else {
        text[..at].lines().next_back()
    };
    let indent = model.map_or("", |line| &line[..line.len() - line.trim_start().len()]);
    let shared = added
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.len() - line.trim_start_matches(' ').len())
        .min()
        .unwrap_or(0);
    let lines: Vec<String> = added
        .lines()
        .map(|line| if line.trim().is_empty() { String::new() } else { format!("{indent}{}", &line[shared..]) })
        .collect();
    lines.join("\n")
}

/// Deletes a range, including a line of which only white space or a list mark would be left.
fn delete(text: &str, at: Range<usize>) -> String {
    let line_start = text[..at.start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[at.end..].find('\n').map_or(text.len(), |length| at.end + length);
    let left = [&text[line_start..at.start], &text[at.end..line_end]].concat();
    if !is_list_mark(left.trim()) {
        return [&text[..at.start], &text[at.end..]].concat();
    }
    if line_end < text.len() {
        [&text[..line_start], &text[line_end + 1..]].concat()
    } else {
        // The last line is deleted together with the line break before it.
        let kept = &text[..line_start];
        kept.strip_suffix("\r\n").or_else(|| kept.strip_suffix('\n')).unwrap_or(kept).to_owned()
    }
}

fn is_list_mark(left: &str) -> bool {
    let number = left.trim_end_matches(['.', ')']);
    matches!(left, "" | "-" | "*" | "+")
        || (number.len() + 1 == left.len() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}
