//! The defaults of the fields of the resource: constants, and those that depend on the [`Profile`]. That of a field with a
//! fixed set of values is the variant marked `#[default]`; the built-in dimensions are in `resolve/scoring.rs`.
//!
//! [`resolve`](super::resolve) alone applies them; the schemas of the fields show the constants.

use std::time::Duration;

use whetstone_domain::duration::HumanDuration;
use whetstone_domain::plan::Profile;
use whetstone_domain::plan::promotion::{Approval, RequireSignificance, Test};

/// `spec.split.seed`
pub(super) const SPLIT_SEED: u64 = 0;
/// `spec.watch.window`
pub(super) const WATCH_WINDOW: HumanDuration = HumanDuration(Duration::from_hours(1));
/// `spec.watch.interval`
pub(super) const WATCH_INTERVAL: HumanDuration = HumanDuration(Duration::from_secs(30));
/// `spec.watch.breaches`
pub(super) const WATCH_BREACHES: u32 = 3;
/// `spec.watch.prometheus.timeout`; the interval if that is shorter.
pub(super) const PROMETHEUS_TIMEOUT: HumanDuration = HumanDuration(Duration::from_secs(5));
/// `spec.watch.reevaluation.maxDrop`
pub(super) const MAX_DROP: f64 = 0.05;
/// `spec.models[].limits.timeout`
pub(super) const CALL_TIMEOUT: HumanDuration = HumanDuration(Duration::from_mins(1));
/// `spec.models[].limits.attempts`
pub(super) const CALL_ATTEMPTS: u32 = 6;
/// `spec.models[].openAI.seed`
pub(super) const SEED: bool = true;
/// `spec.budget.currency`
pub(super) const CURRENCY: &str = "USD";
/// `spec.schedule.timeZone`
pub(super) const TIME_ZONE: &str = "UTC";

/// The defaults of a profile. `docs/profiles.md` has them as a table.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::api) struct Defaults {
    /// `spec.agent.runtime.model.maxTurns`
    pub max_turns: u32,
    /// `spec.split.train`
    pub train: f64,
    /// `spec.split.regression`
    pub regression: f64,
    /// `spec.split.heldOut`
    pub held_out: f64,
    /// `spec.execution.repeats`
    pub repeats: u32,
    /// `spec.execution.concurrency`
    pub concurrency: u32,
    /// `spec.execution.scenarioTimeout`
    pub scenario_timeout: Duration,
    /// `spec.execution.errorTolerance`
    pub error_tolerance: f64,
    /// `spec.scoring.dimensions[].passAt`
    pub pass_at: f64,
    /// `spec.scoring.dimensions[].critical`
    pub critical: bool,
    /// `spec.clustering.maxClusters`
    pub max_clusters: u32,
    /// `spec.patching.maxPromptTokens`
    pub max_prompt_tokens: u32,
    /// `spec.patching.candidatesPerCluster`
    pub candidates_per_cluster: u32,
    /// `spec.patching.rounds`
    pub rounds: u32,
    /// `spec.validation.scenarios` is `FullSuite`.
    pub full_suite: bool,
    /// `spec.validation.sentinels`
    pub sentinels: u32,
    /// `spec.validation.complexityThreshold`
    pub complexity_threshold: f64,
    /// `spec.promotion.gate.test`
    pub test: Test,
    /// `spec.promotion.gate.significanceLevel`
    pub significance_level: f64,
    /// `spec.promotion.gate.regressionTolerance`
    pub regression_tolerance: f64,
    /// `spec.promotion.gate.requireSignificance`
    pub require_significance: RequireSignificance,
    /// `spec.promotion.gate.minimumScore`
    pub minimum_score: f64,
    /// `spec.promotion.gate.minimumSampleSize`
    pub minimum_sample_size: u32,
    /// `spec.promotion.gate.shadowSampleSize`
    pub shadow_sample_size: u32,
    /// `spec.promotion.approval`
    pub approval: Approval,
    /// `spec.promotion.maxVersionsRetained`
    pub max_versions_retained: u32,
}

impl Defaults {
    /// The defaults of a profile. The other profiles are defined by their differences from `Production`.
    pub(super) fn of(profile: Profile) -> Self {
        let production = Self {
            max_turns: 10,
            train: 0.4,
            regression: 0.2,
            held_out: 0.4,
            repeats: 3,
            concurrency: 64,
            scenario_timeout: Duration::from_mins(5),
            error_tolerance: 0.05,
            pass_at: 0.7,
            critical: false,
            max_clusters: 12,
            max_prompt_tokens: 8192,
            candidates_per_cluster: 3,
            rounds: 2,
            full_suite: false,
            sentinels: 20,
            complexity_threshold: 0.3,
            // Scores are bounded, discrete and mostly equal on both sides, so the differences are far from normal; the
            // sign-flip test keeps its level anyway.
            test: Test::Permutation,
            significance_level: 0.05,
            regression_tolerance: 0.02,
            require_significance: RequireSignificance::Aggregate,
            minimum_score: 0.0,
            minimum_sample_size: 20,
            shadow_sample_size: 500,
            approval: Approval::Automatic,
            max_versions_retained: 10,
        };
        match profile {
            Profile::Production => production,
            // A laptop, a local model, a suite of a few dozen scenarios: quick answers, and a gate that can be reached.
            Profile::Prototype => Self {
                repeats: 1,
                concurrency: 16,
                error_tolerance: 0.1,
                max_clusters: 6,
                candidates_per_cluster: 2,
                sentinels: 10,
                regression_tolerance: 0.05,
                minimum_sample_size: 10,
                shadow_sample_size: 100,
                ..production
            },
            // Conversations between agents are longer, slower and vary more.
            Profile::MultiAgent => {
                Self { max_turns: 30, repeats: 5, scenario_timeout: Duration::from_mins(15), ..production }
            }
            // At the same cost, more scenarios are more informative than more repeats.
            Profile::Budget => Self {
                repeats: 1,
                max_clusters: 6,
                candidates_per_cluster: 1,
                sentinels: 10,
                shadow_sample_size: 150,
                ..production
            },
            Profile::Compliance => Self {
                repeats: 5,
                error_tolerance: 0.01,
                held_out: 0.5,
                train: 0.3,
                critical: true,
                full_suite: true,
                sentinels: 50,
                // Not `EveryDimension`: a dimension that is perfect already cannot improve, so nothing would ever be promoted.
                // Making every dimension critical is the stricter guarantee.
                significance_level: 0.01,
                minimum_sample_size: 50,
                approval: Approval::Manual,
                max_versions_retained: 100,
                ..production
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whetstone_domain::duration::HumanDuration;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/profiles.md");

    fn rows(defaults: &Defaults) -> Vec<(&'static str, String)> {
        // Naming every field makes a new one without a row a compile error.
        let Defaults {
            max_turns,
            train,
            regression,
            held_out,
            repeats,
            concurrency,
            scenario_timeout,
            error_tolerance,
            pass_at,
            critical,
            max_clusters,
            max_prompt_tokens,
            candidates_per_cluster,
            rounds,
            full_suite,
            sentinels,
            complexity_threshold,
            test,
            significance_level,
            regression_tolerance,
            require_significance,
            minimum_score,
            minimum_sample_size,
            shadow_sample_size,
            approval,
            max_versions_retained,
        } = defaults.clone();
        let test = serde_json::to_value(test).unwrap();
        vec![
            ("agent.runtime.model.maxTurns", max_turns.to_string()),
            ("split.train", train.to_string()),
            ("split.regression", regression.to_string()),
            ("split.heldOut", held_out.to_string()),
            ("execution.repeats", repeats.to_string()),
            ("execution.concurrency", concurrency.to_string()),
            ("execution.scenarioTimeout", HumanDuration(scenario_timeout).to_string()),
            ("execution.errorTolerance", error_tolerance.to_string()),
            ("scoring.dimensions[].passAt", pass_at.to_string()),
            ("scoring.dimensions[].critical", critical.to_string()),
            ("clustering.maxClusters", max_clusters.to_string()),
            ("patching.maxPromptTokens", max_prompt_tokens.to_string()),
            ("patching.candidatesPerCluster", candidates_per_cluster.to_string()),
            ("patching.rounds", rounds.to_string()),
            ("validation.scenarios", if full_suite { "FullSuite" } else { "FailingOnly" }.to_owned()),
            ("validation.sentinels", sentinels.to_string()),
            ("validation.complexityThreshold", complexity_threshold.to_string()),
            ("promotion.gate.test", test.as_str().unwrap().to_owned()),
            ("promotion.gate.significanceLevel", significance_level.to_string()),
            ("promotion.gate.regressionTolerance", regression_tolerance.to_string()),
            ("promotion.gate.requireSignificance", format!("{require_significance:?}")),
            ("promotion.gate.minimumScore", minimum_score.to_string()),
            ("promotion.gate.minimumSampleSize", minimum_sample_size.to_string()),
            ("promotion.gate.shadowSampleSize", shadow_sample_size.to_string()),
            ("promotion.approval", format!("{approval:?}")),
            ("promotion.maxVersionsRetained", max_versions_retained.to_string()),
        ]
    }

    fn table() -> String {
        let columns: Vec<_> = Profile::ALL.map(|profile| rows(&Defaults::of(profile))).into();
        let mut lines = vec![
            format!("| field of `spec` | {} |", Profile::ALL.map(|profile| format!("`{profile:?}`")).join(" | ")),
            format!("|---|{}", "---|".repeat(Profile::ALL.len())),
        ];
        for (row, (field, _)) in columns[0].iter().enumerate() {
            let cells: Vec<&str> = columns.iter().map(|column| column[row].1.as_str()).collect();
            lines.push(format!("| {field} | {} |", cells.join(" | ")));
        }
        lines.join("\n")
    }

    #[test]
    fn the_page_about_profiles_says_what_the_profiles_set() {
        let page = std::fs::read_to_string(PAGE).unwrap();
        assert!(page.contains(&table()), "put this table into docs/profiles.md:\n{}", table());
    }

    #[test]
    fn the_shares_of_every_profile_add_up_to_one() {
        for profile in Profile::ALL {
            let Defaults { train, regression, held_out, .. } = Defaults::of(profile);
            assert!((train + regression + held_out - 1.0).abs() < 1e-9, "{profile:?}");
        }
    }
}
