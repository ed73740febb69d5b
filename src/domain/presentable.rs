//! Text of strangers, made fit to be shown.

/// Text of a stranger, fit for a terminal, a log and a status: on one line, without control characters, and of at most
/// `most` characters, after which an ellipsis stands.
#[must_use]
pub fn one_line(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for word in text.split(|letter: char| letter.is_whitespace() || is_control(letter)).filter(|word| !word.is_empty())
    {
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

/// Control characters, and those that change the direction of the text around them.
fn is_control(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
}
