//! Suggests the name that was probably intended.

/// The maximum length of a name that is compared, in bytes. The comparison takes the product of both lengths.
const LONGEST: usize = 200;
/// The maximum number of candidates that are compared.
const MOST: usize = 1_000;
/// The maximum number of candidates that a hint lists.
const LISTED: usize = 20;

/// The candidate nearest to an unknown name, if any is near enough to be a typo: other case or separators, a few different
/// letters, or a prefix of only one candidate.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain =
        |text: &str| -> String { text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect() };
    if name.len() > LONGEST {
        return None;
    }
    let wanted = plain(name);
    let allowed = (wanted.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .take(MOST)
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| {
            // A one-letter name is not a typo of another one-letter name.
            *distance <= allowed && *distance < plain(candidate).chars().count().max(1)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean "x"?` or, if no candidate is near, the whole list: `; known: a, b, c`.
pub(crate) fn hint<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let mut candidates: Vec<&str> = candidates.into_iter().collect();
    candidates.dedup();
    match nearest(name, candidates.iter().copied()) {
        Some(near) => format!("; did you mean {near:?}?"),
        None if candidates.is_empty() => String::new(),
        None if candidates.len() > LISTED => {
            format!("; known: {} and {} more", candidates[..LISTED].join(", "), candidates.len() - LISTED)
        }
        None => format!("; known: {}", candidates.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_name_and_another_word_does_not() {
        let known = ["scenarios", "scoring", "maxClusters", "baseURL", "profile"];
        for (written, meant) in [
            ("scenario", Some("scenarios")),
            ("max_clusters", Some("maxClusters")),
            ("baseUrl", Some("baseURL")),
            ("pofrile", Some("profile")),
            ("temperature", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
        assert_eq!(nearest("a", ["b"]), None);
    }
}
