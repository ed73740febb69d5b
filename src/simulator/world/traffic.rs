//! Live traffic: customers who write to the simulated agent in production.

use schemars::JsonSchema;
use serde::Deserialize;

use super::values::Amount;
use whetstone_domain::duration::HumanDuration;

/// Customers who write to the agent in production. Only used by `whetstone simulate --live-prompt`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Traffic {
    /// The time between two customers.
    pub every: HumanDuration,
    /// The customers, drawn at random by weight.
    #[schemars(length(min = 1))]
    pub customers: Vec<Customer>,
}

/// A customer and their message.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Customer {
    /// The topic, which is a label of the counts: lower-case letters, digits and `-`.
    #[schemars(regex(pattern = "^[a-z0-9-]+$"))]
    pub topic: String,
    /// The frequency of this customer relative to the others. Defaults to 1.
    #[serde(default = "one")]
    pub weight: Amount,
    /// The message.
    pub message: String,
}

fn one() -> Amount {
    Amount(1.0)
}

impl Traffic {
    /// Problems that involve several fields: field and message.
    pub fn contradictions(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        if self.every.0.is_zero() {
            found.push((
                "traffic.every".to_owned(),
                "the time between two customers must be positive; write it like 200ms".to_owned(),
            ));
        }
        if self.customers.iter().all(|customer| customer.weight.0 <= 0.0) {
            let message = "every customer has weight 0; give at least one a positive weight".to_owned();
            found.push(("traffic.customers".to_owned(), message));
        }
        for (index, customer) in self.customers.iter().enumerate() {
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if customer.topic.is_empty() || !customer.topic.chars().all(is_plain) {
                let message =
                    format!("{:?} is not a valid label; use lower-case letters, digits and '-'", customer.topic);
                found.push((format!("traffic.customers[{index}].topic"), message));
            }
        }
        found
    }
}
