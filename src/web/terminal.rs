//! Text for a terminal: colors, wrapped lines, and no control characters from untrusted text.

use std::borrow::Cow;
use std::fmt::Write as _;

use whetstone_domain::presentable::is_obeyed;

/// The properties of a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// Whether colors are supported and wanted.
    pub colours: bool,
    /// Its width in columns. If absent, lines are not wrapped.
    pub width: Option<u16>,
}

/// The meaning of a text, which determines its color.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing special.
    Plain,
    /// As it should be.
    Good,
    /// In progress.
    Busy,
    /// Worth a look.
    Notable,
    /// Wrong.
    Bad,
    /// Of little interest.
    Faint,
    /// A heading, or a name to be found.
    Strong,
}

impl Tone {
    /// The ANSI code (ECMA-48, "select graphic rendition").
    fn code(self) -> Option<u8> {
        match self {
            Self::Plain => None,
            Self::Good => Some(32),
            Self::Busy => Some(36),
            Self::Notable => Some(33),
            Self::Bad => Some(31),
            Self::Faint => Some(2),
            Self::Strong => Some(1),
        }
    }
}

impl Terminal {
    /// Colors a text.
    #[must_use]
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        match tone.code() {
            Some(code) if self.colours => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }

    /// Rows in columns that are as wide as their widest text, two spaces apart, without trailing spaces.
    #[must_use]
    pub(crate) fn columns(self, rows: &[Vec<(Tone, String)>]) -> Vec<String> {
        let wide = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|(_, text)| text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..wide).map(width).collect();
        let line = |row: &Vec<(Tone, String)>| {
            let mut line = String::new();
            // Empty columns are omitted.
            let mut owed = 0;
            for ((tone, text), width) in row.iter().zip(&widths).filter(|(_, width)| **width > 0) {
                if !text.is_empty() {
                    line.extend(std::iter::repeat_n(' ', owed));
                    line.push_str(&self.paint(*tone, text));
                    owed = 0;
                }
                owed += width - text.chars().count() + 2;
            }
            line
        };
        rows.iter().map(line).collect()
    }

    /// A text after a label, wrapped between words at the width of the terminal, with all lines indented like the first. Ends with a
    /// line break.
    #[must_use]
    pub(crate) fn labelled(self, label: &str, column: usize, tone: Tone, text: &str) -> String {
        let mut block = format!("{label:<column$}");
        for (index, line) in self.broken(text, column).iter().enumerate() {
            if index > 0 {
                block.extend(std::iter::repeat_n(' ', column));
            }
            block.push_str(&self.paint(tone, line));
            block.push('\n');
        }
        block
    }

    /// The lines of a text that begins in a column.
    fn broken(self, text: &str, column: usize) -> Vec<String> {
        const NARROWEST: usize = 30;
        let Some(width) = self.width else { return text.split('\n').map(str::to_owned).collect() };
        let room = usize::from(width).saturating_sub(column).max(NARROWEST);
        let mut broken: Vec<String> = Vec::new();
        for line in text.split('\n') {
            let mut words = line.split(' ');
            broken.extend(words.next().map(str::to_owned));
            for word in words {
                match broken.last_mut() {
                    Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                        line.push(' ');
                        line.push_str(word);
                    }
                    _ => broken.push(word.to_owned()),
                }
            }
        }
        broken
    }
}

/// Untrusted text (from a model, a scenario, another program) without control characters: its lines, without empty ones.
fn each_line(text: &str) -> impl Iterator<Item = String> {
    let lines = text.lines().map(|line| harmless(&line.split_whitespace().collect::<Vec<_>>().join(" ")));
    lines.filter(|line| !line.is_empty())
}

/// Untrusted text with its line breaks, for [`Terminal::labelled`]: each of several problems has a line.
#[must_use]
pub(crate) fn lines(text: &str) -> String {
    each_line(text).collect::<Vec<_>>().join("\n")
}

/// Untrusted text on one line: its lines are joined by semicolons.
#[must_use]
pub(crate) fn line(text: &str) -> String {
    let mut joined = String::new();
    for line in each_line(text) {
        if !joined.is_empty() {
            joined.push_str(if joined.ends_with([':', ';', ',']) { " " } else { "; " });
        }
        joined.push_str(&line);
    }
    joined
}

/// The same, truncated to a number of characters.
#[must_use]
pub(crate) fn short(text: &str, characters: usize) -> String {
    let text = line(text);
    if text.chars().count() <= characters {
        return text;
    }
    let cut: String = text.chars().take(characters.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

/// Replaces control characters except tabs.
#[must_use]
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c != '\t' && is_obeyed(c) { '\u{fffd}' } else { c }).collect()
}

/// A complete output text: keeps line breaks and the colors of [`Terminal::paint`], and replaces all other control characters.
#[must_use]
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| !matches!(c, '\n' | '\t') && is_obeyed(c)) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(code) = CODES.iter().find(|code| rest.starts_with(**code)) {
            safe.push_str(code);
            rest = &rest[code.len()..];
            continue;
        }
        safe.push(if !matches!(c, '\n' | '\t') && is_obeyed(c) { '\u{fffd}' } else { c });
        rest = &rest[c.len_utf8()..];
    }
    Cow::Owned(safe)
}

/// Equivalent JSON in which control characters are escaped.
#[must_use]
pub(crate) fn json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // Outside of strings JSON has no other control characters, and inside of them no raw ones of these.
            '\n' | '\t' => escaped.push(c),
            c if is_obeyed(c) => {
                let _ = write!(escaped, "\\u{:04x}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// A code written by [`Terminal::paint`].
const CODES: [&str; 7] = ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_text_cannot_control_the_terminal() {
        assert_eq!(line("a\x1b]0;title\x07  b\u{202e}c"), "a\u{fffd}]0;title\u{fffd} b\u{fffd}c");
        assert_eq!(short("one two three", 8), "one two…");
        assert_eq!(short("one two", 7), "one two");
    }

    #[test]
    fn a_whole_text_keeps_its_lines_and_our_colours_and_nothing_else() {
        let painted = Terminal { colours: true, width: None };
        for tone in [Tone::Good, Tone::Busy, Tone::Notable, Tone::Bad, Tone::Faint, Tone::Strong] {
            let ours = format!("{}\n\tline\n", painted.paint(tone, "text"));
            assert_eq!(safe(&ours), ours);
        }
        assert_eq!(
            safe("a\x1b[8mb\x1b[2Jc\rd\u{202e}e\u{9b}f"),
            "a\u{fffd}[8mb\u{fffd}[2Jc\u{fffd}d\u{fffd}e\u{fffd}f"
        );
    }

    #[test]
    fn json_is_equivalent_without_control_characters() {
        let value = serde_json::json!({"a\u{9b}": "b\u{202e}\n\u{1b}[2J\u{7f}"});
        let written = json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!written.chars().any(|c| c != '\n' && is_obeyed(c)), "{written:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), value);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_text_and_empty_ones_vanish() {
        let row = |texts: [&str; 3]| texts.iter().map(|text| (Tone::Plain, (*text).to_owned())).collect::<Vec<_>>();
        let lines = Terminal::default().columns(&[row(["a", "", "ccc"]), row(["aaa", "", ""])]);
        assert_eq!(lines, ["a    ccc", "aaa"]);
    }

    #[test]
    fn long_text_goes_on_below_where_it_began() {
        let terminal = Terminal { colours: false, width: Some(40) };
        let text = terminal.labelled("why", 6, Tone::Plain, "one two three four five six seven eight nine");
        assert_eq!(text, "why   one two three four five six seven\n      eight nine\n");
    }

    #[test]
    fn several_lines_stand_below_each_other_or_are_told_apart_on_one() {
        let text = "no model\t\"a\"\n\n  2 problems:\n no tool \"b\"\n";
        assert_eq!(line(text), "no model \"a\"; 2 problems: no tool \"b\"");
        for width in [None, Some(80)] {
            let terminal = Terminal { colours: false, width };
            let text = terminal.labelled("why", 6, Tone::Plain, &lines(text));
            assert_eq!(text, "why   no model \"a\"\n      2 problems:\n      no tool \"b\"\n");
        }
    }

    #[test]
    fn without_colours_there_is_no_escape_sequence() {
        assert_eq!(Terminal::default().paint(Tone::Bad, "no"), "no");
        assert_eq!(Terminal { colours: true, width: None }.paint(Tone::Bad, "no"), "\x1b[31mno\x1b[0m");
    }
}
