//! Tokens and money, in exact decimal arithmetic.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// The tokens of one call, as the provider counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Input tokens in all, the cached ones included.
    pub input: u64,
    /// Those input tokens that the provider served from its prompt cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached_input: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            input: self.input + other.input,
            cached_input: self.cached_input + other.cached_input,
            output: self.output + other.output,
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// The error of a call that was not made because the budget does not allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the budget of {budget} does not allow another call: {spent} had been spent, and the call could cost up to {worst} \
     (parameters.maxOutputTokens limits it)"
)]
pub struct BudgetExhausted {
    /// The budget of the cycle.
    pub budget: Money,
    /// What the cycle has spent.
    pub spent: Money,
    /// What the call could have cost.
    pub worst: Money,
}

/// An amount of money in the currency of the resource. Exact: no binary fractions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(#[serde(with = "rust_decimal::serde::str")] Decimal);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// The amount minus another one, at least 0.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self::from((self.0 - other.0).max(Decimal::ZERO))
    }

    /// The amount as a decimal number.
    #[must_use]
    pub fn amount(self) -> Decimal {
        self.0
    }
}

impl From<Decimal> for Money {
    fn from(amount: Decimal) -> Self {
        Self(amount.normalize())
    }
}

impl std::str::FromStr for Money {
    type Err = rust_decimal::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<Decimal>().map(Self::from)
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::from(self.0 + other.0)
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a model costs, per token, in the currency of the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Price {
    /// One input token that was not cached.
    pub input: Decimal,
    /// One input token that the provider read from its cache.
    pub cached_input: Decimal,
    /// One output token.
    pub output: Decimal,
}

impl Price {
    /// The cost of a call with this usage.
    #[must_use]
    pub fn of(&self, usage: Usage) -> Money {
        let cached = usage.cached_input.min(usage.input);
        let fresh = usage.input - cached;
        Money::from(
            self.input * Decimal::from(fresh)
                + self.cached_input * Decimal::from(cached)
                + self.output * Decimal::from(usage.output),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_are_charged_at_their_own_price() {
        let price = Price {
            input: "0.000003".parse().unwrap(),
            cached_input: "0.0000003".parse().unwrap(),
            output: "0.000015".parse().unwrap(),
        };
        let usage = Usage { input: 1_000, cached_input: 900, output: 100 };
        assert_eq!(price.of(usage).to_string(), "0.00207");
    }

    #[test]
    fn ten_million_small_amounts_add_up_to_the_cent() {
        let tiny = Money::from("0.0000001".parse::<Decimal>().unwrap());
        let total: Money = std::iter::repeat_n(tiny, 10_000_000).sum();
        assert_eq!(total.to_string(), "1");
    }
}
