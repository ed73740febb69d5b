//! Failures as vectors.
//!
//! A vector has parts, each with a fixed share of its squared length, so that none dominates:
//!
//! | part | what | share where a cause was found | where only a judge speaks |
//! |---|---|---|---|
//! | cause | what was wrong with the tool calls (kind, tool, arguments), which checks failed | 0.78 | |
//! | dimensions | which failed, worst first | 0.04 | 0.10 |
//! | text | concepts and words of the evidence; with an embedding model its vector for 0.6 of the share | 0.18 | 0.90 |
//!
//! So two failures with the same mistake are similar whatever their topic. A failed check that no other failure has, such
//! as the expected answer of one scenario, says little: the share of such a cause is 0.40.
//!
//! Words are weighted by TF-IDF (Salton & Buckley 1988) over the given failures. Most of their mean is subtracted from an
//! embedding model's vectors, because what all these texts have in common hides their differences (Mu & Viswanath 2018).

use std::collections::{BTreeMap, HashMap};

use super::{by_severity, concepts, evidence_beyond_findings, mistake, roots, words};
use whetstone_domain::cluster::Failure;

/// The length of the built-in vectors. The length of an embedding model's vectors is added.
pub const DIMENSIONS: usize = 384;

/// The number of dimensions with a single feature each, the most frequent ones. The other features share the rest.
const OWN: usize = 320;

/// The shares of a vector's squared length: cause, dimensions, text.
const FOUND: [f64; 3] = [0.78, 0.04, 0.18];
/// The same if the cause is a check that no other failure has.
const FOUND_ALONE: [f64; 3] = [0.40, 0.06, 0.54];
/// The same if only a judge's words say what was wrong.
const JUDGED: [f64; 3] = [0.0, 0.10, 0.90];

/// The share of an embedding model's vector within the text.
const EMBEDDED: f64 = 0.6;
/// The number of texts at which half of the mean is subtracted.
const MEAN_PRIOR: f64 = 8.0;

/// The weight of a word relative to a concept.
const WORD: f64 = 0.2;
/// The weight of a failed check relative to an error of tool calls.
const CHECK_BESIDE_CALLS: f64 = 0.35;

type Features = BTreeMap<String, f64>;

/// A vector of unit length with [`DIMENSIONS`] numbers for each failure, in their order. A vector depends only on the set
/// of failures, not on their order.
#[must_use]
pub fn vectorise(failures: &[Failure]) -> Vec<Vec<f32>> {
    vectors(failures, None)
}

/// A vector of unit length for each failure, in their order, computed from the failure and, if given, from an embedding
/// model's vector for its [`super::text_of`]. Vectors of the model that are not finite are ignored.
///
/// # Panics
/// If there is not one vector of the model for each failure.
#[must_use]
pub fn vectors(failures: &[Failure], embedded: Option<Vec<Vec<f32>>>) -> Vec<Vec<f32>> {
    let embedded = embedded.map(without_mean);
    if let Some(embedded) = &embedded {
        assert_eq!(failures.len(), embedded.len(), "one vector for each failure");
    }
    let parts: Vec<[Features; 3]> = failures
        .iter()
        .map(|failure| [cause_features(failure), dimension_features(failure), text_features(failure)])
        .collect();
    let space = Space::of(&parts);
    let mut vectors = Vec::with_capacity(failures.len());
    for (index, (failure, parts)) in failures.iter().zip(&parts).enumerate() {
        let shares = match (is_found(failure), space.shares_cause(failure, &parts[0])) {
            (false, _) => JUDGED,
            (true, false) => FOUND_ALONE,
            (true, true) => FOUND,
        };
        let [cause, dimensions, text] = parts.each_ref().map(|features| space.place(features));
        let model = embedded.as_ref().map_or(&[][..], |embedded| &embedded[index]);
        let by_model = match (model.iter().any(|value| *value != 0.0), text.is_empty()) {
            (false, _) => 0.0,
            (true, true) => 1.0,
            (true, false) => EMBEDDED,
        };
        let mut vector = vec![0.0; DIMENSIONS + model.len()];
        let mut total = 0.0;
        let mut add = |part: &mut dyn Iterator<Item = (usize, f64)>, share: f64| {
            let part: Vec<(usize, f64)> = part.collect();
            let length = part.iter().map(|(_, weight)| weight * weight).sum::<f64>().sqrt();
            if length > 0.0 && share > 0.0 {
                total += share;
                for (at, weight) in part {
                    vector[at] += weight / length * share.sqrt();
                }
            }
        };
        add(&mut cause.into_iter(), shares[0]);
        add(&mut dimensions.into_iter(), shares[1]);
        add(&mut text.into_iter(), shares[2] * (1.0 - by_model));
        let model = model.iter().enumerate().map(|(at, value)| (DIMENSIONS + at, f64::from(*value)));
        add(&mut model.into_iter(), shares[2] * by_model);
        let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
        vectors.push(vector.iter().map(|value| if length > 0.0 { (value / length) as f32 } else { 0.0 }).collect());
    }
    vectors
}

/// Whether a tool call or a check shows what was wrong.
pub(super) fn is_found(failure: &Failure) -> bool {
    !failure.tool_errors.is_empty() || !failure.failed_checks.is_empty()
}

/// Vectors of unit length, minus most of their mean. If there are few, little is subtracted: two texts are not opposites
/// because there is no third.
fn without_mean(mut vectors: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    let width = vectors.iter().map(Vec::len).max().unwrap_or(0);
    let mut mean = vec![0.0; width];
    let mut counted = 0.0;
    for vector in &mut vectors {
        vector.resize(width, 0.0);
        let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        if length.is_finite() && length > 0.0 {
            counted += 1.0;
            for (total, value) in mean.iter_mut().zip(vector.iter_mut()) {
                *value = (f64::from(*value) / length) as f32;
                *total += f64::from(*value);
            }
        } else {
            vector.fill(0.0);
        }
    }
    let share = 1.0 / (counted + MEAN_PRIOR);
    for vector in vectors.iter_mut().filter(|vector| vector.iter().any(|value| *value != 0.0)) {
        for (value, total) in vector.iter_mut().zip(&mean) {
            *value = (f64::from(*value) - total * share) as f32;
        }
    }
    vectors
}

/// The place and the weight of each feature in a vector.
struct Space<'a> {
    frequency: HashMap<&'a str, usize>,
    rank: HashMap<&'a str, usize>,
    failures: usize,
}

impl<'a> Space<'a> {
    fn of(parts: &'a [[Features; 3]]) -> Self {
        let mut frequency: HashMap<&str, usize> = HashMap::new();
        for feature in parts.iter().flatten().flat_map(Features::keys) {
            *frequency.entry(feature).or_default() += 1;
        }
        let mut space = Self { frequency, rank: HashMap::new(), failures: parts.len() };
        // The most informative features get their own dimensions first.
        let mut ranked: Vec<&str> =
            space.frequency.keys().copied().filter(|feature| space.is_shared(feature)).collect();
        let order = |feature: &str| match feature.as_bytes()[0] {
            b'w' => 2,
            b'c' => 1,
            _ => 0,
        };
        ranked.sort_by_key(|feature| (order(feature), std::cmp::Reverse(space.frequency[feature]), *feature));
        space.rank = ranked.into_iter().enumerate().map(|(rank, feature)| (feature, rank)).collect();
        space
    }

    /// Whether a feature can make failures similar. A word or check of a single failure only makes it less similar to all
    /// others.
    fn is_shared(&self, feature: &str) -> bool {
        let of_text = feature.starts_with("w:") || feature.starts_with("k:");
        !of_text || self.frequency[feature] > 1 || self.failures < 3
    }

    /// Whether another failure may have the same cause.
    fn shares_cause(&self, failure: &Failure, cause: &Features) -> bool {
        !failure.tool_errors.is_empty()
            || cause.keys().any(|feature| feature.starts_with("k:") && self.frequency[feature.as_str()] > 1)
    }

    fn weight(&self, feature: &str) -> f64 {
        if feature.starts_with("w:") || feature.starts_with("c:") {
            ((1.0 + self.failures as f64) / (1.0 + self.frequency[feature] as f64)).ln() + 1.0
        } else {
            1.0
        }
    }

    /// The places of features and their weights. If none of them is shared, all are used anyway, so that texts with nothing
    /// in common are not similar to one another.
    fn place(&self, features: &Features) -> Vec<(usize, f64)> {
        let any_shared = features.keys().any(|feature| self.rank.contains_key(feature.as_str()));
        let placed = features.iter().filter_map(|(feature, weight)| {
            let rank = self.rank.get(feature.as_str()).copied();
            let (at, sign) = match rank {
                Some(rank) if rank < OWN => (rank, 1.0),
                None if any_shared => return None,
                _ => hashed(feature),
            };
            Some((at, sign * weight * self.weight(feature)))
        });
        placed.collect()
    }
}

/// The dimension and the sign of a feature that has no dimension of its own (feature hashing, Weinberger et al. 2009).
fn hashed(feature: &str) -> (usize, f64) {
    let hash = blake3::hash(feature.as_bytes());
    let [low, high, sign, ..] = *hash.as_bytes();
    let at = OWN + usize::from(u16::from_le_bytes([low, high])) % (DIMENSIONS - OWN);
    (at, if sign & 1 == 0 { 1.0 } else { -1.0 })
}

/// The most severe error has the greatest weight: it is what the failure is about.
fn cause_features(failure: &Failure) -> Features {
    let mut features = Features::new();
    let mut add = |feature: String, weight: f64| {
        let entry = features.entry(feature).or_insert(0.0);
        *entry = f64::max(*entry, weight);
    };
    let errors = by_severity(failure);
    for (position, error) in errors.iter().enumerate() {
        let weight = match position {
            0 => 1.0,
            _ if error.kind == errors[0].kind => 0.7,
            _ => 0.35,
        };
        let mistake = mistake(failure, error);
        add(format!("e:{mistake}"), weight * 0.7);
        add(format!("e:{mistake} {}", error.tool), weight);
        let arguments = roots(error);
        let share = 0.5 / (arguments.len().max(1) as f64).sqrt();
        for argument in arguments {
            add(format!("e:{mistake} {} {argument}", error.tool), weight * share);
        }
    }
    let weight = if errors.is_empty() { 1.0 } else { CHECK_BESIDE_CALLS };
    for check in &failure.failed_checks {
        let share = if check.kind.is_of_one_scenario() { 0.7 } else { 0.35 };
        add(format!("e:check {:?}", check.kind), weight * share);
        add(format!("k:{:?} {}", check.kind, check.expected), weight);
    }
    features
}

fn dimension_features(failure: &Failure) -> Features {
    let rank = |position: usize| 1.0 / (1.0 + position as f64);
    failure.dimensions.iter().enumerate().map(|(position, name)| (format!("d:{name}"), rank(position))).collect()
}

/// The concepts and words of the evidence. If there is no evidence, the words of answer and request: they show the topic
/// and not the cause, so they are not used beside evidence.
fn text_features(failure: &Failure) -> Features {
    let evidence = evidence_beyond_findings(failure);
    let mut features = Features::new();
    let mut count = |text: &str| {
        for word in words::words(text) {
            *features.entry(format!("w:{}", words::stem(&word))).or_default() += 1.0;
        }
    };
    if evidence.is_empty() {
        count(&failure.answer);
        count(&failure.request);
    } else {
        count(&evidence);
    }
    // Repeating a word ten times does not make it ten times as informative.
    for count in features.values_mut() {
        *count = WORD * (1.0 + *count).ln();
    }
    let concepts = concepts::concepts(&evidence);
    features.extend(concepts.into_iter().map(|(concept, weight)| (format!("c:{concept}"), weight.ln_1p())));
    features
}
