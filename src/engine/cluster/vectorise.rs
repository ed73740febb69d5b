//! The built-in vectoriser: failures as vectors, without a model.
//!
//! A vector has three parts, each of a fixed share of its length so that none drowns the others: what was wrong with the
//! tool calls (kind, tool, arguments), which dimensions failed, and the words of evidence, answer and request weighted by
//! TF-IDF (Salton & Buckley 1988) over the failures at hand. Where tool calls went wrong they are most of the vector: two
//! failures with the same mistake are alike whatever they were about.

use std::collections::{BTreeMap, HashMap};

use super::{by_severity, evidence_beyond_calls, mistake, roots, words};
use crate::domain::cluster::Failure;

/// The length of the vectors.
pub const DIMENSIONS: usize = 384;

/// Dimensions that belong to one feature each, the most frequent ones. The others share the rest.
const OWN: usize = 320;

/// The shares of a vector's squared length: tool errors, dimensions, words.
const SHARES: [f64; 3] = [0.75, 0.05, 0.20];

type Features = BTreeMap<String, f64>;

/// A vector of unit length and [`DIMENSIONS`] numbers for each failure, in their order. It depends on nothing but the
/// failures, and not on their order.
#[must_use]
pub fn vectorise(failures: &[Failure]) -> Vec<Vec<f32>> {
    let parts: Vec<[Features; 3]> = failures
        .iter()
        .map(|failure| [tool_features(failure), dimension_features(failure), word_features(failure)])
        .collect();
    let mut frequency: HashMap<&str, usize> = HashMap::new();
    for feature in parts.iter().flatten().flat_map(Features::keys) {
        *frequency.entry(feature).or_default() += 1;
    }
    // A word of a single failure cannot make it like another one, only less like all others.
    let is_shared = |feature: &str| !feature.starts_with("w:") || frequency[feature] > 1 || failures.len() < 3;
    let idf = |feature: &str| {
        if feature.starts_with("w:") {
            ((1.0 + failures.len() as f64) / (1.0 + frequency[feature] as f64)).ln() + 1.0
        } else {
            1.0
        }
    };
    // Tool errors and dimensions sort before words (`d:`, `e:`, `w:`), so they get dimensions of their own first.
    let mut ranked: Vec<&str> = frequency.keys().copied().filter(|feature| is_shared(feature)).collect();
    ranked.sort_by_key(|feature| (feature.starts_with("w:"), std::cmp::Reverse(frequency[feature]), *feature));
    let rank: HashMap<&str, usize> = ranked.iter().enumerate().map(|(rank, feature)| (*feature, rank)).collect();
    parts
        .iter()
        .map(|parts| {
            let weighted = parts.each_ref().map(|features| -> Vec<(usize, f64)> {
                let known = features.iter().filter_map(|(feature, weight)| {
                    let (at, sign) = place(feature, *rank.get(feature.as_str())?);
                    Some((at, sign * weight * idf(feature)))
                });
                known.collect()
            });
            assemble(&weighted)
        })
        .collect()
}

/// The dimension of a feature and its sign there (feature hashing, Weinberger et al. 2009, for all but the frequent ones).
fn place(feature: &str, rank: usize) -> (usize, f64) {
    if rank < OWN {
        return (rank, 1.0);
    }
    let hash = blake3::hash(feature.as_bytes());
    let [low, high, sign, ..] = *hash.as_bytes();
    let at = OWN + usize::from(u16::from_le_bytes([low, high])) % (DIMENSIONS - OWN);
    (at, if sign & 1 == 0 { 1.0 } else { -1.0 })
}

fn assemble(parts: &[Vec<(usize, f64)>; 3]) -> Vec<f32> {
    let mut vector = vec![0.0; DIMENSIONS];
    let present: f64 = parts.iter().zip(SHARES).filter(|(part, _)| !part.is_empty()).map(|(_, share)| share).sum();
    for (part, share) in parts.iter().zip(SHARES) {
        let length = part.iter().map(|(_, weight)| weight * weight).sum::<f64>().sqrt();
        if length > 0.0 {
            for (at, weight) in part {
                vector[*at] += weight / length * (share / present).sqrt();
            }
        }
    }
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    vector.iter().map(|value| if length > 0.0 { (value / length) as f32 } else { 0.0 }).collect()
}

/// The gravest error counts most: it is what the failure is about.
fn tool_features(failure: &Failure) -> Features {
    let mut features = Features::new();
    let errors = by_severity(failure);
    for (position, error) in errors.iter().enumerate() {
        let weight = match position {
            0 => 1.0,
            _ if error.kind == errors[0].kind => 0.7,
            _ => 0.35,
        };
        let mistake = mistake(failure, error);
        let mut add = |feature: String, share: f64| {
            let entry = features.entry(feature).or_insert(0.0);
            *entry = f64::max(*entry, weight * share);
        };
        add(format!("e:{mistake}"), 0.7);
        add(format!("e:{mistake} {}", error.tool), 1.0);
        let arguments = roots(error);
        let share = 0.5 / (arguments.len().max(1) as f64).sqrt();
        for argument in arguments {
            add(format!("e:{mistake} {} {argument}", error.tool), share);
        }
    }
    features
}

fn dimension_features(failure: &Failure) -> Features {
    let rank = |position: usize| 1.0 / (1.0 + position as f64);
    failure.dimensions.iter().enumerate().map(|(position, name)| (format!("d:{name}"), rank(position))).collect()
}

fn word_features(failure: &Failure) -> Features {
    let mut counts = Features::new();
    for (text, weight) in [(&evidence_beyond_calls(failure), 1.0), (&failure.answer, 0.25), (&failure.request, 0.25)] {
        for word in words::words(text) {
            *counts.entry(format!("w:{word}")).or_default() += weight;
        }
    }
    // Saying a thing ten times does not make it ten times as telling.
    for count in counts.values_mut() {
        *count = (1.0 + *count).ln();
    }
    counts
}
