//! Human-readable durations.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::fmt::friendly::{Spacing, SpanPrinter};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The form of a duration in the cluster, which has the same meaning here, in CEL and in Go. It is a subset of what
/// [`HumanDuration`] parses, and includes everything that it writes, to the millisecond.
pub const IN_CLUSTER: &str = "^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?([0-9]{1,6}ms)?$";

/// The beginning of every duration in any form.
pub const WRITTEN: &str = "^(P|[0-9])";

/// A duration that is not negative, written as `200ms`, `30s`, `1h 30m` or `PT30S`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX);
        // `1h30m` rather than `1h 30m`, which is not a duration in CEL and Go.
        let printer = SpanPrinter::new().spacing(Spacing::None);
        f.write_str(&printer.duration_to_string(&signed))
    }
}

impl std::str::FromStr for HumanDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let signed: SignedDuration =
            text.parse().map_err(|_| format!("{text:?} is not a duration; write it like 200ms, 30s or 1h 30m"))?;
        Duration::try_from(signed).map(Self).map_err(|_| format!("{text:?} is negative; write a positive duration"))
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for HumanDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 2,
            "maxLength": 64,
            "pattern": WRITTEN,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [("200ms", 200), ("30s", 30_000), ("1h 30m", 5_400_000), ("PT2S", 2_000)] {
            assert_eq!(text.parse(), Ok(HumanDuration(Duration::from_millis(millis))), "{text}");
        }
        assert!("soon".parse::<HumanDuration>().is_err());
        assert!("-3s".parse::<HumanDuration>().unwrap_err().contains("negative"));
    }
}
