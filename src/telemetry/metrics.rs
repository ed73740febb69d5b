//! Metrics in the text format of Prometheus and OpenMetrics, named as the Prometheus and Kubernetes projects name theirs.
//!
//! Labels are bounded: the series of an object are removed with it, models are those of its spec, and all other values are enums.
//! Amounts and tokens are counted where they are recorded, in the ledger, so the metrics agree with it.

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
use whetstone_domain::call::Phase;
use whetstone_domain::ids::ObjectKey;
use whetstone_engine::ports::LedgerEntry;

type Cost = Counter<f64, AtomicU64>;

/// The metrics of the operator.
pub(crate) struct Metrics {
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
    known: Mutex<HashMap<ObjectKey, Known>>,
}

/// The series of one object, so that they can be removed with it.
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
    /// Creates the metrics, all zero.
    #[must_use]
    pub(crate) fn new() -> Self {
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
        registry.register("cycles", "Ended cycles, by kind and verdict", self.cycles.clone());
        registry.register_with_unit("cycle_duration", "Duration of cycles", Unit::Seconds, self.cycle_duration.clone());
        registry.register_with_unit(
            "phase_duration",
            "Duration of the phases of the loop",
            Unit::Seconds,
            self.phase_duration.clone(),
        );
        registry.register("model_calls", "Paid calls", self.calls.clone());
        registry.register("ledger_answers", "Calls answered from the ledger", self.ledger_answers.clone());
        registry.register(
            "model_tokens",
            "Tokens of paid calls: input (without cached), cached, output",
            self.tokens.clone(),
        );
        registry.register("cost", "Cost of paid calls, in the currency of the label", self.cost.clone());
        registry.register("promotions", "Versions that became champion, by origin", self.promotions.clone());
        registry.register("rollbacks", "Versions that were rolled back", self.rollbacks.clone());
        registry.register("cycles_running", "Running cycles", self.running.clone());
        registry.register("cycles_queued", "Queued cycles", self.queued.clone());
        registry.register(
            "cycles_parked",
            "Cycles that do not count as running because all their calls wait for their providers",
            self.parked.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "Duration of the reconciliation of one object",
            Unit::Seconds,
            self.reconcile_duration.clone(),
        );
        registry.register("reconcile_errors", "Failed reconciliations, by category", self.reconcile_errors.clone());
        registry.register("leader", "1 if this replica holds the Lease", self.leader.clone());
        registry.register("optimizations", "AgentOptimizations by phase", self.optimizations.clone());
        registry.register(
            "blind_signals",
            "Live signals of the watched version whose last reading has no evidence",
            self.blind_signals.clone(),
        );
        registry.register(
            "cycles_waiting",
            "1 for an AgentOptimization whose cycle has failed and will be retried",
            self.waiting.clone(),
        );
        registry.register(
            "store_lost",
            "1 for a namespace whose store was deleted or replaced while it was open; no calls are made there",
            self.lost_stores.clone(),
        );
        registry.register(
            "not_ready",
            "1 for an AgentOptimization that is not ready, by reason",
            self.not_ready.clone(),
        );
    }

    /// All metrics as text.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let mut written = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut written, &self.registry);
        written
    }

    /// Whether this replica holds the Lease.
    pub(crate) fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Records the end of a cycle.
    pub(crate) fn cycle_ended(&self, kind: &str, outcome: &str, took: Duration) {
        let labels = CycleLabels { kind: kind.to_owned(), outcome: outcome.to_owned() };
        self.cycles.get_or_create(&labels).inc();
        self.cycle_duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Records a failed attempt of a cycle that will be retried, without its duration.
    pub(crate) fn cycle_failed(&self, kind: &str) {
        let labels = CycleLabels { kind: kind.to_owned(), outcome: "Failed".to_owned() };
        self.cycles.get_or_create(&labels).inc();
    }

    /// Records the end of a phase.
    pub(crate) fn phase_ended(&self, phase: Phase, took: Duration) {
        let labels = PhaseLabels { phase: phase.as_str().to_owned() };
        self.phase_duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Records the end of a reconciliation, with the category of its error if it failed.
    pub(crate) fn reconciled(&self, took: Duration, failed: Option<&str>) {
        self.reconcile_duration.observe(took.as_secs_f64());
        if let Some(category) = failed {
            self.reconcile_errors.get_or_create(&CategoryLabels { category: category.to_owned() }).inc();
        }
    }

    /// Records a promotion.
    pub(crate) fn promoted(&self, owner: &ObjectKey, origin: &str) {
        self.known(owner, |known| known.origins.insert(origin.to_owned()));
        self.promotions.get_or_create(&promotion(owner, origin)).inc();
    }

    /// Records a rollback.
    pub(crate) fn rolled_back(&self, owner: &ObjectKey, reason: &str) {
        self.known(owner, |known| known.reasons.insert(reason.to_owned()));
        self.rollbacks.get_or_create(&because(owner, reason)).inc();
    }

    /// Sets the phase of an object.
    pub(crate) fn set_phase(&self, owner: &ObjectKey, phase: &str) {
        let before = self.known(owner, |known| known.phase.replace(phase.to_owned()));
        if before.as_deref() == Some(phase) {
            return;
        }
        if let Some(before) = before {
            self.optimizations.get_or_create(&PhaseLabels { phase: before }).dec();
        }
        self.optimizations.get_or_create(&PhaseLabels { phase: phase.to_owned() }).inc();
    }

    /// Sets the reason why an object is not ready; `None` if it is.
    pub(crate) fn set_not_ready(&self, owner: &ObjectKey, reason: Option<&str>) {
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

    /// Sets whether the cycle of an object has failed and will be retried.
    pub(crate) fn set_waiting(&self, owner: &ObjectKey, waits: bool) {
        if waits {
            self.known(owner, |_| ());
            self.waiting.get_or_create(&of(owner)).set(1);
        } else {
            self.waiting.remove(&of(owner));
        }
    }

    /// Sets whether the file of a namespace's store was deleted or replaced while it was open.
    pub(crate) fn set_store_lost(&self, namespace: &str, is_lost: bool) {
        let labels = NamespaceLabels { namespace: namespace.to_owned() };
        self.lost_stores.get_or_create(&labels).set(i64::from(is_lost));
    }

    /// Removes the state of all objects, because this replica no longer reconciles them and another one reports it.
    pub(crate) fn rest(&self) {
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

    /// Sets the number of live signals without evidence at their last reading; `None` if no version is watched.
    pub(crate) fn set_blind_signals(&self, owner: &ObjectKey, blind: Option<usize>) {
        match blind {
            Some(blind) => {
                self.known(owner, |_| ());
                self.blind_signals.get_or_create(&of(owner)).set(i64::try_from(blind).unwrap_or(i64::MAX));
            }
            None => drop(self.blind_signals.remove(&of(owner))),
        }
    }

    /// Counts a cycle as queued until the returned guard is dropped.
    #[must_use]
    pub(crate) fn queued(&self) -> Counted {
        Counted::new(&self.queued)
    }

    /// Counts a cycle as running until the returned guard is dropped.
    #[must_use]
    pub(crate) fn running(&self) -> Counted {
        Counted::new(&self.running)
    }

    /// Counts a cycle as parked until the returned guard is dropped.
    #[must_use]
    pub(crate) fn parked(&self) -> Counted {
        Counted::new(&self.parked)
    }

    /// Removes the series of a deleted object.
    pub(crate) fn forget(&self, owner: &ObjectKey) {
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

    /// Records an answer from the ledger.
    pub(super) fn answered_by_ledger(&self, owner: &ObjectKey) {
        self.ledger_answers.get_or_create(&of(owner)).inc();
    }

    /// Records a paid call.
    pub(super) fn paid(&self, owner: &ObjectKey, currency: &str, entry: &LedgerEntry) {
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

    fn known<T>(&self, owner: &ObjectKey, change: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(known.entry(owner.clone()).or_default())
    }
}

/// A guard that counts while it is alive.
pub(crate) struct Counted(Gauge);

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
        let owner = ObjectKey::new("shop", "support");
        metrics.calls.get_or_create(&call(&owner, "a\"} 0\nwhetstone_leader 7\n#\\")).inc();
        let text = metrics.text();
        assert!(text.contains(r#"model="a\"} 0\nwhetstone_leader 7\n#\\"} 1"#), "{text}");
        assert!(!text.lines().any(|line| line == "whetstone_leader 7"), "{text}");
    }

    #[test]
    fn the_series_of_an_object_go_with_it() {
        let metrics = Metrics::new();
        let owner = ObjectKey::new("shop", "support");
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
