//! The patterns of the resource's strings, each with a description.
//!
//! Users see the description instead of the pattern, in messages of the command line ([`document`](super::document)) and of the API
//! server ([`definitions`](super::definitions)).

/// A decimal number that is not negative.
pub(super) const DECIMAL: &str = r"^[0-9]+(\.[0-9]+)?$";
/// A currency by its ISO 4217 code.
pub(super) const CURRENCY: &str = "^[A-Z]{3}$";
/// A BLAKE3 hash.
pub(super) const HASH: &str = "^[0-9a-f]{64}$";
/// A decimal number, or a share in percent.
pub(super) const DECIMAL_OR_SHARE: &str = r"^[0-9]+(\.[0-9]+)?%?$";
/// The name of an object (RFC 1123 subdomain).
pub(super) const OBJECT_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// A key of a ConfigMap or Secret.
pub(super) const DATA_KEY: &str = "^[-._a-zA-Z0-9]+$";
/// The name of a version, which is also the value of a label.
pub(super) const VERSION: &str = "^[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$";
/// The name of a header (a token of RFC 9110).
pub(super) const HEADER_NAME: &str = "^[-!#$%&'*+.^_`|~0-9A-Za-z]+$";
/// An IANA time zone.
pub(super) const TIME_ZONE: &str = "^(UTC|GMT|[A-Z][A-Za-z]+(/[A-Z][A-Za-z0-9_+-]*){1,2})$";
/// Five fields of a crontab, each a list of numbers, ranges and steps within its bounds, or a named schedule.
pub(super) const CRON: &str = concat!(
    r"^(@(hourly|daily|weekly|monthly|yearly)|",
    r"(\*|[0-5]?[0-9](-[0-5]?[0-9])?)(/[1-9][0-9]?)?(,(\*|[0-5]?[0-9](-[0-5]?[0-9])?)(/[1-9][0-9]?)?)*",
    r" +(\*|([01]?[0-9]|2[0-3])(-([01]?[0-9]|2[0-3]))?)(/[1-9][0-9]?)?",
    r"(,(\*|([01]?[0-9]|2[0-3])(-([01]?[0-9]|2[0-3]))?)(/[1-9][0-9]?)?)*",
    r" +(\*|(0?[1-9]|[12][0-9]|3[01])(-(0?[1-9]|[12][0-9]|3[01]))?)(/[1-9][0-9]?)?",
    r"(,(\*|(0?[1-9]|[12][0-9]|3[01])(-(0?[1-9]|[12][0-9]|3[01]))?)(/[1-9][0-9]?)?)*",
    r" +(\*|(0?[1-9]|1[0-2]|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)",
    r"(-(0?[1-9]|1[0-2]|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC))?)(/[1-9][0-9]?)?",
    r"(,(\*|(0?[1-9]|1[0-2]|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)",
    r"(-(0?[1-9]|1[0-2]|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC))?)(/[1-9][0-9]?)?)*",
    r" +(\*|([0-7]|SUN|MON|TUE|WED|THU|FRI|SAT)(-([0-7]|SUN|MON|TUE|WED|THU|FRI|SAT))?)(/[1-7])?",
    r"(,(\*|([0-7]|SUN|MON|TUE|WED|THU|FRI|SAT)(-([0-7]|SUN|MON|TUE|WED|THU|FRI|SAT))?)(/[1-7])?)*)$",
);

/// All patterns with their descriptions.
const IN_WORDS: [(&str, &str); 10] = [
    (DECIMAL, r#"a non-negative decimal number in quotes, such as "0.15""#),
    (CURRENCY, r#"a currency in three capital letters, such as "USD""#),
    (HASH, "64 hexadecimal digits"),
    (DECIMAL_OR_SHARE, r#"a non-negative decimal number in quotes, such as "0.02", or a percentage, such as "20%""#),
    (OBJECT_NAME, r#"the name of an object (lower-case letters, digits, - and .), such as "support-prompt""#),
    (DATA_KEY, r#"a key (letters, digits, -, _ and .), such as "system-prompt""#),
    (VERSION, r#"a version (letters and digits, and -, _ or . between them), such as "v3""#),
    (HEADER_NAME, r#"the name of a header, such as "X-Scope-OrgID""#),
    (TIME_ZONE, r#"an IANA time zone, such as "Europe/Berlin", or "UTC""#),
    (
        CRON,
        r#"minute, hour, day of month, month and day of week, such as "30 2 * * MON", or @hourly, @daily, @weekly, @monthly or @yearly"#,
    ),
];

/// The description of a pattern; `None` if it is not listed here.
#[must_use]
pub(super) fn in_words(pattern: &str) -> Option<&'static str> {
    IN_WORDS.iter().find(|(known, _)| *known == pattern).map(|(_, words)| *words)
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn a_schedule_is_five_fields_within_their_bounds_or_a_name() {
        let pattern = Regex::new(CRON).unwrap();
        for cron in [
            "0 3 * * *",
            "*/15 * * * *",
            "30 2 * * MON",
            "0 9-17/2 1,15 JAN-MAR MON-FRI",
            "5,35 0 31 12 7",
            "00 04 01 01 *",
            "@daily",
            "@yearly",
        ] {
            assert!(pattern.is_match(cron), "{cron}");
            assert!(cron.parse::<croner::Cron>().is_ok(), "{cron}");
        }
        for cron in [
            "",
            "daily",
            "* * * *",
            "0 0 3 * * *",
            "60 * * * *",
            "0 24 * * *",
            "0 0 0 * *",
            "0 0 * 13 *",
            "0 0 * * 8",
            "*/0 * * * *",
            "@never",
            "0 3 * * * # nightly",
        ] {
            assert!(!pattern.is_match(cron), "{cron}");
        }
    }

    #[test]
    fn a_time_zone_has_the_form_of_iana_names() {
        let pattern = Regex::new(TIME_ZONE).unwrap();
        for zone in
            ["UTC", "GMT", "Europe/Berlin", "America/Argentina/Buenos_Aires", "America/Port-au-Prince", "Etc/GMT+5"]
        {
            assert!(pattern.is_match(zone), "{zone}");
        }
        for zone in ["utc", "CEST", "+02:00", "Berlin", "europe/berlin", "Europe/"] {
            assert!(!pattern.is_match(zone), "{zone}");
        }
    }
}
