//! Text for a terminal: colours where it has them, lines that end where it ends, and nothing in a text that could command it.

/// What the text is written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminal {
    /// It shows colours, and they are wanted.
    pub colours: bool,
    /// Its width in columns. Nothing is wrapped when absent.
    pub width: Option<u16>,
}

/// What a text is, which says how it is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// As it should be.
    Good,
    /// Under way.
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
    /// Paints a text.
    #[must_use]
    pub fn paint(self, tone: Tone, text: &str) -> String {
        match tone.code() {
            Some(code) if self.colours => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }

    /// Rows in columns that are as wide as their widest text, two spaces apart. A line has no space at its end.
    #[must_use]
    pub fn columns(self, rows: &[Vec<(Tone, String)>]) -> Vec<String> {
        let wide = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|(_, text)| text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..wide).map(width).collect();
        let line = |row: &Vec<(Tone, String)>| {
            let mut line = String::new();
            // A column in which nothing stands takes no room.
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

    /// A text behind a label, broken at its line breaks and between words where the terminal ends, and every further line as far
    /// to the right as the first. Ends with a line break.
    #[must_use]
    pub fn labelled(self, label: &str, column: usize, tone: Tone, text: &str) -> String {
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

/// Text from elsewhere (a model, a scenario, another program), with nothing in it that a terminal obeys: its lines, without
/// empty ones.
fn each_line(text: &str) -> impl Iterator<Item = String> {
    let lines = text.lines().map(|line| harmless(&line.split_whitespace().collect::<Vec<_>>().join(" ")));
    lines.filter(|line| !line.is_empty())
}

/// Text from elsewhere on lines of its own, for [`Terminal::labelled`]: several problems stand below each other.
#[must_use]
pub fn lines(text: &str) -> String {
    each_line(text).collect::<Vec<_>>().join("\n")
}

/// Text from elsewhere on one line: what stood on several is told apart by semicolons.
#[must_use]
pub fn line(text: &str) -> String {
    let mut joined = String::new();
    for line in each_line(text) {
        if !joined.is_empty() {
            joined.push_str(if joined.ends_with([':', ';', ',']) { " " } else { "; " });
        }
        joined.push_str(&line);
    }
    joined
}

/// The same, cut to a number of characters.
#[must_use]
pub fn short(text: &str, characters: usize) -> String {
    let text = line(text);
    if text.chars().count() <= characters {
        return text;
    }
    let cut: String = text.chars().take(characters.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

/// Replaces what a terminal would obey: control characters, and those that turn the direction of writing, by which a text
/// can look like another one (<https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing>).
#[must_use]
pub fn harmless(text: &str) -> String {
    let obeyed =
        |c: char| c.is_control() && c != '\t' || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if obeyed(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_command_the_terminal() {
        assert_eq!(line("a\x1b]0;title\x07  b\u{202e}c"), "a\u{fffd}]0;title\u{fffd} b\u{fffd}c");
        assert_eq!(short("one two three", 8), "one two…");
        assert_eq!(short("one two", 7), "one two");
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
