//! The judgement of the watch: readings of live signals, and the suite run again → keep the prompt, or take it back.
//!
//! # One reading
//!
//! [`judge_signal`] holds a [`Reading`] against the limits of its signal. It comes to one of three things:
//!
//! | state | when |
//! |---|---|
//! | `Breach` | the value is beyond one limit at least: above `max`, below `min`, or further from its mean before the promotion than `maxIncrease` or `maxDecrease` allow |
//! | `Ok` | **every** limit could be judged, and none is breached |
//! | `NoEvidence` | there is no value, it is not finite, too little traffic is behind it, or a limit refers to a mean that is not known and no other limit is breached |
//!
//! So an outage is never a breach, and never a pass either. A margin given as a share is a share of the *size* of the mean, so
//! that it means the same for negative signals; where the mean is 0, any rise (or fall) is beyond any share of it. A value that
//! moves by exactly its margin is within it, rounding errors of one part in a billion aside.
//!
//! # Readings in a row
//!
//! [`judge_round`] counts, **for each signal by itself**, how many readings in a row breached: a breach adds one, a reading that
//! is `Ok` begins anew at zero, and one without evidence leaves the count as it is. Counting by signal is what makes partial
//! outages safe: a signal that breached and then has no data is not acquitted by another that is fine, and two signals that
//! stumble once each do not add up. A prompt is taken back when a signal breaches *now*, for the `breaches`-th time in a row.
//!
//! # The suite run again
//!
//! [`judge_reevaluation`] finds a model that has drifted under a prompt that has not changed. A score that has dropped below
//! the one at promotion by more than `maxDrop` says only that something is worse; whether the prompt is to blame is seen on its
//! predecessor, measured on the same scenarios now.
//!
//! Pure: no clock, no randomness. Nothing in here knows where a reading comes from.

mod figures;
mod reevaluation;
mod round;
mod signal;

pub use reevaluation::{Predecessor, Reevaluated, Reference, Remeasurement, judge_reevaluation};
pub use round::{Round, RoundOutcome, SignalRecord, judge_round, known_baseline, unproven};
pub use signal::{Answer, Gap, Reading, SignalVerdict, judge_signal};

#[cfg(test)]
mod properties;
