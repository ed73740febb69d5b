//! One reading of one signal.

use std::fmt;

use super::figures::{apart, shown};
use whetstone_domain::lifecycle::SignalState;
use whetstone_domain::plan::watch::{Margin, SignalPlan};

/// The part of the greater number that a rounding error may be.
const ROUNDING: f64 = 1e-9;

/// What a query came to: a number, or why there is none.
pub type Answer = Result<f64, Gap>;

/// Why a query has no number for an answer. None of this is ever held against a prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum Gap {
    /// Prometheus knows no series that fits.
    NoData,
    /// It is NaN or infinite: a division by nothing, mostly. As Prometheus wrote it.
    NotANumber(String),
    /// The query answers several series.
    SeveralSeries(usize),
    /// The query was not answered: Prometheus is out of reach, refuses us, or cannot make sense of the query. What happened,
    /// and what to do.
    Outage(String),
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoData => {
                f.write_str("no data; check that the metric is scraped and that the labels of the query match")
            }
            Self::NotANumber(text) => {
                write!(f, "{text} instead of a number; if the query divides, make it handle a divisor of 0")
            }
            Self::SeveralSeries(count) => {
                write!(f, "{count} series instead of one; aggregate them, as with sum(…) or max(…)")
            }
            Self::Outage(message) => f.write_str(message),
        }
    }
}

/// What was read for a signal at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The value.
    pub value: Answer,
    /// The traffic behind it, where the signal counts it.
    pub samples: Option<Answer>,
    /// Its mean before the promotion, over a period as long as the window, where a limit refers to it.
    pub baseline: Option<Answer>,
}

/// What a reading says about a signal.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalVerdict {
    /// The signal.
    pub name: String,
    /// What the reading was held against: [`SignalPlan::definition`].
    pub definition: String,
    /// What the reading says.
    pub state: SignalState,
    /// The same in words, with figures. Begins with the name.
    pub message: String,
    /// The value, if there is one. Finite.
    pub value: Option<f64>,
    /// Its mean before the promotion, over a period as long as the window, if a limit refers to it and it is known. Finite.
    pub baseline: Option<f64>,
}

/// Holds a reading against the limits of its signal.
#[must_use]
pub fn judge_signal(plan: &SignalPlan, reading: &Reading) -> SignalVerdict {
    let name = &plan.name;
    let value = finite(&reading.value);
    let baseline = plan.has_baseline().then(|| finite(reading.baseline.as_ref().unwrap_or(&Err(Gap::NoData))));
    let verdict = |state, message| SignalVerdict {
        name: name.clone(),
        definition: plan.definition.clone(),
        state,
        message,
        value: value.as_ref().ok().copied(),
        baseline: baseline.as_ref().and_then(|baseline| baseline.as_ref().ok().copied()),
    };
    let value = match (&value, insufficient(plan, reading)) {
        (Err(gap @ Gap::Outage(_)), _) => {
            return verdict(SignalState::NoEvidence, format!("{name} cannot be read: {gap}"));
        }
        (Err(gap), _) => return verdict(SignalState::NoEvidence, format!("{name} has {gap}")),
        (Ok(_), Some(why)) => return verdict(SignalState::NoEvidence, format!("{name} {why}")),
        (Ok(value), None) => *value,
    };
    let mut beyond: Vec<String> = beyond_absolute(plan, value).collect();
    if let Some(Ok(baseline)) = &baseline {
        beyond.extend(beyond_baseline(plan, value, *baseline));
    }
    if !beyond.is_empty() {
        return verdict(SignalState::Breach, format!("{name} is {}", beyond.join("; and it is ")));
    }
    match &baseline {
        Some(Err(gap)) => {
            let message = format!("{name} is {}, and its mean before the promotion is unknown: {gap}", shown(value));
            verdict(SignalState::NoEvidence, message)
        }
        Some(Ok(baseline)) => {
            let (value, moved) = (shown(value), moved(value, *baseline));
            verdict(SignalState::Ok, format!("{name} is {value}, {moved}: within its limits"))
        }
        None => verdict(SignalState::Ok, format!("{name} is {}, within its limits", shown(value))),
    }
}

/// What is not finite is no number, whoever says so.
fn finite(answer: &Answer) -> Answer {
    answer
        .clone()
        .and_then(|number| if number.is_finite() { Ok(number) } else { Err(Gap::NotANumber(number.to_string())) })
}

/// Why there is too little traffic behind a value, if there is.
fn insufficient(plan: &SignalPlan, reading: &Reading) -> Option<String> {
    let minimum = plan.samples.as_ref()?.minimum;
    match finite(reading.samples.as_ref().unwrap_or(&Err(Gap::NoData))) {
        Ok(found) if found >= minimum => None,
        Ok(found) => {
            let (found, minimum) = apart(found, minimum);
            Some(format!("is based on {found} samples, fewer than the {minimum} that samples.minimum requires"))
        }
        Err(gap @ Gap::Outage(_)) => Some(format!("cannot be judged: samples.query failed: {gap}")),
        Err(gap) => Some(format!("cannot be judged: samples.query has {gap}")),
    }
}

fn beyond_absolute(plan: &SignalPlan, value: f64) -> impl Iterator<Item = String> {
    let above = plan.max.filter(|max| value > *max).map(|max| (max, "above max"));
    let below = plan.min.filter(|min| value < *min).map(|min| (min, "below min"));
    above.into_iter().chain(below).map(move |(limit, side)| {
        let (value, limit) = apart(value, limit);
        format!("{value}, {side} {limit}")
    })
}

fn beyond_baseline(plan: &SignalPlan, value: f64, baseline: f64) -> impl Iterator<Item = String> {
    let rise = plan.max_increase.map(|margin| (margin, value - baseline, "maxIncrease"));
    let fall = plan.max_decrease.map(|margin| (margin, baseline - value, "maxDecrease"));
    let beyond = move |(margin, movement, _): &(Margin, f64, &str)| {
        let allowed = match margin {
            Margin::Absolute(allowed) => *allowed,
            Margin::Share(share) => share * baseline.abs(),
        };
        movement - allowed > ROUNDING * value.abs().max(baseline.abs())
    };
    rise.into_iter().chain(fall).filter(beyond).map(move |(margin, movement, field)| {
        let side = if value > baseline { "above" } else { "below" };
        let (moved, allowed) = match margin {
            Margin::Absolute(allowed) => apart(movement, allowed),
            Margin::Share(share) if baseline == 0.0 => (shown(movement), format!("{}%", shown(share * 100.0))),
            Margin::Share(share) => {
                let (moved, allowed) = apart_in_percent(movement / baseline.abs(), share);
                (format!("{moved}%"), format!("{allowed}%"))
            }
        };
        let (value, baseline) = apart(value, baseline);
        format!("{value}, {moved} {side} its mean before the promotion ({baseline}), where {field} allows {allowed}")
    })
}

/// Two shares as whole percentages, or as finer ones where these would be the same.
fn apart_in_percent(one: f64, other: f64) -> (String, String) {
    let (one, other) = (one * 100.0, other * 100.0);
    let whole = |percent: f64| format!("{percent:.0}");
    let is_whole = |percent: f64| (percent - percent.round()).abs() < ROUNDING * percent.abs().max(1.0);
    if is_whole(other) && whole(one) != whole(other) { (whole(one), whole(other)) } else { apart(one, other) }
}

/// How far a value is from its mean, in words.
fn moved(value: f64, baseline: f64) -> String {
    let share = (value - baseline) / baseline.abs();
    let by = if share.is_finite() {
        format!("{}%", shown((share.abs() * 1000.0).round() / 10.0))
    } else {
        shown((value - baseline).abs())
    };
    let mean = format!("its mean before the promotion ({})", shown(baseline));
    match value.partial_cmp(&baseline) {
        Some(std::cmp::Ordering::Greater) => format!("{by} above {mean}"),
        Some(std::cmp::Ordering::Less) => format!("{by} below {mean}"),
        _ => "equal to its mean before the promotion".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whetstone_domain::plan::watch::SamplesPlan;

    fn plan(name: &str) -> SignalPlan {
        SignalPlan {
            name: name.to_owned(),
            query: "q".to_owned(),
            max: None,
            min: None,
            max_increase: None,
            max_decrease: None,
            samples: None,
            definition: String::new(),
        }
    }

    fn value(value: f64) -> Reading {
        Reading { value: Ok(value), samples: None, baseline: None }
    }

    fn against(number: f64, baseline: f64) -> Reading {
        Reading { baseline: Some(Ok(baseline)), ..value(number) }
    }

    #[track_caller]
    fn said(plan: &SignalPlan, reading: &Reading, state: SignalState) -> String {
        let verdict = judge_signal(plan, reading);
        assert_eq!(verdict.state, state, "{}", verdict.message);
        verdict.message
    }

    #[test]
    fn absolute_limits_are_named_with_the_figures() {
        let errors = SignalPlan { max: Some(0.05), min: Some(0.001), ..plan("error-rate") };
        insta::assert_snapshot!(said(&errors, &value(0.132), SignalState::Breach), @"error-rate is 0.132, above max 0.05");
        insta::assert_snapshot!(said(&errors, &value(0.0), SignalState::Breach), @"error-rate is 0, below min 0.001");
        insta::assert_snapshot!(said(&errors, &value(0.050_000_001), SignalState::Breach), @"error-rate is 0.050000001, above max 0.05");
        insta::assert_snapshot!(said(&errors, &value(0.05), SignalState::Ok), @"error-rate is 0.05, within its limits");
    }

    #[test]
    fn a_margin_is_held_against_the_mean_before_the_promotion() {
        let latency = SignalPlan {
            max_increase: Some(Margin::Share(0.2)),
            max_decrease: Some(Margin::Absolute(0.5)),
            ..plan("latency-p95")
        };
        insta::assert_snapshot!(said(&latency, &against(2.31, 1.56), SignalState::Breach), @"latency-p95 is 2.31, 48% above its mean before the promotion (1.56), where maxIncrease allows 20%");
        insta::assert_snapshot!(said(&latency, &against(1.8725, 1.56), SignalState::Breach), @"latency-p95 is 1.873, 20.03% above its mean before the promotion (1.56), where maxIncrease allows 20%");
        insta::assert_snapshot!(said(&latency, &against(0.9, 1.56), SignalState::Breach), @"latency-p95 is 0.9, 0.66 below its mean before the promotion (1.56), where maxDecrease allows 0.5");
        insta::assert_snapshot!(said(&latency, &against(1.6, 1.56), SignalState::Ok), @"latency-p95 is 1.6, 2.6% above its mean before the promotion (1.56): within its limits");
        insta::assert_snapshot!(said(&latency, &against(1.56, 1.56), SignalState::Ok), @"latency-p95 is 1.56, equal to its mean before the promotion: within its limits");
        for (value, baseline) in [(0.12, 0.1), (1.2, 1.0), (0.36, 0.3), (84.0, 70.0)] {
            said(&latency, &against(value, baseline), SignalState::Ok);
        }
    }

    #[test]
    fn any_rise_above_a_mean_of_nothing_is_beyond_a_share_of_it() {
        let errors = SignalPlan { max_increase: Some(Margin::Share(0.2)), ..plan("errors") };
        insta::assert_snapshot!(said(&errors, &against(0.3, 0.0), SignalState::Breach), @"errors is 0.3, 0.3 above its mean before the promotion (0), where maxIncrease allows 20%");
        said(&errors, &against(0.0, 0.0), SignalState::Ok);
        said(&errors, &against(-1.0, 0.0), SignalState::Ok);
        said(&errors, &against(-8.0, -10.0), SignalState::Ok);
        said(&errors, &against(-7.9, -10.0), SignalState::Breach);
    }

    #[test]
    fn without_the_mean_an_absolute_limit_still_counts_and_nothing_passes() {
        let both = SignalPlan { max: Some(5.0), max_increase: Some(Margin::Share(0.2)), ..plan("latency") };
        let unknown = |number| Reading { baseline: Some(Err(Gap::NoData)), ..value(number) };
        insta::assert_snapshot!(said(&both, &unknown(7.0), SignalState::Breach), @"latency is 7, above max 5");
        insta::assert_snapshot!(said(&both, &unknown(1.0), SignalState::NoEvidence), @"latency is 1, and its mean before the promotion is unknown: no data; check that the metric is scraped and that the labels of the query match");
        said(&both, &value(1.0), SignalState::NoEvidence);
        said(&both, &against(1.0, f64::NAN), SignalState::NoEvidence);
    }

    #[test]
    fn what_is_no_evidence_says_why() {
        let errors = SignalPlan { max: Some(0.05), ..plan("error-rate") };
        let gap = |gap| said(&errors, &Reading { value: Err(gap), ..value(0.0) }, SignalState::NoEvidence);
        insta::assert_snapshot!(gap(Gap::NoData), @"error-rate has no data; check that the metric is scraped and that the labels of the query match");
        insta::assert_snapshot!(gap(Gap::NotANumber("NaN".to_owned())), @"error-rate has NaN instead of a number; if the query divides, make it handle a divisor of 0");
        insta::assert_snapshot!(gap(Gap::SeveralSeries(3)), @"error-rate has 3 series instead of one; aggregate them, as with sum(…) or max(…)");
        insta::assert_snapshot!(gap(Gap::Outage("connection refused".to_owned())), @"error-rate cannot be read: connection refused");
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            said(&errors, &value(number), SignalState::NoEvidence);
        }
    }

    #[test]
    fn a_value_with_too_little_traffic_behind_it_is_no_evidence() {
        let samples = Some(SamplesPlan { query: "count".to_owned(), minimum: 100.0 });
        let errors = SignalPlan { max: Some(0.05), samples, ..plan("error-rate") };
        let with = |samples| Reading { samples: Some(samples), ..value(0.5) };
        let none = |reading: &Reading| said(&errors, reading, SignalState::NoEvidence);
        insta::assert_snapshot!(none(&with(Ok(12.0))), @"error-rate is based on 12 samples, fewer than the 100 that samples.minimum requires");
        insta::assert_snapshot!(none(&with(Err(Gap::NoData))), @"error-rate cannot be judged: samples.query has no data; check that the metric is scraped and that the labels of the query match");
        insta::assert_snapshot!(none(&with(Err(Gap::Outage("timed out".to_owned())))), @"error-rate cannot be judged: samples.query failed: timed out");
        none(&value(0.5));
        none(&with(Ok(f64::NAN)));
        said(&errors, &with(Ok(100.0)), SignalState::Breach);
    }
}
