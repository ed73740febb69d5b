//! The labels of the metrics.

use prometheus_client::encoding::EncodeLabelSet;

use whetstone_domain::ids::ObjectKey;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CycleLabels {
    pub(super) kind: String,
    pub(super) outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PhaseLabels {
    pub(super) phase: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CallLabels {
    pub(super) namespace: String,
    pub(super) optimization: String,
    pub(super) model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OwnerLabels {
    pub(super) namespace: String,
    pub(super) optimization: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TokenLabels {
    pub(super) namespace: String,
    pub(super) optimization: String,
    pub(super) model: String,
    pub(super) r#type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CostLabels {
    pub(super) namespace: String,
    pub(super) optimization: String,
    pub(super) model: String,
    pub(super) currency: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PromotionLabels {
    pub(super) namespace: String,
    pub(super) optimization: String,
    pub(super) origin: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) namespace: String,
    pub(super) optimization: String,
    pub(super) reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct NamespaceLabels {
    pub(super) namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CategoryLabels {
    pub(super) category: String,
}

pub(super) fn call(owner: &ObjectKey, model: &str) -> CallLabels {
    CallLabels { namespace: owner.namespace.clone(), optimization: owner.name.clone(), model: escaped(model) }
}

pub(super) fn of(owner: &ObjectKey) -> OwnerLabels {
    OwnerLabels { namespace: owner.namespace.clone(), optimization: owner.name.clone() }
}

pub(super) fn token(owner: &ObjectKey, model: &str, kind: &str) -> TokenLabels {
    TokenLabels {
        namespace: owner.namespace.clone(),
        optimization: owner.name.clone(),
        model: escaped(model),
        r#type: kind.to_owned(),
    }
}

pub(super) fn cost(owner: &ObjectKey, model: &str, currency: &str) -> CostLabels {
    CostLabels {
        namespace: owner.namespace.clone(),
        optimization: owner.name.clone(),
        model: escaped(model),
        currency: currency.to_owned(),
    }
}

pub(super) fn promotion(owner: &ObjectKey, origin: &str) -> PromotionLabels {
    PromotionLabels { namespace: owner.namespace.clone(), optimization: owner.name.clone(), origin: origin.to_owned() }
}

pub(super) fn because(owner: &ObjectKey, reason: &str) -> ReasonLabels {
    ReasonLabels { namespace: owner.namespace.clone(), optimization: owner.name.clone(), reason: reason.to_owned() }
}

/// An untrusted label value. The library does not escape values
/// (<https://prometheus.io/docs/instrumenting/exposition_formats/#comments-help-text-and-type-information>).
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}
