//! The simulated embedding model: words and runs of words hashed into a vector (Weinberger et al. 2009), so that texts
//! which share words are near.

use std::collections::HashMap;

use super::dice::{hash, mix};
use super::world::Embeddings;

/// The vector of a text, of length 1.
pub(super) fn embed(settings: &Embeddings, text: &str, dimensions: usize) -> Vec<f32> {
    let lower = text.to_lowercase();
    let words: Vec<u64> = lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| hash(word.as_bytes()))
        .collect();
    let mut counts: HashMap<u64, u32> = HashMap::new();
    for length in 1..=settings.ngrams {
        for run in words.windows(length) {
            let feature = run.iter().fold(length as u64, |feature, word| mix(feature ^ word));
            *counts.entry(feature).or_default() += 1;
        }
    }
    // The first component is the similarity that all texts share.
    let places = (dimensions - 1).max(1);
    let mut vector = vec![0.0_f64; dimensions];
    let mut features: Vec<(u64, u32)> = counts.into_iter().collect();
    // Sums of floats depend on their order, and a map is unordered.
    features.sort_unstable();
    for (feature, count) in features {
        let place = (dimensions - places) + (feature % places as u64) as usize;
        let sign = if mix(feature) & 1 == 0 { 1.0 } else { -1.0 };
        vector[place] += sign * (1.0 + f64::from(count).ln());
    }
    let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    let shared = if norm == 0.0 { 1.0 } else { settings.baseline.0 };
    let scale = if norm == 0.0 { 0.0 } else { (1.0 - shared).sqrt() / norm };
    for x in &mut vector {
        *x *= scale;
    }
    vector[0] += shared.sqrt();
    vector.into_iter().map(|x| x as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::world::Chance;

    fn cosine(settings: &Embeddings, a: &str, b: &str) -> f32 {
        let (a, b) = (embed(settings, a, 256), embed(settings, b, 256));
        a.iter().zip(&b).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn texts_that_share_words_are_nearer_than_texts_that_do_not() {
        let settings = Embeddings::default();
        let refund = "I want a refund for order A-1003, it arrived broken";
        let alike = cosine(&settings, refund, "I want a refund for order A-1020, it never arrived");
        let other = cosine(&settings, refund, "Which currencies do you support in Norway?");
        assert!(alike > 0.4 && other < 0.2, "{alike} {other}");
        assert!((cosine(&settings, refund, refund) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn a_baseline_lifts_every_similarity() {
        let settings = Embeddings { baseline: Chance(0.5), ..Embeddings::default() };
        let other = cosine(&settings, "refund my order", "currencies supported abroad");
        assert!((other - 0.5).abs() < 0.1, "{other}");
        assert!((cosine(&settings, "", "?!") - 1.0).abs() < 1e-5);
    }
}
