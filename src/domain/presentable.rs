//! Sanitizes untrusted text.

/// Untrusted text for a terminal, a log or a status: on one line, without control characters, truncated to `most` characters with
/// an ellipsis.
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

/// Whether a character is a control character, a line or paragraph break, or changes the direction of the text, which can make it
/// look like another text
/// (<https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing>).
#[must_use]
pub fn is_obeyed(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The problem with a name that people read, such as an id or a tag; `None` if it is valid.
#[must_use]
pub fn fault_of_name(name: &str) -> Option<String> {
    const LONGEST: usize = 1_000;
    if let Some(letter) = name.chars().find(|letter| is_obeyed(*letter)) {
        return Some(format!("contains the control character U+{:04X}; remove it", u32::from(letter)));
    }
    (name.len() > LONGEST).then(|| format!("has {} bytes; use at most {LONGEST}", name.len()))
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
