//! Text of strangers, made fit to be shown.

/// Text of a stranger, fit for a terminal, a log and a status: on one line, without control characters, and of at most
/// `most` characters, after which an ellipsis stands.
#[must_use]
pub fn one_line(text: &str, most: usize) -> String {
    let mut shown = String::new();
    let is_mark = |letter: char| matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}');
    let parts = |letter: char| letter.is_whitespace() || is_obeyed(letter) || is_mark(letter);
    for word in text.split(parts).filter(|word| !word.is_empty()) {
        if !shown.is_empty() {
            shown.push(' ');
        }
        shown.push_str(word);
    }
    if let Some((cut, _)) = shown.char_indices().nth(most) {
        shown.truncate(cut);
        shown.push('…');
    }
    shown
}

/// Whether a character commands what shows it instead of being shown: control characters, breaks of lines and paragraphs, and
/// those that turn the direction of writing, by which a text can look like another one
/// (<https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing>).
#[must_use]
pub fn is_obeyed(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What is wrong with a name that people are to read, such as an id or a tag; `None` when nothing is.
#[must_use]
pub fn fault_of_name(name: &str) -> Option<String> {
    const LONGEST: usize = 1_000;
    if let Some(letter) = name.chars().find(|letter| is_obeyed(*letter)) {
        return Some(format!(
            "has the control character U+{:04X}, which would command a terminal or a log; take it out",
            u32::from(letter)
        ));
    }
    (name.len() > LONGEST).then(|| format!("has {} bytes; give it at most {LONGEST}", name.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_one_line_without_control_characters_and_has_an_end() {
        let shown = one_line(&format!("a\n\u{1b}[31mred\u{202e} text\t{}", "x".repeat(400)), 300);
        assert!(shown.starts_with("a [31mred text xxx"), "{shown}");
        assert_eq!(shown.chars().count(), 301);
        assert_eq!(one_line("  ", 300), "");
    }

    #[test]
    fn a_name_commands_nothing() {
        for name in ["refund-12", "Grüße 你好 👩‍🚀", "a b"] {
            assert_eq!(fault_of_name(name), None, "{name:?}");
        }
        for (name, letter) in
            [("a\nb", "U+000A"), ("\u{1b}[2J", "U+001B"), ("a\u{202e}b", "U+202E"), ("\u{9b}", "U+009B")]
        {
            assert!(fault_of_name(name).is_some_and(|fault| fault.contains(letter)), "{name:?}");
        }
        assert!(fault_of_name(&"x".repeat(2_000)).is_some());
    }
}
