//! Words: reduces a text to its informative words.

/// English words that say nothing about a failure, in alphabetical order.
#[rustfmt::skip]
const STOP_WORDS: &[&str] = &[
    "a", "about", "above", "after", "again", "agent", "all", "also", "am", "an", "and", "answer", "any", "are",
    "argument", "arguments", "as", "assistant", "at", "be", "because", "been", "before", "being", "below", "between",
    "both", "but", "by", "call", "called", "calls", "can", "cannot", "could", "customer", "did", "do", "does",
    "doing", "done", "down", "during", "each", "either", "else", "even", "ever", "expected", "false", "few", "for",
    "from", "further", "get", "gets", "give", "given", "got", "had", "has", "have", "having", "he", "hello", "help",
    "her", "here", "hers", "him", "his", "how", "i", "if", "in", "instead", "into", "is", "it", "its", "itself",
    "just", "kindly", "know", "let", "like", "made", "make", "may", "me", "might", "more", "most", "much", "must",
    "my", "need", "no", "none", "nor", "not", "now", "null", "of", "off", "on", "once", "only", "or", "other",
    "otherwise", "our", "out", "over", "own", "please", "replies", "reply", "respond", "responded", "response",
    "responses", "said", "same", "say", "says", "she", "should", "so", "some", "such", "sure", "than", "thank",
    "thanks", "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "through", "to",
    "too", "tool", "tools", "true", "under", "until", "up", "us", "use", "used", "user", "using", "very", "want",
    "wants", "was", "we", "were", "what", "when", "where", "whether", "which", "while", "who", "whom", "whose", "why",
    "will", "with", "within", "without", "would", "yes", "yet", "you", "your",
];

/// The informative words of a text: lower case, singular, at least three letters, no stop words, and without digits (an id,
/// a date or an amount distinguishes scenarios, not mistakes).
pub(super) fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|char: char| !char.is_alphanumeric())
        .filter(|word| word.chars().count() >= 3 && word.chars().all(char::is_alphabetic))
        .map(str::to_lowercase)
        .filter(|word| STOP_WORDS.binary_search(&word.as_str()).is_err())
        .map(singular)
}

/// The words of a text in lower case, in order; `self-harm` is one.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|char: char| !(char.is_alphabetic() || char == '-'))
        .map(|word| word.trim_matches('-').to_lowercase())
        .filter(|word| !word.is_empty())
}

/// The endings that are removed from a word, and the minimum number of letters that must be left.
const ENDINGS: &[(&str, usize)] = &[
    ("ization", 3),
    ("ational", 3),
    ("fulness", 3),
    ("ousness", 3),
    ("iveness", 3),
    ("ically", 3),
    ("ation", 4),
    ("ement", 4),
    ("ment", 4),
    ("ness", 3),
    ("able", 4),
    ("ible", 4),
    ("ity", 4),
    ("ive", 4),
    ("ing", 3),
    ("ion", 4),
    ("edly", 3),
    ("ed", 3),
    ("ful", 4),
    ("ly", 3),
    ("er", 4),
    ("al", 4),
    ("ic", 4),
    ("e", 3),
    ("y", 5),
];

/// The stem of an English word in lower case: without plural and one ending, British spellings made American. It is not
/// readable, and only used to compare words.
pub(super) fn stem(word: &str) -> String {
    let mut word = singular(word.to_owned());
    if !word.is_ascii() {
        return word;
    }
    word = word.replace("isation", "ization");
    for (british, american) in [("ise", "ize"), ("ised", "ized"), ("ising", "izing"), ("iser", "izer"), ("our", "or")] {
        if word.len() > british.len() + 2 && word.ends_with(british) {
            word.truncate(word.len() - british.len());
            word.push_str(american);
            break;
        }
    }
    let ending = ENDINGS.iter().find(|(ending, left)| word.len() >= ending.len() + left && word.ends_with(ending));
    if let Some((ending, _)) = ending {
        word.truncate(word.len() - ending.len());
    }
    let mut last = word.bytes().rev();
    if let (Some(a), Some(b)) = (last.next(), last.next())
        && (word.len() > 3 && a == b && !b"sl".contains(&a))
    {
        word.pop();
    }
    if word.len() > 3 && word.ends_with('e') {
        word.pop();
    }
    if word.len() > 6 && word.ends_with("at") {
        word.truncate(word.len() - 2);
    }
    word
}

/// The singular of an English plural, as far as its ending shows.
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

/// A text on one line, truncated between words to a maximum number of characters.
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
    fn only_informative_words_are_left() {
        let text = "The agent CANCELLED reservation_4WQ150 twice; its policies, fees and bus passes aren't refundable.";
        let left: Vec<String> = words(text).collect();
        assert_eq!(left, ["cancelled", "reservation", "twice", "policy", "fee", "bus", "pass", "aren", "refundable"]);
    }

    #[test]
    fn forms_and_spellings_of_a_word_have_one_stem() {
        for forms in [
            &["calculate", "calculated", "calculates", "calculating", "calculation"][..],
            &["invent", "invents", "invented", "inventing", "invention"],
            &["apologise", "apologize", "apologised", "apologizing", "apologises"],
            &["behaviour", "behavior", "behaviours"],
            &["omit", "omits", "omitted", "omitting"],
            &["policy", "policies"],
            &["größe"],
        ] {
            let stems: std::collections::BTreeSet<String> = forms.iter().map(|word| stem(word)).collect();
            assert_eq!(stems.len(), 1, "{forms:?}: {stems:?}");
        }
        assert_ne!(stem("rude"), stem("rule"));
    }

    #[test]
    fn a_long_text_is_cut_between_words() {
        assert_eq!(cut("one  two\nthree", 13), "one two three");
        assert_eq!(cut("one two three", 9), "one two…");
    }
}
