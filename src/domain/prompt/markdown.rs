//! Markdown prompts: where the headings are.

use super::{PREAMBLE, Section};

/// The sections of a text, names not yet made unique. An empty text is an empty preamble.
pub(super) fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut fence: Option<Fence> = None;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let start = offset;
        offset += line.len();
        if let Some(open) = &fence {
            if open.is_closed_by(line) {
                fence = None;
            }
        } else if let Some(open) = Fence::opened_by(line) {
            fence = Some(open);
        } else if let Some((level, title)) = heading(line) {
            let name = if title.is_empty() { "untitled" } else { title };
            sections.push(Section { name: name.to_owned(), level, start, body_start: offset, end: 0 });
        }
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
    // Closing marks count as such only after white space.
    let title = if open.is_empty() || open.ends_with([' ', '\t']) { open.trim_end() } else { title };
    Some((u8::try_from(level).ok()?, title))
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
