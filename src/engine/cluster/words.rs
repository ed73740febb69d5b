//! Words: what is left of a text when only its telling words are kept.

/// English words that tell nothing about a failure.
const STOP_WORDS: &str = "a about above after again all also am an and any are as at be because been before being below \
    between both but by can cannot could did do does doing done down during each either else even ever few for from \
    further get gets give given got had has have having he hello help her here hers him his how i if in instead into is it \
    its itself just kindly know let like made make may me might more most much must my need no nor not now of off on once \
    only or other our out over own please same she should so some such sure thank thanks than that the their them then \
    there these they this those through to too under until up us use used user using very want wants was we were what when \
    where whether which while who whom whose why will with within without would yes yet you your agent assistant answer \
    expected call called calls tool tools argument arguments true false null none";

/// The telling words of a text: lower case, singular, at least three letters, no stop words, nothing with a digit in it
/// (an id, a date or an amount tells one scenario from another, not one mistake from another).
pub(super) fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|char: char| !char.is_alphanumeric())
        .filter(|word| word.chars().count() >= 3 && word.chars().all(char::is_alphabetic))
        .map(str::to_lowercase)
        .filter(|word| !is_stop_word(word))
        .map(singular)
}

fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.split_whitespace().any(|stop| stop == word)
}

fn singular(word: String) -> String {
    let plural = word.len() > 4 && word.ends_with('s') && !["ss", "us", "is"].iter().any(|end| word.ends_with(end));
    if plural { word[..word.len() - 1].to_owned() } else { word }
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
