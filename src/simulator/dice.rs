//! Randomness as a function of content: equal requests draw equal numbers, whenever and wherever they arrive.

use std::f64::consts::TAU;

/// A source of independent draws, each identified by a label.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// Dice for some content. Its parts are separate: `["ab", "c"]` differs from `["a", "bc"]`.
    pub(super) fn new(seed: u64, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(u64::from_le_bytes(first))
    }

    /// Independent dice for the `n`th attempt at the same content.
    pub(super) fn attempt(self, n: u32) -> Self {
        Self(mix(self.0 ^ mix(u64::from(n) + 1)))
    }

    /// A number that identifies the content, for ids in answers.
    pub(super) fn id(self) -> u64 {
        self.0
    }

    /// A uniform draw from 0 (included) to 1 (excluded).
    pub(super) fn unit(self, label: &str, which: &str) -> f64 {
        // 53 bits: every double of the form k / 2^53 is equally likely.
        (self.bits(label, which) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something with this chance happens.
    pub(super) fn happens(self, chance: f64, label: &str, which: &str) -> bool {
        chance > 0.0 && self.unit(label, which) < chance
    }

    /// A draw from the standard normal distribution (Box and Muller 1958).
    pub(super) fn normal(self, label: &str, which: &str) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit(label, which)).ln()).sqrt();
        radius * (TAU * self.attempt(1).unit(label, which)).cos()
    }

    /// One of `n` places, each equally likely; 0 when there is none.
    pub(super) fn pick(self, n: usize, label: &str) -> usize {
        ((self.unit(label, "") * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// One of several places, in proportion to their weights; `None` when no weight is above 0.
    pub(super) fn weighted(self, weights: &[f64], label: &str) -> Option<usize> {
        let total: f64 = weights.iter().sum();
        let mut left = self.unit(label, "") * total;
        let last = weights.iter().rposition(|weight| *weight > 0.0)?;
        Some(
            weights
                .iter()
                .position(|weight| {
                    left -= weight;
                    left < 0.0
                })
                .unwrap_or(last),
        )
    }

    fn bits(self, label: &str, which: &str) -> u64 {
        mix(self.0 ^ hash(label.as_bytes()) ^ mix(hash(which.as_bytes())))
    }
}

/// FNV-1a: fast on short texts.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
pub(super) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(draw: impl Fn(Dice) -> f64) -> (f64, f64) {
        let draws: Vec<f64> = (0_u64..20_000).map(|n| draw(Dice::new(7, &[&n.to_le_bytes()]))).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        (mean, variance.sqrt())
    }

    #[test]
    fn draws_have_the_moments_of_their_distributions() {
        let (mean, sd) = moments(|dice| dice.unit("a", "b"));
        assert!((mean - 0.5).abs() < 0.01 && (sd - (1.0_f64 / 12.0).sqrt()).abs() < 0.01, "{mean} {sd}");
        let (mean, sd) = moments(|dice| dice.normal("a", "b"));
        assert!(mean.abs() < 0.03 && (sd - 1.0).abs() < 0.03, "{mean} {sd}");
        let (mean, _) = moments(|dice| dice.weighted(&[1.0, 0.0, 3.0], "w").map_or(9.0, |place| place as f64));
        assert!((mean - 1.5).abs() < 0.03, "{mean}");
    }

    #[test]
    fn labels_and_parts_are_kept_apart() {
        let dice = Dice::new(1, &[b"ab", b"c"]);
        assert_ne!(dice.id(), Dice::new(1, &[b"a", b"bc"]).id());
        assert_ne!(dice.unit("x", "1").to_bits(), dice.unit("x", "2").to_bits());
        assert_eq!(dice.unit("x", "1").to_bits(), Dice::new(1, &[b"ab", b"c"]).unit("x", "1").to_bits());
    }
}
