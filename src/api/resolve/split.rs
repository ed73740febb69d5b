//! The split of the suite into training, regression and held-out part.

use std::collections::BTreeMap;

use super::super::AgentOptimizationSpec;
use super::super::defaults::{self, Defaults};
use super::findings::Findings;
use super::scoring::round;
use whetstone_domain::hash::ContentHash;
use whetstone_domain::plan::SplitPlan;
use whetstone_domain::scenario::Scenario;
use whetstone_domain::suite::{ScenarioKey, Suite};
use whetstone_domain::words::{by_number, counted};

/// The prefix of a tag that assigns a scenario to a part.
pub(super) const SPLIT_TAG: &str = "split:";
/// Strata with fewer scenarios than this are pooled, because shares of fewer are meaningless.
const SMALLEST_STRATUM: usize = 5;
/// The tolerance of the sum of the shares.
const SHARE_SLACK: f64 = 1e-9;

/// The parts, in the order of [`Part::index`].
type Shares = [f64; 3];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Train,
    Regression,
    HeldOut,
}

impl Part {
    const ALL: [Self; 3] = [Self::Train, Self::Regression, Self::HeldOut];
    /// The tags of the parts; `test` is an alias of the held-out part.
    pub(super) const NAMES: [(&'static str, Self); 4] = [
        ("train", Self::Train),
        ("regression", Self::Regression),
        ("held-out", Self::HeldOut),
        ("test", Self::HeldOut),
    ];

    fn index(self) -> usize {
        self as usize
    }

    /// The part to which the tags of a scenario assign it.
    fn asked_for(scenario: &Scenario) -> Option<Self> {
        let asked = scenario.tags.iter().find_map(|tag| tag.strip_prefix(SPLIT_TAG))?;
        Self::NAMES.iter().find(|(name, _)| *name == asked).map(|(_, part)| *part)
    }
}

/// Splits the scenarios of a resource, and warns if a part is too small for its purpose.
pub(super) fn resolve(
    spec: &AgentOptimizationSpec,
    defaults: &Defaults,
    scenarios: &Suite,
    minimum_sample_size: usize,
    findings: &mut Findings<'_>,
) -> SplitPlan {
    let Some(shares) = shares(spec, defaults, findings) else { return SplitPlan::default() };
    let seed = spec.split.as_ref().and_then(|split| split.seed).unwrap_or(defaults::SPLIT_SEED);
    let split = divide(scenarios, shares, seed);
    if scenarios.is_empty() {
        return split;
    }
    if split.train.is_empty() && spec.agent.runtime.replay.is_none() {
        findings.warn("spec.split.train", "the training part is empty, so nothing can be patched; raise train");
    }
    let held_out = split.held_out.len();
    if held_out < minimum_sample_size && spec.agent.runtime.replay.is_none() {
        let message = format!(
            "{held_out} of {} {} held out, and the gate requires {minimum_sample_size} \
             (spec.promotion.gate.minimumSampleSize), so the verdict can only be inconclusive; add scenarios, raise heldOut \
             or lower minimumSampleSize",
            counted(scenarios.len(), "scenario"),
            by_number(if scenarios.len() == 1 { 1 } else { held_out }, "is", "are")
        );
        findings.warn("spec.split.heldOut", message);
    }
    split
}

/// The given shares; the others divide the remainder in the proportions of the profile.
fn shares(spec: &AgentOptimizationSpec, defaults: &Defaults, findings: &mut Findings<'_>) -> Option<Shares> {
    let written = spec.split.as_ref().map_or([None; 3], |split| [split.train, split.regression, split.held_out]);
    let usual = [defaults.train, defaults.regression, defaults.held_out];
    let sum: f64 = written.iter().flatten().sum();
    let open: f64 = written.iter().zip(usual).filter(|(share, _)| share.is_none()).map(|(_, usual)| usual).sum();
    let is_complete = written.iter().all(Option::is_some);
    if sum > 1.0 + SHARE_SLACK || (is_complete && (sum - 1.0).abs() > SHARE_SLACK) {
        let demand = if is_complete { "must add up to 1" } else { "must not add up to more than 1" };
        findings.problem("spec.split", format!("the shares add up to {}; they {demand}", round(sum)));
        return None;
    }
    let rest = (1.0 - sum).max(0.0);
    let mut shares = [0.0; 3];
    for (index, share) in shares.iter_mut().enumerate() {
        *share = written[index].unwrap_or(rest * usual[index] / open);
    }
    Some(shares)
}

/// Splits scenarios. The split depends only on ids, tags, shares and seed: within a stratum, scenarios are
/// sorted by a hash of seed and id, and each part takes its share of them; the remaining ones go to the parts that are furthest
/// behind over all strata.
fn divide(scenarios: &Suite, shares: Shares, seed: u64) -> SplitPlan {
    let mut parts: [Vec<ScenarioKey>; 3] = Default::default();
    let mut free = Vec::new();
    for scenario in scenarios.keys() {
        match Part::asked_for(&scenario) {
            Some(part) => parts[part.index()].push(scenario),
            None => free.push(scenario),
        }
    }
    let mut behind = [0.0; 3];
    for mut stratum in strata(free) {
        stratum.sort_by_cached_key(|scenario| ContentHash::of_bytes(format!("{seed}\n{}", scenario.id).as_bytes()));
        let counts = counts(stratum.len(), shares, &mut behind);
        let mut members = stratum.into_iter();
        for (part, count) in parts.iter_mut().zip(counts) {
            part.extend(members.by_ref().take(count));
        }
    }
    for part in &mut parts {
        part.sort_unstable();
    }
    let [train, regression, held_out] = parts;
    SplitPlan { train, regression, held_out }
}

/// Groups scenarios with the same tags; small groups are pooled by their first tag, and remaining small ones in a last stratum.
fn strata(free: Vec<ScenarioKey>) -> Vec<Vec<ScenarioKey>> {
    let (mut strata, few) = group(free, |scenario| tags(scenario).join("\n"));
    let (pooled, rest) = group(few, |scenario| tags(scenario).first().copied().unwrap_or_default().to_owned());
    strata.extend(pooled);
    strata.push(rest);
    strata
}

/// The tags of a scenario that say what it is about, each once, sorted.
fn tags(scenario: &Scenario) -> Vec<&str> {
    let tags = scenario.tags.iter().map(String::as_str);
    let mut tags: Vec<&str> = tags.filter(|tag| !tag.starts_with(SPLIT_TAG)).collect();
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// Groups by a key; the members of groups that are too small are returned separately.
fn group(members: Vec<ScenarioKey>, key: impl Fn(&Scenario) -> String) -> (Vec<Vec<ScenarioKey>>, Vec<ScenarioKey>) {
    let mut groups: BTreeMap<String, Vec<ScenarioKey>> = BTreeMap::new();
    for scenario in members {
        groups.entry(key(&scenario)).or_default().push(scenario);
    }
    let (large, small): (Vec<_>, Vec<_>) = groups.into_values().partition(|group| group.len() >= SMALLEST_STRATUM);
    (large, small.concat())
}

/// The number of `size` scenarios for each part. `behind` is how far each part is behind its share so far, and is updated.
fn counts(size: usize, shares: Shares, behind: &mut Shares) -> [usize; 3] {
    let quota = shares.map(|share| share * size as f64);
    // A quota that is an integer up to rounding noise is that integer.
    let mut counts = quota.map(|quota| (quota + 1e-9).floor() as usize);
    for part in Part::ALL.map(Part::index) {
        behind[part] += quota[part] - counts[part] as f64;
    }
    let left = size.saturating_sub(counts.iter().sum());
    for _ in 0..left {
        let takes = |part: &usize| shares[*part] > 0.0;
        let furthest = Part::ALL.map(Part::index).into_iter().filter(takes).max_by(|a, b| {
            // On a tie, prefer the later part, because the gate lacks evidence most often.
            behind[*a].total_cmp(&behind[*b])
        });
        let Some(part) = furthest else { break };
        counts[part] += 1;
        behind[part] -= 1.0;
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn scenario(id: &str, tags: &[&str]) -> Arc<Scenario> {
        let value = serde_json::json!({"id": id, "tags": tags, "message": "hello", "expect": {}});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn suite(tags: &[u8]) -> Suite {
        Suite::new(scenarios(tags))
    }

    fn scenarios(tags: &[u8]) -> Vec<Arc<Scenario>> {
        let names = ["search", "ticket", "escalation", "refund"];
        let of = |bits: u8| -> Vec<&str> {
            names.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, name)| *name).collect()
        };
        tags.iter().enumerate().map(|(index, bits)| scenario(&format!("s{index:04}"), &of(*bits))).collect()
    }

    fn shares() -> impl Strategy<Value = Shares> {
        (0.0..1.0f64, 0.0..1.0f64).prop_map(|(a, b)| {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            [low, high - low, 1.0 - high]
        })
    }

    proptest! {
        #[test]
        fn the_parts_cover_the_suite_and_share_nothing(
            tags in prop::collection::vec(0u8..16, 0..200), shares in shares(), seed: u64,
        ) {
            let suite = suite(&tags);
            let SplitPlan { train, regression, held_out } = divide(&suite, shares, seed);
            let all: Vec<ScenarioKey> = [train, regression, held_out].concat();
            let distinct: BTreeSet<&ScenarioKey> = all.iter().collect();
            prop_assert_eq!(all.len(), suite.len());
            prop_assert_eq!(distinct.len(), suite.len());
        }

        #[test]
        fn the_totals_match_the_shares(
            tags in prop::collection::vec(0u8..16, 0..300), shares in shares(), seed: u64,
        ) {
            let suite = suite(&tags);
            let split = divide(&suite, shares, seed);
            let sizes = [split.train.len(), split.regression.len(), split.held_out.len()];
            for (size, share) in sizes.into_iter().zip(shares) {
                let wanted = share * suite.len() as f64;
                prop_assert!((size as f64 - wanted).abs() < 2.0, "{} for {}", size, wanted);
            }
        }

        #[test]
        fn the_division_is_the_same_every_time_and_another_with_another_seed(seed: u64) {
            let suite = suite(&[1; 100]);
            let shares = [0.4, 0.2, 0.4];
            prop_assert_eq!(divide(&suite, shares, seed), divide(&suite, shares, seed));
            prop_assert_ne!(divide(&suite, shares, seed), divide(&suite, shares, seed ^ 1));
        }
    }

    /// Which scenario is held out is recorded in reports and in what a gate has seen: it must not move with a release.
    #[test]
    fn the_parts_are_those_of_earlier_releases() {
        let mut suite = scenarios(&(0..60).map(|index| [0, 1, 3, 4, 12][index % 5]).collect::<Vec<u8>>());
        suite.push(scenario("t", &["split:test"]));
        let suite = Suite::new(suite);
        let parts = [0, 7].map(|seed| {
            let SplitPlan { train, regression, held_out } = divide(&suite, [0.45, 0.1, 0.45], seed);
            let ids = |part: Vec<ScenarioKey>| part.iter().map(|scenario| scenario.id.clone()).collect::<Vec<_>>();
            let parts = [train, regression, held_out].map(ids);
            (parts.each_ref().map(Vec::len), ContentHash::of_json(&parts).short())
        });
        assert_eq!(parts, [([27, 6, 28], "9dfd855b1251".to_owned()), ([27, 6, 28], "3a01a6e4df1f".to_owned())]);
    }

    #[test]
    fn every_tag_is_in_every_part() {
        let tags: Vec<u8> = (0..80).map(|index| 1 << (index % 4)).collect();
        let suite = suite(&tags);
        let split = divide(&suite, [0.4, 0.2, 0.4], 7);
        for (part, expected) in [(&split.train, 8), (&split.regression, 4), (&split.held_out, 8)] {
            for tag in ["search", "ticket", "escalation", "refund"] {
                let count = part.iter().filter(|scenario| scenario.tags == [tag]).count();
                assert_eq!(count, expected, "{tag}");
            }
        }
    }

    #[test]
    fn a_new_scenario_moves_at_most_two_others_of_another_stratum() {
        let before = scenarios(&[[1; 40], [2; 40]].concat());
        let after = [before.clone(), vec![scenario("z", &["search"])]].concat();
        let has = |part: &[ScenarioKey], of: &Scenario| part.iter().any(|scenario| scenario.id == of.id);
        let part_of = |split: &SplitPlan, of: &Scenario| (has(&split.train, of), has(&split.held_out, of));
        let divided = |scenarios: &[_]| divide(&Suite::new(scenarios.to_vec()), [0.45, 0.1, 0.45], 3);
        let (one, two) = (divided(&before), divided(&after));
        let moved = before[40..].iter().filter(|scenario| part_of(&one, scenario) != part_of(&two, scenario)).count();
        assert!(moved <= 2, "{moved}");
    }

    #[test]
    fn a_tag_assigns_a_scenario_to_a_part() {
        let mut suite = scenarios(&[1; 20]);
        suite.push(scenario("u", &["split:test"]));
        suite.push(scenario("v", &["split:train", "search"]));
        suite.push(scenario("w", &["split:regression"]));
        let suite = Suite::new(suite);
        let split = divide(&suite, [0.0, 0.0, 1.0], 0);
        let key = |id: &str| suite.key(&id.into()).unwrap();
        assert_eq!((split.train, split.regression), (vec![key("v")], vec![key("w")]));
        assert_eq!(split.held_out, suite.keys().take(21).collect::<Vec<_>>());
    }
}
