//! Live traffic: what the customers of the simulated world write to the agent that serves them.

use schemars::JsonSchema;
use serde::Deserialize;

use super::values::Amount;
use crate::domain::duration::HumanDuration;

/// Customers who write to the agent in production. Only `whetstone simulate --live-prompt` lets them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Traffic {
    /// How often a customer writes.
    pub every: HumanDuration,
    /// What they write, at random by weight.
    #[schemars(length(min = 1))]
    pub customers: Vec<Customer>,
}

/// A customer, and what they write.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Customer {
    /// What it is about: a label of the counts, so lowercase letters, digits and `-`.
    #[schemars(regex(pattern = "^[a-z0-9-]+$"))]
    pub topic: String,
    /// How often this customer comes, in proportion to the other weights. 1 when absent.
    #[serde(default = "one")]
    pub weight: Amount,
    /// The message.
    pub message: String,
}

fn one() -> Amount {
    Amount(1.0)
}

impl Traffic {
    /// What no single field shows: field and message.
    pub fn contradictions(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        if self.every.0.is_zero() {
            found.push((
                "traffic.every".to_owned(),
                "two customers need some time between them; write it like 200ms".to_owned(),
            ));
        }
        if self.customers.iter().all(|customer| customer.weight.0 <= 0.0) {
            let message = "nobody would come; give at least one customer a weight above 0".to_owned();
            found.push(("traffic.customers".to_owned(), message));
        }
        for (index, customer) in self.customers.iter().enumerate() {
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if customer.topic.is_empty() || !customer.topic.chars().all(is_plain) {
                let message = format!("{:?} is no label; use lowercase letters, digits and '-'", customer.topic);
                found.push((format!("traffic.customers[{index}].topic"), message));
            }
        }
        found
    }
}
