//! Markdown prompts: where the headings are.

use super::{PREAMBLE, Section};

/// The maximum length of a setext heading, in bytes: `---` under a whole sentence is probably a rule.
const LONGEST_SETEXT: usize = 100;

/// The sections of a text, with names that are not unique yet. An empty text is an empty preamble.
pub(super) fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut inside = Inside::Text;
    // A line that is a heading if the next one underlines it: its offset and its words.
    let mut paragraph: Option<(usize, &str)> = None;
    let mut after_break = true;
    let mut offset = front_matter(text);
    for line in text[offset..].split_inclusive('\n') {
        let start = offset;
        offset += line.len();
        match &inside {
            Inside::Fence(open) if open.is_closed_by(line) => inside = Inside::Text,
            Inside::Comment if line.contains("-->") => inside = Inside::Text,
            Inside::Fence(_) | Inside::Comment => {}
            Inside::Text => {
                let under = paragraph.take();
                let mut section = |name: &str, level, start| {
                    let name = if name.is_empty() { "untitled" } else { name }.to_owned();
                    sections.push(Section { name, level, start, body_start: offset, end: 0 });
                };
                if let Some(open) = Fence::opened_by(line) {
                    inside = Inside::Fence(open);
                } else if opens_comment(line) {
                    inside = Inside::Comment;
                } else if let Some((level, title)) = heading(line) {
                    section(title, level, start);
                } else if let (Some((start, title)), Some(level)) = (under, underline(line)) {
                    section(title, level, start);
                } else {
                    // Only the first line of a paragraph: several lines are text with a rule below it.
                    paragraph = setext_title(line).filter(|_| after_break).map(|title| (start, title));
                    // A rule ends a paragraph, as an empty line does.
                    after_break = line.trim().is_empty() || underline(line).is_some();
                    continue;
                }
            }
        }
        after_break = true;
    }
    let first = sections.first().map_or(text.len(), |section| section.start);
    if first > 0 || sections.is_empty() {
        sections.insert(0, Section { name: PREAMBLE.to_owned(), level: 0, start: 0, body_start: 0, end: 0 });
    }
    let mut end = text.len();
    for section in sections.iter_mut().rev() {
        section.end = end;
        end = section.start;
    }
    sections
}

/// Level and title of an ATX heading (CommonMark 0.31, section 4.2).
pub(super) fn heading(line: &str) -> Option<(u8, &str)> {
    let unindented = unindent(line)?;
    let rest = unindented.trim_start_matches('#');
    let level = unindented.len() - rest.len();
    if !(1..=6).contains(&level) || !(rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r'])) {
        return None;
    }
    let title = rest.trim();
    let open = title.trim_end_matches('#');
    // Closing marks require white space before them.
    let title = if open.is_empty() || open.ends_with([' ', '\t']) { open.trim_end() } else { title };
    Some((u8::try_from(level).ok()?, title))
}

/// The level of the heading that a line makes of the line above it (CommonMark 0.31, section 4.3).
fn underline(line: &str) -> Option<u8> {
    let marks = unindent(line)?.trim_end();
    let only = |mark: char| !marks.is_empty() && marks.chars().all(|char| char == mark);
    if only('=') { Some(1) } else { only('-').then_some(2) }
}

/// Whether a text begins with a heading that the line under it underlines.
pub(super) fn begins_underlined(text: &str) -> bool {
    let mut lines = text.lines();
    lines.next().is_some_and(|line| heading(line).is_none() && setext_title(line).is_some())
        && lines.next().is_some_and(|line| underline(line).is_some())
}

/// The words of a line that may be a setext heading: not a list item, a quotation, a table or a long line.
fn setext_title(line: &str) -> Option<&str> {
    let title = unindent(line)?.trim();
    let number = title.trim_start_matches(|char: char| char.is_ascii_digit());
    let is_item = title.starts_with(['-', '*', '+', '>', '|', '<'])
        || (number.len() < title.len() && number.starts_with(['.', ')']));
    (!title.is_empty() && title.len() <= LONGEST_SETEXT && !is_item).then_some(title)
}

/// The offset of a text after its front matter, from `---` in its first line to the next such line. 0 without front matter.
fn front_matter(text: &str) -> usize {
    let mut lines = text.split_inclusive('\n');
    let Some(first) = lines.next().filter(|line| line.trim_end() == "---") else { return 0 };
    let mut offset = first.len();
    for (number, line) in lines.enumerate() {
        offset += line.len();
        match line.trim_end() {
            "---" | "..." if number > 0 => return offset,
            // A rule at the beginning of a text.
            "" if number == 0 => return 0,
            _ => {}
        }
    }
    0
}

/// Whether a line begins a comment without ending it (CommonMark 0.31, section 4.6, the second kind).
fn opens_comment(line: &str) -> bool {
    unindent(line).and_then(|line| line.strip_prefix("<!--")).is_some_and(|rest| !rest.contains("-->"))
}

/// The kind of the current lines.
enum Inside {
    /// Text.
    Text,
    /// Lines of a fenced code block.
    Fence(Fence),
    /// Lines of a comment.
    Comment,
}

/// The line without its indentation, if that is less than a code block's.
fn unindent(line: &str) -> Option<&str> {
    let unindented = line.trim_start_matches(' ');
    (line.len() - unindented.len() <= 3).then_some(unindented)
}

/// The opening of a fenced code block (CommonMark 0.31, section 4.5).
struct Fence {
    mark: char,
    length: usize,
}

impl Fence {
    fn opened_by(line: &str) -> Option<Self> {
        let unindented = unindent(line)?;
        let mark = unindented.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
        let info = unindented.trim_start_matches(mark);
        let length = unindented.len() - info.len();
        (length >= 3 && !(mark == '`' && info.contains('`'))).then_some(Self { mark, length })
    }

    fn is_closed_by(&self, line: &str) -> bool {
        unindent(line).is_some_and(|unindented| {
            let rest = unindented.trim_start_matches(self.mark);
            unindented.len() - rest.len() >= self.length && rest.trim().is_empty()
        })
    }
}
