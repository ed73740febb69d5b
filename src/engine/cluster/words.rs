//! Words: what is left of a text when only its telling words are kept.

/// English words that tell nothing about a failure, in alphabetical order.
#[rustfmt::skip]
const STOP_WORDS: &[&str] = &[
    "a", "about", "above", "after", "again", "agent", "all", "also", "am", "an", "and", "answer", "any", "are",
    "argument", "arguments", "as", "assistant", "at", "be", "because", "been", "before", "being", "below",
    "between", "both", "but", "by", "call", "called", "calls", "can", "cannot", "could", "did", "do", "does",
    "doing", "done", "down", "during", "each", "either", "else", "even", "ever", "expected", "false", "few", "for",
    "from", "further", "get", "gets", "give", "given", "got", "had", "has", "have", "having", "he", "hello", "help",
    "her", "here", "hers", "him", "his", "how", "i", "if", "in", "instead", "into", "is", "it", "its", "itself",
    "just", "kindly", "know", "let", "like", "made", "make", "may", "me", "might", "more", "most", "much", "must",
    "my", "need", "no", "none", "nor", "not", "now", "null", "of", "off", "on", "once", "only", "or", "other",
    "otherwise", "our", "out", "over", "own", "please", "same", "she", "should", "so", "some", "such", "sure", "than", "thank",
    "thanks", "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "through", "to",
    "too", "tool", "tools", "true", "under", "until", "up", "us", "use", "used", "user", "using", "very", "want",
    "wants", "was", "we", "were", "what", "when", "where", "whether", "which", "while", "who", "whom", "whose",
    "why", "will", "with", "within", "without", "would", "yes", "yet", "you", "your",
];

/// The telling words of a text: lower case, singular, at least three letters, no stop words, nothing with a digit in it
/// (an id, a date or an amount tells one scenario from another, not one mistake from another).
pub(super) fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|char: char| !char.is_alphanumeric())
        .filter(|word| word.chars().count() >= 3 && word.chars().all(char::is_alphabetic))
        .map(str::to_lowercase)
        .filter(|word| STOP_WORDS.binary_search(&word.as_str()).is_err())
        .map(singular)
}

/// The singular of an English plural, so far as its ending tells.
fn singular(mut word: String) -> String {
    if word.len() > 4 && word.ends_with("ies") {
        word.truncate(word.len() - 3);
        word.push('y');
    } else if ["sses", "shes", "ches", "xes"].iter().any(|end| word.ends_with(end)) {
        word.truncate(word.len() - 2);
    } else if word.len() > 3 && word.ends_with('s') && !["ss", "us", "is"].iter().any(|end| word.ends_with(end)) {
        word.pop();
    }
    word
}

/// A text on one line, of at most so many characters, cut between words.
pub(super) fn cut(text: &str, characters: usize) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > characters {
            line.push('…');
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_words_are_found_by_binary_search() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn only_telling_words_are_left() {
        let text = "The agent CANCELLED reservation_4WQ150 twice; its policies, fees and bus passes aren't refundable.";
        let left: Vec<String> = words(text).collect();
        assert_eq!(left, ["cancelled", "reservation", "twice", "policy", "fee", "bus", "pass", "aren", "refundable"]);
    }

    #[test]
    fn a_long_text_is_cut_between_words() {
        assert_eq!(cut("one  two\nthree", 13), "one two three");
        assert_eq!(cut("one two three", 9), "one two…");
    }
}
