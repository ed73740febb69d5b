//! The score phase: a transcript in, its scores in every dimension out, with the evidence.
//!
//! A [`ScenarioScorer`] is made once for a scenario and scores all its transcripts. What has an exact answer is scored
//! by [`tools`] and [`checks`]; the rest is asked of a judge ([`judge`]), all dimensions of one judge in one call. What a
//! judge cannot answer is an error of that sample and never a low score. [`failure`] turns the worst sample of a scenario into what
//! the cluster phase reads.
//!
//! Nothing here knows who answers a judge's call or what it costs: the caller hands in a function that asks.

use std::borrow::Cow;

mod assignment;
pub mod checks;
mod numbers;
pub mod tools;

/// The text itself, or its beginning and `…` when it has more than `longest` characters.
fn shorten(text: &str, longest: usize) -> Cow<'_, str> {
    match text.char_indices().nth(longest) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", text[..end].trim_end())),
    }
}
