//! `spec.scenarios` and `spec.split`: the sources of scenarios, and the parts of the suite.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{defaults, patterns, rules};
use whetstone_domain::scenario::Scenario;

/// A source of scenarios. Set exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::not_in_the_cluster("file", "put the content of the file into a ConfigMap and use configMapRef"),
    validation = rules::demands(
        "[has(self.configMapRef), has(self.file), has(self.inline) && size(self.inline) > 0].exists_one(given, given)",
        "give exactly one of configMapRef, inline"
    )
)]
pub struct ScenarioSource {
    /// A ConfigMap in the same namespace; every key that ends in `.yaml`, `.yml`, `.json` or `.jsonl` is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapRef>,
    /// A file, or a directory whose `.yaml`, `.yml`, `.json` and `.jsonl` files are read, relative to the resource
    /// file. Only the command line supports it; the API server rejects it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Scenarios, inline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub inline: Vec<Scenario>,
}

/// A ConfigMap in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct ConfigMapRef {
    /// The name of the ConfigMap.
    #[schemars(length(min = 1, max = 253), regex(pattern = patterns::OBJECT_NAME))]
    pub name: String,
}

/// How scenarios are split. Scenarios with the same tags are split in the same proportions. The split depends only on
/// ids, tags, shares and seed, so that nearly every scenario stays in its part when others are added or removed. The
/// tag `split:train`, `split:regression` or `split:held-out` puts a scenario into a part, whatever the shares. Shares
/// that are not set divide the remainder in the proportions of the profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::demands(
        "(has(self.train) ? self.train : 0.0) + (has(self.regression) ? self.regression : 0.0) + (has(self.heldOut) ? self.heldOut : 0.0) <= 1.000000001",
        "the shares must not add up to more than 1: lower train, regression or heldOut"
    ),
    validation = rules::demands(
        "!(has(self.train) && has(self.regression) && has(self.heldOut)) || self.train + self.regression + self.heldOut >= 0.999999999",
        "train, regression and heldOut must add up to 1: raise one, or remove one to give it the remainder"
    )
)]
pub struct Split {
    /// The seed of the split, and of everything else that is drawn at random in a cycle. Defaults to 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::SPLIT_SEED))]
    pub seed: Option<u64>,
    /// The fraction of scenarios, 0 to 1, whose failures the optimizer learns from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub train: Option<f64>,
    /// The fraction of scenarios, 0 to 1, on which a candidate must not be worse, in addition to the training part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub regression: Option<f64>,
    /// The fraction of scenarios, 0 to 1, that the optimizer never sees and on which the gate decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub held_out: Option<f64>,
}
