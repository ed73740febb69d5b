//! Concepts: what judges complain about, found in their words.
//!
//! Judges say the same thing in many ways ("curt", "lacks courtesy", "no word of apology"), and two short texts about one
//! mistake seldom share a word. A small list of concepts and their words, `concepts.txt`, makes such texts similar without
//! a model.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use super::words::{stem, tokens};

/// The weight of a word that is often about the topic rather than the mistake.
const WEAK: f64 = 0.4;
/// The weight of a phrase relative to a single word.
const PHRASE: f64 = 1.5;

/// A word or phrase of the list.
struct Entry {
    /// The stems after the first one, which is the key.
    rest: Vec<String>,
    /// Its concepts, as positions in the list, and its weight for each.
    concepts: Vec<(usize, f64)>,
}

struct Lexicon {
    names: Vec<&'static str>,
    /// By first stem; the longest phrases first.
    entries: HashMap<String, Vec<Entry>>,
}

static LEXICON: LazyLock<Lexicon> = LazyLock::new(|| Lexicon::read(include_str!("concepts.txt")));

impl Lexicon {
    fn read(list: &'static str) -> Self {
        let mut names = Vec::new();
        let mut phrases: BTreeMap<Vec<String>, Vec<(usize, f64)>> = BTreeMap::new();
        for line in list.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            let words = match line.split_once(':') {
                Some((name, words)) => {
                    names.push(name);
                    words
                }
                None => line,
            };
            let concept = names.len().saturating_sub(1);
            for word in words.split_whitespace() {
                let (word, weight) = word.strip_suffix('?').map_or((word, 1.0), |word| (word, WEAK));
                let concepts = phrases.entry(word.split('_').map(stem).collect()).or_default();
                match concepts.iter_mut().find(|(known, _)| *known == concept) {
                    Some((_, known)) => *known = known.max(weight),
                    None => concepts.push((concept, weight)),
                }
            }
        }
        let mut entries: HashMap<String, Vec<Entry>> = HashMap::new();
        // Longest first: in ascending order, a phrase comes after its own prefixes.
        for (mut stems, mut concepts) in phrases.into_iter().rev() {
            let (length, share) = (stems.len(), concepts.len() as f64);
            for (_, weight) in &mut concepts {
                *weight *= if length > 1 { PHRASE } else { 1.0 } / share;
            }
            let first = stems.remove(0);
            entries.entry(first).or_default().push(Entry { rest: stems, concepts });
        }
        for entries in entries.values_mut() {
            entries.sort_by_key(|entry| std::cmp::Reverse(entry.rest.len()));
        }
        Self { names, entries }
    }
}

/// Words of praise. What a judge praises ("polite otherwise") is not the complaint.
const PRAISE: &[&str] = &["acceptable", "adequate", "excellent", "fine", "good", "okay", "otherwise"];
/// Words that negate praise.
const DENIAL: &[&str] = &["hardly", "isn", "lacks", "never", "no", "not", "should", "wasn", "without"];

/// The concepts that a text complains about, with their weights.
pub(super) fn concepts(text: &str) -> BTreeMap<&'static str, f64> {
    let mut found = BTreeMap::new();
    for clause in text.split(['.', ',', ';', ':', '\n', '!', '?', '(', ')']) {
        let words: Vec<String> = tokens(clause).collect();
        let any = |listed: &[&str]| words.iter().any(|word| listed.contains(&word.as_str()));
        if !any(PRAISE) || any(DENIAL) {
            count(&words, &mut found);
        }
    }
    found
}

/// Adds the concepts of a clause. At each word the longest phrase counts, and its words do not count again.
fn count(words: &[String], found: &mut BTreeMap<&'static str, f64>) {
    let lexicon = &*LEXICON;
    let stems: Vec<String> = words.iter().map(|word| stem(word)).collect();
    let mut at = 0;
    while at < stems.len() {
        let follows = |entry: &&Entry| stems[at + 1..].starts_with(&entry.rest);
        let entry = lexicon.entries.get(&stems[at]).and_then(|entries| entries.iter().find(follows));
        if let Some(entry) = entry {
            for (concept, weight) in &entry.concepts {
                *found.entry(lexicon.names[*concept]).or_default() += weight;
            }
        }
        at += 1 + entry.map_or(0, |entry| entry.rest.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strongest(text: &str) -> &'static str {
        let found = concepts(text);
        found.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or("", |(name, _)| name)
    }

    #[test]
    fn one_complaint_is_one_concept_in_whatever_words_and_spelling() {
        for (text, concept) in [
            ("Snippy, and not a word of apology.", "tone"),
            ("It sounds condescending.", "tone"),
            ("It patronizes the caller.", "tone"),
            ("It patronises the caller.", "tone"),
            ("This clause was made up.", "invention"),
            ("Hallucinates a clause.", "invention"),
            ("The user wrote Finnish.", "language"),
            ("Far too long, and padded.", "verbosity"),
            ("The total was added up incorrectly.", "calculation"),
            ("Two statements contradict each other.", "contradiction"),
        ] {
            assert_eq!(strongest(text), concept, "{text}: {:?}", concepts(text));
        }
        assert!(concepts("The quick brown fox.").is_empty());
    }

    #[test]
    fn what_is_praised_is_no_complaint() {
        assert!(concepts("It is polite otherwise.").is_empty());
        assert_eq!(strongest("While the tone is fine, the interest is miscalculated."), "calculation");
        assert_eq!(strongest("The tone is not acceptable."), "tone");
    }

    #[test]
    fn a_phrase_counts_as_a_whole_and_its_words_not_again() {
        let found = concepts("It was not able to.");
        assert_eq!(found.keys().collect::<Vec<_>>(), [&"refusal"]);
    }

    #[test]
    fn every_concept_is_listed_once_with_words_of_its_own() {
        let mut names = LEXICON.names.clone();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), LEXICON.names.len(), "a concept is listed twice");
        for name in names {
            let used = |entry: &Entry| entry.concepts.iter().any(|(concept, _)| LEXICON.names[*concept] == name);
            assert!(LEXICON.entries.values().flatten().filter(|entry| used(entry)).count() > 5, "{name}");
        }
    }
}
