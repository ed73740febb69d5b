//! The live signals of a watch: their last readings and their limits.

use std::fmt::Write as _;

use super::View;
use crate::api::status::{SignalState, SignalStatus, WatchStatus};
use crate::api::watch::{Signal, Watch};
use crate::web::moment::relative;
use crate::web::terminal::{Tone, line, lines};
use whetstone_domain::figure::figure;

/// Significant digits of a value.
const DIGITS: i32 = 4;

/// Whether the last reading of a signal has no evidence. An outage does not count as a pass.
pub(super) fn is_silent(watch: &WatchStatus) -> bool {
    watch.signals.iter().any(|signal| signal.state == SignalState::NoEvidence)
}

/// One line for each signal, followed by the description of the reading.
pub(super) fn table(watch: &WatchStatus, spec: Option<&Watch>, view: &View<'_>) -> String {
    if watch.signals.is_empty() {
        return String::new();
    }
    let has_baseline = watch.signals.iter().any(|signal| signal.baseline.is_some());
    let header = ["signal", "reading", "value", "limit", if has_baseline { "before promotion" } else { "" }, "read"];
    let mut rows = vec![header.map(|name| (Tone::Faint, name.to_owned())).to_vec()];
    for signal in &watch.signals {
        let (tone, reading) = match signal.state {
            SignalState::Ok => (Tone::Good, "ok".to_owned()),
            SignalState::Breach if signal.breaches > 1 => (Tone::Bad, format!("breach, {} in a row", signal.breaches)),
            SignalState::Breach => (Tone::Bad, "breach".to_owned()),
            SignalState::NoEvidence => (Tone::Notable, "no evidence".to_owned()),
        };
        let or_dash = |value: Option<&String>| value.map_or_else(|| "—".to_owned(), |value| shown(value));
        rows.push(vec![
            (Tone::Plain, line(&signal.name)),
            (tone, reading),
            (Tone::Plain, or_dash(signal.value.as_ref())),
            (Tone::Plain, spec.map(|spec| limits(signal, spec)).unwrap_or_default()),
            (Tone::Plain, if has_baseline { or_dash(signal.baseline.as_ref()) } else { String::new() }),
            (Tone::Plain, relative(signal.at, view.now)),
        ]);
    }
    let rows = view.terminal.columns(&rows);
    let mut text = format!("  {}\n", rows[0]);
    for (row, signal) in rows[1..].iter().zip(&watch.signals) {
        let _ = writeln!(text, "  {row}");
        text.push_str(&view.terminal.labelled("", 4, Tone::Faint, &lines(&signal.message)));
    }
    text
}

/// The limits of a signal, named as in the spec; a dash if the spec no longer has the signal.
fn limits(status: &SignalStatus, spec: &Watch) -> String {
    let Some(signal) = spec.signals.iter().find(|signal| signal.name == status.name) else { return "—".to_owned() };
    let Signal { max, min, max_increase, max_decrease, .. } = signal;
    let limits = [
        max.map(|max| format!("max {max}")),
        min.map(|min| format!("min {min}")),
        max_increase.as_ref().map(|most| format!("maxIncrease {}", line(most))),
        max_decrease.as_ref().map(|most| format!("maxDecrease {}", line(most))),
    ];
    limits.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A value, rounded as in the message; text that is not a number is unchanged.
fn shown(value: &str) -> String {
    let number = value.parse().ok().filter(|number: &f64| number.is_finite());
    number.map_or_else(|| line(value), |number| figure(number, DIGITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_four_significant_digits_at_most() {
        for (value, expected) in [
            ("0.08333333333333333", "0.08333"),
            ("1.9999999999", "2"),
            ("123.456789", "123.5"),
            ("123456.789", "123457"),
            ("2.0", "2"),
            ("-0.00012345678", "-0.0001235"),
            ("1.23456e-9", "1.235e-9"),
            ("0.0", "0"),
            ("NaN", "NaN"),
        ] {
            assert_eq!(shown(value), expected);
        }
    }
}
