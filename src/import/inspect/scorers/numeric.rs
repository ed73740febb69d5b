//! `match(numeric=True)` as a pattern: the first, last or any number of the answer is the target.
//!
//! Inspect takes `$`, `£`, `€`, commas, asterisks and underscores out of the answer, divides it at white space, takes
//! punctuation off the ends of each word, and compares the words that are numbers by value. `60%` is no number. It rounds
//! both to five digits, which no pattern can; numbers are compared exactly here.

/// The characters that are removed from a word before it is parsed as a number.
const EDGE: &str = r#"[$£€,*_!?:;()\[\]{}'"`~<=>@#^&|]*"#;
/// A word that is not a number: it has no digits, or other characters.
const NO_NUMBER: &str = r#"(?:[^\s\d]+|[^\s]*[^\s\d.+\-$£€,*_!?:;()\[\]{}'"`~<=>@#^&|eE][^\s]*)"#;

/// The target without what Inspect takes out of numbers.
pub(super) fn without_format(target: &str) -> String {
    let kept: Vec<char> = target.chars().filter(|c| !"$,£€*_".contains(*c)).collect();
    let next_is_digit = |index: usize| kept.get(index + 1).is_some_and(char::is_ascii_digit);
    kept.iter().enumerate().filter(|(index, c)| **c != '.' || next_is_digit(*index)).map(|(_, c)| *c).collect()
}

/// The pattern of answers that have this number in this place; none if the target is not a number.
pub(super) fn pattern(target: &str, location: &str) -> Option<String> {
    let number: f64 = target.parse().ok().filter(|number: &f64| number.is_finite())?;
    // A full stop at the end of a sentence goes too.
    let word = format!(r"{EDGE}{}(?:{EDGE}\.?)*", value(number)?);
    Some(match location {
        "begin" => format!(r"^\s*(?:{NO_NUMBER}\s+)*{word}(?:\s|$)"),
        "any" => format!(r"(?:^|\s){word}(?:\s|$)"),
        "exact" => format!(r"^\s*{word}\s*$"),
        _ => format!(r"(?:^|\s){word}(?:\s+{NO_NUMBER})*\s*$"),
    })
}

/// All notations of a number: with commas between its digits, with redundant zeros.
fn value(number: f64) -> Option<String> {
    let text = number.abs().to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    if text.contains(['e', 'E']) || whole.len() > 30 {
        return None;
    }
    let divided = |digits: &str| digits.chars().map(String::from).collect::<Vec<_>>().join("[,*_]*");
    let sign = if number < 0.0 { "[-−]" } else { r"\+?" };
    let whole = if whole == "0" && !fraction.is_empty() { "0*".to_owned() } else { format!("0*{}", divided(whole)) };
    let fraction = if fraction.is_empty() { r"(?:\.0+)?".to_owned() } else { format!(r"\.{}0*", divided(fraction)) };
    Some(format!("{sign}{EDGE}{whole}{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_number_or_it_is_not() {
        assert_eq!(without_format("$1,234.50."), "1234.50");
        for text in ["18", "-5", ".5", "1e3"] {
            assert!(pattern(text, "end").is_some(), "{text}");
        }
        for text in ["", "Paris", "60%", "inf", "nan", "1 2"] {
            assert!(pattern(text, "end").is_none(), "{text}");
        }
    }
}
