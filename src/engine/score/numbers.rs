//! The numbers in a text, as people write them.

/// Every number that the text may contain, in order. One spelling may have several readings: `1,234` is 1234 in English and
/// 1.234 in German, `12%` is 12 and 0.12. Digits within a word, such as `HAT136`, are no number; units may follow (`5kg`).
/// A minus sign counts unless it follows a letter or digit, as in `10-15` or `2024-05-20`.
#[must_use]
pub(super) fn numbers(text: &str) -> Vec<f64> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(offset) = text[at..].find(|c: char| c.is_ascii_digit()) {
        let start = at + offset;
        let mut end = start + run_of_digits(&text[start..]);
        while let Some(more) = text[end..].strip_prefix([',', '.']).map(run_of_digits).filter(|more| *more > 0) {
            end += 1 + more;
        }
        at = end;
        let before = &text[..start];
        if before.ends_with(|c: char| c.is_alphabetic() || c == '_') {
            continue;
        }
        let sign = if is_negative(before) { -1.0 } else { 1.0 };
        let (exponent, length) = exponent(&text[end..]);
        at += length;
        let percent = text[at..].trim_start_matches([' ', '\u{a0}', '\u{202f}']).starts_with('%');
        let leading_point = if before.ends_with('.') && !before[..before.len() - 1].ends_with(char::is_alphanumeric) {
            "0."
        } else {
            ""
        };
        for value in readings(&format!("{leading_point}{}", &text[start..end])) {
            let value = sign * value * 10f64.powi(exponent);
            if value.is_finite() {
                found.push(value);
                found.extend(percent.then_some(value / 100.0));
            }
        }
    }
    found
}

fn run_of_digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// Whether a minus sign precedes a number, with at most a currency sign or a point in between.
fn is_negative(before: &str) -> bool {
    let before = before.strip_suffix('.').unwrap_or(before).trim_end_matches(['$', '€', '£', '¥']);
    before.strip_suffix(['-', '−']).is_some_and(|before| !before.ends_with(char::is_alphanumeric))
}

/// The exponent that a text begins with, such as `e-5`, and its length in bytes; (0, 0) without one.
fn exponent(text: &str) -> (i32, usize) {
    let Some(rest) = text.strip_prefix(['e', 'E']) else { return (0, 0) };
    let digits = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    let length = text.len() - digits.len() + run_of_digits(digits);
    match rest[..length - 1].parse() {
        Ok(exponent) if !text[length..].starts_with(char::is_alphanumeric) => (exponent, length),
        _ => (0, 0),
    }
}

/// The values of digits with commas and points between them. A list such as `1,2` is also read as its items.
fn readings(token: &str) -> Vec<f64> {
    let english = grouped(token, ',', '.');
    let german = grouped(token, '.', ',').filter(|value| Some(*value) != english);
    let list = english.is_none() && (german.is_none() || !token.contains('.'));
    let parts = token.split([',', '.']).filter(|_| list).filter_map(|part| part.parse().ok());
    english.into_iter().chain(german).chain(parts).collect()
}

/// The value of a number with `separator` between thousands, if they are separated at all.
fn grouped(token: &str, separator: char, point: char) -> Option<f64> {
    let (whole, fraction) = token.split_once(point).map_or((token, None), |(whole, rest)| (whole, Some(rest)));
    if fraction.is_some_and(|fraction| fraction.contains([separator, point])) {
        return None;
    }
    let mut groups = whole.split(separator);
    let first = groups.next()?;
    let mut digits = first.to_owned();
    for group in groups {
        if group.len() != 3 || first.len() > 3 || first.starts_with('0') {
            return None;
        }
        digits.push_str(group);
    }
    format!("{digits}.{}", fraction.unwrap_or("0")).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_as_people_write_them() {
        let cases: [(&str, &[f64]); 22] = [
            ("", &[]),
            ("It costs $1,234.56.", &[1234.56]),
            ("1.234,56 €", &[1234.56]),
            ("1,234", &[1234.0, 1.234]),
            ("19,99 EUR", &[19.99, 19.0, 99.0]),
            ("-5 and −7.5", &[-5.0, -7.5]),
            ("-$20, $-30", &[-20.0, -30.0]),
            ("10-15", &[10.0, 15.0]),
            ("on 2024-05-20", &[2024.0, 5.0, 20.0]),
            ("12% or 3.5 %", &[12.0, 0.12, 3.5, 0.035]),
            ("flight HAT136 in 2h", &[2.0]),
            ("1,2,3", &[1.0, 2.0, 3.0]),
            ("about 1.5e-3", &[0.0015]),
            ("2 eggs, 3e", &[2.0, 3.0]),
            (".5 left", &[0.5]),
            ("0.125", &[0.125]),
            ("0e999 or 1e999", &[]),
            ("-.5", &[-0.5]),
            ("version 1.2.3", &[1.0, 2.0, 3.0]),
            ("order_17", &[]),
            ("total: 007", &[7.0]),
            ("12,345,678", &[12_345_678.0]),
        ];
        for (text, wanted) in cases {
            let found = numbers(text);
            let near = found.len() == wanted.len() && found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-9);
            assert!(near, "{text:?}: {found:?}, not {wanted:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_read(text in ".*") {
            for number in numbers(&text) {
                proptest::prop_assert!(!number.is_nan());
            }
        }

        #[test]
        fn a_number_written_into_a_sentence_is_found(value in -1_000_000i64..1_000_000) {
            let found = numbers(&format!("The total is {value} in all."));
            proptest::prop_assert_eq!(found, vec![value as f64]);
        }
    }
}
