//! Metrics in the text format of Prometheus and OpenMetrics, named as the Prometheus and Kubernetes projects name theirs.
//!
//! Labels are bounded: an object's series go when the object goes, models are those of its spec, everything else is an
//! enumeration of ours. Amounts and tokens are counted where they are recorded, in the ledger, so the metrics add up to it.

mod labels;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use rust_decimal::prelude::ToPrimitive as _;

use self::labels::{
    CallLabels, CategoryLabels, CostLabels, CycleLabels, NamespaceLabels, OwnerLabels, PhaseLabels, PromotionLabels,
    ReasonLabels, TokenLabels, because, call, cost, of, promotion, token,
};
use crate::domain::call::Phase;
use crate::engine::ports::LedgerEntry;

/// An AgentOptimization: its namespace and name.
pub type Owner = (String, String);

type Cost = Counter<f64, AtomicU64>;

/// The metrics of the operator.
pub struct Metrics {
    registry: Registry,
    cycles: Family<CycleLabels, Counter>,
    cycle_duration: Family<CycleLabels, Histogram>,
    phase_duration: Family<PhaseLabels, Histogram>,
    calls: Family<CallLabels, Counter>,
    ledger_answers: Family<OwnerLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    cost: Family<CostLabels, Cost>,
    promotions: Family<PromotionLabels, Counter>,
    rollbacks: Family<ReasonLabels, Counter>,
    running: Gauge,
    queued: Gauge,
    parked: Gauge,
    reconcile_duration: Histogram,
    reconcile_errors: Family<CategoryLabels, Counter>,
    leader: Gauge,
    optimizations: Family<PhaseLabels, Gauge>,
    blind_signals: Family<OwnerLabels, Gauge>,
    not_ready: Family<ReasonLabels, Gauge>,
    waiting: Family<OwnerLabels, Gauge>,
    lost_stores: Family<NamespaceLabels, Gauge>,
    known: Mutex<HashMap<Owner, Known>>,
}

/// The series of one object, so that they can be taken away with it.
#[derive(Debug, Default)]
struct Known {
    phase: Option<String>,
    models: BTreeSet<(String, String)>,
    origins: BTreeSet<String>,
    reasons: BTreeSet<String>,
    not_ready: Option<String>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let minutes = || Histogram::new(exponential_buckets(0.5, 2.0, 14));
        let mut metrics = Self {
            registry: Registry::with_prefix("whetstone"),
            cycles: Family::default(),
            cycle_duration: Family::new_with_constructor(minutes),
            phase_duration: Family::new_with_constructor(minutes),
            calls: Family::default(),
            ledger_answers: Family::default(),
            tokens: Family::default(),
            cost: Family::default(),
            promotions: Family::default(),
            rollbacks: Family::default(),
            running: Gauge::default(),
            queued: Gauge::default(),
            parked: Gauge::default(),
            reconcile_duration: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            reconcile_errors: Family::default(),
            leader: Gauge::default(),
            optimizations: Family::default(),
            blind_signals: Family::default(),
            not_ready: Family::default(),
            waiting: Family::default(),
            lost_stores: Family::default(),
            known: Mutex::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("cycles", "Cycles that have ended, by what they did and what came out", self.cycles.clone());
        registry.register_with_unit(
            "cycle_duration",
            "How long cycles took",
            Unit::Seconds,
            self.cycle_duration.clone(),
        );
        registry.register_with_unit(
            "phase_duration",
            "How long phases of the loop took",
            Unit::Seconds,
            self.phase_duration.clone(),
        );
        registry.register("model_calls", "Paid calls", self.calls.clone());
        registry.register("ledger_answers", "Answers that were in the ledger", self.ledger_answers.clone());
        registry.register(
            "model_tokens",
            "Tokens of paid calls: input (cached aside), cached, output",
            self.tokens.clone(),
        );
        registry.register("cost", "What paid calls cost, in the currency of the label", self.cost.clone());
        registry.register("promotions", "Versions that came to serve, by how they did", self.promotions.clone());
        registry.register("rollbacks", "Versions that were taken back", self.rollbacks.clone());
        registry.register("cycles_running", "Cycles under way", self.running.clone());
        registry.register("cycles_queued", "Cycles that wait for their turn", self.queued.clone());
        registry.register(
            "cycles_parked",
            "Cycles that have given up their turn while all their calls wait for their providers",
            self.parked.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "How long reconciling one object took",
            Unit::Seconds,
            self.reconcile_duration.clone(),
        );
        registry.register("reconcile_errors", "Failed reconciles, by category", self.reconcile_errors.clone());
        registry.register("leader", "1 when this replica holds the Lease", self.leader.clone());
        registry.register("optimizations", "AgentOptimizations by phase", self.optimizations.clone());
        registry.register(
            "blind_signals",
            "Live signals of the version on trial that gave no evidence at their last reading",
            self.blind_signals.clone(),
        );
        registry.register(
            "cycles_waiting",
            "1 for an AgentOptimization whose cycle has failed and waits to be tried again",
            self.waiting.clone(),
        );
        registry.register(
            "store_lost",
            "1 for a namespace whose store was deleted or replaced while it was open; nothing is paid there",
            self.lost_stores.clone(),
        );
        registry.register("not_ready", "1 for an AgentOptimization that is not ready, and why", self.not_ready.clone());
    }

    /// All metrics as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut written = String::new();
        // Writing to a String does not fail.
        let _ = text::encode(&mut written, &self.registry);
        written
    }

    /// Whether this replica holds the Lease.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// A cycle has ended.
    pub fn cycle_ended(&self, kind: &str, outcome: &str, took: Duration) {
        let labels = CycleLabels { kind: kind.to_owned(), outcome: outcome.to_owned() };
        self.cycles.get_or_create(&labels).inc();
        self.cycle_duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A cycle has failed, and will be tried again. How long it took tells nothing.
    pub fn cycle_failed(&self, kind: &str) {
        let labels = CycleLabels { kind: kind.to_owned(), outcome: "Failed".to_owned() };
        self.cycles.get_or_create(&labels).inc();
    }

    /// A phase of a cycle has ended.
    pub fn phase_ended(&self, phase: Phase, took: Duration) {
        let labels = PhaseLabels { phase: phase.as_str().to_owned() };
        self.phase_duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A reconcile has ended, with an error of this category if it failed.
    pub fn reconciled(&self, took: Duration, failed: Option<&str>) {
        self.reconcile_duration.observe(took.as_secs_f64());
        if let Some(category) = failed {
            self.reconcile_errors.get_or_create(&CategoryLabels { category: category.to_owned() }).inc();
        }
    }

    /// A version came to serve.
    pub fn promoted(&self, owner: &Owner, origin: &str) {
        self.known(owner, |known| known.origins.insert(origin.to_owned()));
        self.promotions.get_or_create(&promotion(owner, origin)).inc();
    }

    /// A version was taken back.
    pub fn rolled_back(&self, owner: &Owner, reason: &str) {
        self.known(owner, |known| known.reasons.insert(reason.to_owned()));
        self.rollbacks.get_or_create(&because(owner, reason)).inc();
    }

    /// What goes on with an object.
    pub fn set_phase(&self, owner: &Owner, phase: &str) {
        let before = self.known(owner, |known| known.phase.replace(phase.to_owned()));
        if before.as_deref() == Some(phase) {
            return;
        }
        if let Some(before) = before {
            self.optimizations.get_or_create(&PhaseLabels { phase: before }).dec();
        }
        self.optimizations.get_or_create(&PhaseLabels { phase: phase.to_owned() }).inc();
    }

    /// Why an object is not ready; `None` when it is.
    pub fn set_not_ready(&self, owner: &Owner, reason: Option<&str>) {
        let before = self.known(owner, |known| std::mem::replace(&mut known.not_ready, reason.map(str::to_owned)));
        if before.as_deref() == reason {
            return;
        }
        if let Some(before) = before {
            self.not_ready.remove(&because(owner, &before));
        }
        if let Some(reason) = reason {
            self.not_ready.get_or_create(&because(owner, reason)).set(1);
        }
    }

    /// Whether the cycle of an object has failed and waits to be tried again.
    pub fn set_waiting(&self, owner: &Owner, waits: bool) {
        if waits {
            self.known(owner, |_| ());
            self.waiting.get_or_create(&of(owner)).set(1);
        } else {
            self.waiting.remove(&of(owner));
        }
    }

    /// Whether the file of a namespace's store was deleted or replaced while it was open.
    pub fn set_store_lost(&self, namespace: &str, is_lost: bool) {
        let labels = NamespaceLabels { namespace: namespace.to_owned() };
        self.lost_stores.get_or_create(&labels).set(i64::from(is_lost));
    }

    /// This replica does not look after objects any more: how they stand is another's to tell.
    pub fn rest(&self) {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (owner, known) in all.iter_mut() {
            if let Some(phase) = known.phase.take() {
                self.optimizations.get_or_create(&PhaseLabels { phase }).dec();
            }
            if let Some(reason) = known.not_ready.take() {
                self.not_ready.remove(&because(owner, &reason));
            }
            self.blind_signals.remove(&of(owner));
            self.waiting.remove(&of(owner));
        }
    }

    /// How many live signals of the version on trial gave no evidence at their last reading; `None` when none is on trial.
    pub fn set_blind_signals(&self, owner: &Owner, blind: Option<usize>) {
        match blind {
            Some(blind) => {
                self.known(owner, |_| ());
                self.blind_signals.get_or_create(&of(owner)).set(i64::try_from(blind).unwrap_or(i64::MAX));
            }
            None => drop(self.blind_signals.remove(&of(owner))),
        }
    }

    /// Counts a cycle as queued for as long as what is returned is kept.
    #[must_use]
    pub fn queued(&self) -> Counted {
        Counted::new(&self.queued)
    }

    /// Counts a cycle as running for as long as what is returned is kept.
    #[must_use]
    pub fn running(&self) -> Counted {
        Counted::new(&self.running)
    }

    /// Counts a cycle as parked for as long as what is returned is kept.
    #[must_use]
    pub fn parked(&self) -> Counted {
        Counted::new(&self.parked)
    }

    /// An object is gone, and its series with it.
    pub fn forget(&self, owner: &Owner) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(owner);
        let Some(known) = known else { return };
        if let Some(phase) = known.phase {
            self.optimizations.get_or_create(&PhaseLabels { phase }).dec();
        }
        for (model, currency) in &known.models {
            self.calls.remove(&call(owner, model));
            for kind in ["input", "cached", "output"] {
                self.tokens.remove(&token(owner, model, kind));
            }
            self.cost.remove(&cost(owner, model, currency));
        }
        self.ledger_answers.remove(&of(owner));
        self.blind_signals.remove(&of(owner));
        self.waiting.remove(&of(owner));
        for origin in &known.origins {
            self.promotions.remove(&promotion(owner, origin));
        }
        if let Some(reason) = &known.not_ready {
            self.not_ready.remove(&because(owner, reason));
        }
        for reason in &known.reasons {
            self.rollbacks.remove(&because(owner, reason));
        }
    }

    /// An answer was found in the ledger.
    pub(super) fn answered_by_ledger(&self, owner: &Owner) {
        self.ledger_answers.get_or_create(&of(owner)).inc();
    }

    /// A paid call was recorded.
    pub(super) fn paid(&self, owner: &Owner, currency: &str, entry: &LedgerEntry) {
        let model = entry.model.as_str();
        self.known(owner, |known| known.models.insert((model.to_owned(), currency.to_owned())));
        self.calls.get_or_create(&call(owner, model)).inc();
        let usage = entry.answer.usage();
        let tokens = |kind, count| self.tokens.get_or_create(&token(owner, model, kind)).inc_by(count);
        tokens("input", usage.input.saturating_sub(usage.cached_input));
        tokens("cached", usage.cached_input);
        tokens("output", usage.output);
        if let Some(amount) = entry.cost.and_then(|cost| cost.amount().to_f64()) {
            self.cost.get_or_create(&cost(owner, model, currency)).inc_by(amount);
        }
    }

    fn known<T>(&self, owner: &Owner, change: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(known.entry(owner.clone()).or_default())
    }
}

/// Something that is counted while it is kept.
pub struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_tenant_has_chosen_forges_no_series() {
        let metrics = Metrics::new();
        let owner = ("shop".to_owned(), "support".to_owned());
        metrics.calls.get_or_create(&call(&owner, "a\"} 0\nwhetstone_leader 7\n#\\")).inc();
        let text = metrics.text();
        assert!(text.contains(r#"model="a\"} 0\nwhetstone_leader 7\n#\\"} 1"#), "{text}");
        assert!(!text.lines().any(|line| line == "whetstone_leader 7"), "{text}");
    }

    #[test]
    fn the_series_of_an_object_go_with_it() {
        let metrics = Metrics::new();
        let owner = ("shop".to_owned(), "support".to_owned());
        metrics.promoted(&owner, "Gate");
        metrics.rolled_back(&owner, "Breach");
        metrics.set_phase(&owner, "Idle");
        metrics.set_blind_signals(&owner, Some(2));
        metrics.set_waiting(&owner, true);
        metrics.set_not_ready(&owner, Some("TargetNotOwned"));
        metrics.set_not_ready(&owner, Some("ReferenceMissing"));
        let before = metrics.text();
        assert!(
            before
                .contains("whetstone_promotions_total{namespace=\"shop\",optimization=\"support\",origin=\"Gate\"} 1"),
            "{before}"
        );
        assert!(before.contains("whetstone_optimizations{phase=\"Idle\"} 1"), "{before}");
        assert!(before.contains("whetstone_cycles_waiting{namespace=\"shop\",optimization=\"support\"} 1"), "{before}");
        assert!(before.contains("whetstone_blind_signals{namespace=\"shop\",optimization=\"support\"} 2"), "{before}");
        assert!(
            before.contains(
                "whetstone_not_ready{namespace=\"shop\",optimization=\"support\",reason=\"ReferenceMissing\"} 1"
            ) && !before.contains("TargetNotOwned"),
            "{before}"
        );
        metrics.rest();
        let resting = metrics.text();
        assert!(
            !resting.contains("not_ready{") && !resting.contains("blind_signals{") && !resting.contains("waiting{"),
            "{resting}"
        );
        assert!(resting.contains("whetstone_optimizations{phase=\"Idle\"} 0"), "{resting}");
        metrics.forget(&owner);
        let after = metrics.text();
        assert!(!after.contains("support"), "{after}");
        assert!(after.contains("whetstone_optimizations{phase=\"Idle\"} 0"), "{after}");
    }
}
