//! Suites: scenarios that are used together. A cycle may measure several, such as that of the spec and one that an earlier
//! cycle has grown; a key identifies a scenario and its suite, whatever its position in a list.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::hash::ContentHash;
use super::ids::ScenarioId;
use super::scenario::Scenario;

/// Scenarios that are used together, sorted by id. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Suite {
    identity: ContentHash,
    scenarios: Arc<[Arc<Scenario>]>,
}

impl Suite {
    /// A suite of scenarios in any order. Their ids must be unique.
    #[must_use]
    pub fn new(mut scenarios: Vec<Arc<Scenario>>) -> Self {
        scenarios.sort_by(|a, b| a.id.cmp(&b.id));
        Self { identity: ContentHash::of_json(&scenarios), scenarios: scenarios.into() }
    }

    /// The hash of its content, different for suites with other scenarios.
    #[must_use]
    pub fn identity(&self) -> ContentHash {
        self.identity
    }

    /// Its scenarios, sorted by id.
    #[must_use]
    pub fn scenarios(&self) -> &[Arc<Scenario>] {
        &self.scenarios
    }

    /// The number of its scenarios.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scenarios.len()
    }

    /// Whether it has no scenarios.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scenarios.is_empty()
    }

    /// The keys of all of its scenarios, sorted.
    pub fn keys(&self) -> impl Iterator<Item = ScenarioKey> {
        self.scenarios.iter().map(|scenario| self.key_of(scenario))
    }

    /// The key of the scenario with this id, if it has one.
    #[must_use]
    pub fn key(&self, id: &ScenarioId) -> Option<ScenarioKey> {
        Some(self.key_of(&self.scenarios[self.position(id)?]))
    }

    /// The scenario with this id, if it has one.
    #[must_use]
    pub fn get(&self, id: &ScenarioId) -> Option<&Arc<Scenario>> {
        Some(&self.scenarios[self.position(id)?])
    }

    /// The position of the scenario with this id: only for formats that record positions.
    #[must_use]
    pub fn position(&self, id: &ScenarioId) -> Option<usize> {
        self.scenarios.binary_search_by(|scenario| scenario.id.cmp(id)).ok()
    }

    fn key_of(&self, scenario: &Arc<Scenario>) -> ScenarioKey {
        ScenarioKey { suite: self.identity, scenario: Arc::clone(scenario) }
    }
}

impl Serialize for Suite {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.scenarios.iter())
    }
}

/// Identifies a scenario and its suite: the suite's identity and the scenario's id. It gives access to the scenario, so
/// code that has a key does not need the suite. The keys of a suite are sorted like its scenarios.
#[derive(Clone)]
pub struct ScenarioKey {
    suite: ContentHash,
    scenario: Arc<Scenario>,
}

impl ScenarioKey {
    /// The identity of the suite.
    #[must_use]
    pub fn suite(&self) -> ContentHash {
        self.suite
    }

    /// The scenario.
    #[must_use]
    pub fn scenario(&self) -> &Arc<Scenario> {
        &self.scenario
    }
}

impl Deref for ScenarioKey {
    type Target = Scenario;

    fn deref(&self) -> &Scenario {
        &self.scenario
    }
}

impl PartialEq for ScenarioKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ScenarioKey {}

impl PartialOrd for ScenarioKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ScenarioKey {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.suite, &self.scenario.id).cmp(&(&other.suite, &other.scenario.id))
    }
}

impl Hash for ScenarioKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.suite, &self.scenario.id).hash(state);
    }
}

impl fmt::Debug for ScenarioKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.suite.short(), self.scenario.id)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn suite(scenarios: &[(&str, &str)]) -> Suite {
        let scenario = |(id, message): &(&str, &str)| {
            Arc::new(serde_json::from_value(json!({"id": id, "message": message, "expect": {}})).unwrap())
        };
        Suite::new(scenarios.iter().map(scenario).collect())
    }

    #[test]
    fn a_key_is_the_same_wherever_its_scenario_stands_and_another_in_another_suite() {
        let one = suite(&[("a", "hello"), ("b", "hello")]);
        let shuffled = suite(&[("b", "hello"), ("a", "hello")]);
        assert_eq!(one.key(&"b".into()), shuffled.key(&"b".into()));
        assert!(one.keys().is_sorted() && one.keys().eq(shuffled.keys()));
        let grown = suite(&[("a", "hello"), ("b", "what now?")]);
        assert_ne!(one.identity(), grown.identity());
        assert_ne!(one.key(&"a".into()), grown.key(&"a".into()), "its suite is another");
        assert_eq!(one.key(&"c".into()), None);
    }

    #[test]
    fn a_suite_is_written_as_the_list_of_its_scenarios() {
        let suite = suite(&[("b", "two"), ("a", "one")]);
        assert_eq!(
            serde_json::to_value(&suite).unwrap(),
            json!([{"id": "a", "message": "one", "expect": {}}, {"id": "b", "message": "two", "expect": {}}])
        );
    }
}
