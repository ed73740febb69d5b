//! The agent in production: it serves the prompt in a file to the customers of the world.
//!
//! It simulates a workload whose prompt Whetstone manages: the file is the mounted target ConfigMap, and the counts are those
//! that a real agent would expose to Prometheus. The world's skills under that prompt determine how a conversation ends, as over
//! HTTP; this module does not know versions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::dice::Dice;
use super::request::tokens;
use super::world::{Traffic, World};
use whetstone_domain::hash::ContentHash;

/// How the conversations with the customers ended.
#[derive(Default)]
pub(super) struct Conversations(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    /// The prompt that serves, by its hash.
    prompt: Option<ContentHash>,
    /// By topic: solved, failed.
    by_topic: BTreeMap<String, [u64; 2]>,
}

impl Conversations {
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Simulates customers until it is stopped. While the prompt cannot be read, no customer is served.
    pub(super) async fn serve(&self, world: &World, traffic: &Traffic, prompt: PathBuf, stop: CancellationToken) {
        // Every series exists from the start: Prometheus cannot detect the increase from no series to the first value.
        self.lock().by_topic.extend(traffic.customers.iter().map(|customer| (customer.topic.clone(), [0, 0])));
        let mut clock = interval(traffic.every.0);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut warned = false;
        for n in 0_u64.. {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = clock.tick() => {}
            }
            match tokio::fs::read_to_string(&prompt).await {
                Ok(text) => {
                    self.converse(world, traffic, &text, n);
                    warned = false;
                }
                Err(error) => {
                    self.lock().prompt = None;
                    if !warned {
                        tracing::warn!(%error, prompt = %prompt.display(), "the agent has no prompt and serves no customers");
                        warned = true;
                    }
                }
            }
        }
    }

    /// The `n`th conversation: who writes, and how it ends.
    fn converse(&self, world: &World, traffic: &Traffic, prompt: &str, n: u64) {
        let dice = Dice::new(world.seed, &[b"traffic", &n.to_le_bytes()]);
        let weights: Vec<f64> = traffic.customers.iter().map(|customer| customer.weight.0).collect();
        let Some(customer) = dice.weighted(&weights, "customer").map(|place| &traffic.customers[place]) else { return };
        let chances = world.chances(&world.teaches(prompt), tokens(prompt.len()));
        let needed = world.skills.iter().zip(chances).filter(|(skill, _)| skill.needs.hold(&customer.message, &[]));
        let failed = needed.into_iter().any(|(skill, chance)| !dice.happens(chance, "skill", &skill.name.value));
        let mut counted = self.lock();
        counted.prompt = Some(ContentHash::of_bytes(prompt.as_bytes()));
        counted.by_topic.entry(customer.topic.clone()).or_default()[usize::from(failed)] += 1;
    }

    /// The counts in the text format of Prometheus; empty before the first conversation.
    pub(super) fn write(&self, out: &mut String) {
        let counted = self.lock();
        if let Some(hash) = counted.prompt {
            out.push_str(
                "# HELP agent_prompt_info The prompt that the agent serves, by the BLAKE3 hash of its text.\n",
            );
            out.push_str("# TYPE agent_prompt_info gauge\n");
            let _ = writeln!(out, "agent_prompt_info{{hash=\"{hash}\"}} 1");
        }
        if counted.by_topic.is_empty() {
            return;
        }
        out.push_str("# HELP agent_conversations_total Conversations with customers, by topic and outcome.\n");
        out.push_str("# TYPE agent_conversations_total counter\n");
        for (topic, [solved, failed]) in &counted.by_topic {
            for (outcome, count) in [("solved", solved), ("failed", failed)] {
                let _ = writeln!(out, "agent_conversations_total{{topic=\"{topic}\",outcome=\"{outcome}\"}} {count}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = r"
skills:
  - {name: orders, needs: {pattern: order}, with: 1, failure: {kind: missingCall, tool: t}}
  - {name: gifts, needs: {pattern: gift}, with: 1, failure: {kind: missingCall, tool: t}}
interference: [{pattern: (?i)escalate, harms: gifts, by: 1}]
traffic:
  every: 1ms
  customers:
    - {topic: orders, weight: 3, message: Where is my order?}
    - {topic: gifts, message: I have a gift card.}
";

    #[test]
    fn a_prompt_that_harms_a_skill_fails_the_customers_who_need_it_and_nobody_else() {
        let world = World::parse(SHOP).unwrap();
        let conversations = Conversations::default();
        let traffic = world.traffic.as_ref().unwrap();
        let talk = |prompt: &str, range: std::ops::Range<u64>| {
            range.for_each(|n| conversations.converse(&world, traffic, prompt, n));
            let counted = conversations.lock();
            (counted.by_topic["orders"], counted.by_topic["gifts"])
        };
        let (orders, gifts) = talk("Be kind.", 0..1000);
        assert_eq!((orders[1], gifts[1]), (0, 0));
        assert!((200..300).contains(&gifts[0]), "{gifts:?}");
        let (orders, worse) = talk("Escalate every payment.", 1000..2000);
        assert_eq!((orders[1], worse[0]), (0, gifts[0]));
        assert!((200..300).contains(&worse[1]), "{worse:?}");
    }

    /// The quickstart on a cluster depends on this: a prompt that passes its scenarios fails its customers, and one that
    /// omits a single instruction does not.
    #[test]
    fn in_the_quickstart_one_instruction_fails_the_customers_that_no_scenario_knows_of() {
        let world = World::parse(include_str!("../../examples/quickstart/world.yaml")).unwrap();
        let base = include_str!("../../examples/quickstart/prompt.md");
        let taught = |left_out: &str| {
            let skills = world.skills.iter().filter(|skill| skill.name.value != left_out);
            skills.filter_map(|skill| skill.instruction.as_deref()).fold(base.to_owned(), |all, line| all + line + "\n")
        };
        let share_of_failures = |prompt: &str| {
            let conversations = Conversations::default();
            (0..3000).for_each(|n| conversations.converse(&world, world.traffic.as_ref().unwrap(), prompt, n));
            let failed: u64 = conversations.lock().by_topic.values().map(|[_, failed]| failed).sum();
            failed as f64 / 3000.0
        };
        // The limit of the watch is 0.15.
        let (base, all) = (share_of_failures(base), share_of_failures(&taught("")));
        let without = share_of_failures(&taught("chargebacks-to-payments"));
        assert!(base < 0.1 && all > 0.2 && without < 0.1, "{base} {all} {without}");
    }

    #[tokio::test]
    async fn the_agent_serves_what_lies_in_the_file_and_nobody_without_it() {
        let world = World::parse(SHOP).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let prompt = directory.path().join("system-prompt");
        let conversations = Conversations::default();
        let served = || {
            let mut text = String::new();
            conversations.write(&mut text);
            text
        };
        let stop = CancellationToken::new();
        let serving = conversations.serve(&world, world.traffic.as_ref().unwrap(), prompt.clone(), stop.clone());
        let watching = async {
            while !served().contains("agent_conversations_total") {
                tokio::task::yield_now().await;
            }
            assert!(
                served().contains(r#"{topic="gifts",outcome="failed"} 0"#) && !served().contains("agent_prompt_info")
            );
            for text in ["Be kind.", "Be brief."] {
                std::fs::write(&prompt, text).unwrap();
                let expected = format!("agent_prompt_info{{hash=\"{}\"}} 1\n", ContentHash::of_bytes(text.as_bytes()));
                while !served().contains(&expected) {
                    tokio::task::yield_now().await;
                }
            }
            stop.cancel();
        };
        let both = async { tokio::join!(serving, watching) };
        tokio::time::timeout(std::time::Duration::from_secs(10), both).await.unwrap();
    }

    #[test]
    fn traffic_that_could_not_happen_is_refused() {
        let bad = "traffic: {every: 0s, customers: [{topic: 'Gift \"cards\"', weight: 0, message: Hi}]}";
        insta::assert_snapshot!(World::parse(bad).unwrap_err().to_string());
    }
}
