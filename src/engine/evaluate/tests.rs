//! An evaluator with a model that says "yes" in its first repeat and "no" in later ones.

use std::collections::HashMap;

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use serde_json::json;

use super::*;
use crate::api::Submission;
use crate::api::resolve::{References, resolve};
use crate::domain::call::{Answer, ChatAnswer, EmbedRequest, Embeddings};
use crate::domain::money::Money;
use crate::engine::ports::{CallError, Ledger, LedgerEntry, Models, Recorded, Silent, StoreError};
use crate::engine::stopwatch::CallTime;

const RESOURCE: &str = r#"
apiVersion: whetstone.dev/v1alpha1
kind: AgentOptimization
metadata: {name: agent}
spec:
  agent: {prompt: {inline: Answer.}, runtime: {model: {ref: worker}}}
  models: [{name: worker, openAI: {baseURL: "http://localhost:1/v1", model: m}}]
  scenarios: [{configMapRef: {name: suite}}]
  scoring: {dimensions: [{name: accuracy, weight: 1, scorer: Checks}]}
  promotion: {target: {configMap: live}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: suite}
data:
  suite.jsonl: |
    {"id": "a", "message": "hello", "expect": {"checks": [{"contains": "yes"}]}}
    {"id": "b", "message": "hello", "expect": {"checks": [{"notContains": "maybe"}]}}
"#;

struct Fickle;

impl Models for Fickle {
    fn chat<'a>(
        &'a self,
        _: &'a ModelName,
        request: &'a ChatRequest,
        _: &'a CallTime,
    ) -> BoxFuture<'a, Result<ChatAnswer, CallError>> {
        ready(Ok(ChatAnswer::said(if request.repeat == 0 { "yes" } else { "no" }))).boxed()
    }

    fn embed<'a>(
        &'a self,
        _: &'a ModelName,
        _: &'a EmbedRequest,
        _: &'a CallTime,
    ) -> BoxFuture<'a, Result<Embeddings, CallError>> {
        unreachable!("nothing is embedded")
    }
}

#[derive(Default)]
struct InMemory(Mutex<HashMap<CallKey, Answer>>);

impl Ledger for InMemory {
    fn find(&self, key: CallKey) -> BoxFuture<'_, Result<Option<Recorded>, StoreError>> {
        let answer = self.0.lock().unwrap().get(&key).cloned();
        let cycle = ContentHash::of_bytes(b"cycle");
        ready(Ok(answer.map(|answer| Recorded { answer, cycle }))).boxed()
    }

    fn paid(&self, _: ContentHash) -> BoxFuture<'_, Result<Money, StoreError>> {
        ready(Ok(Money::ZERO)).boxed()
    }

    fn record(&self, entry: LedgerEntry) -> BoxFuture<'_, Result<(), StoreError>> {
        self.0.lock().unwrap().insert(entry.key, entry.answer);
        ready(Ok(())).boxed()
    }

    fn discard(&self, _: Vec<CallKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        unreachable!("no answer is useless")
    }
}

struct Bench {
    plan: Arc<Plan>,
    ledger: Arc<InMemory>,
    evaluator: Arc<Evaluator>,
    champion: Arc<Subject>,
}

impl Bench {
    async fn new() -> Self {
        let submission = Submission::read("agent.yaml", RESOURCE, None).unwrap_or_else(|problems| panic!("{problems}"));
        let references = References::gather(&submission, &[], |_| Ok(None));
        let plan = Arc::new(resolve(&submission, &references).unwrap_or_else(|problems| panic!("{problems}")));
        let (ledger, stop) = (Arc::<InMemory>::default(), CancellationToken::new());
        let cycle = ContentHash::of_bytes(b"cycle");
        let books = Arc::clone(&ledger) as Arc<dyn Ledger>;
        let calls =
            Calls::open(cycle, plan.models.clone(), None, Arc::new(Fickle), books, Arc::new(Silent), stop.clone());
        let calls = Arc::new(calls.await.unwrap());
        let evaluator = Arc::new(Evaluator::new(Arc::clone(&plan), calls, Arc::new(Silent), stop));
        let champion = Arc::new(Subject::champion(&plan));
        Self { plan, ledger, evaluator, champion }
    }

    /// Measures the champion, and returns the share of repeats that it passed in each scenario.
    async fn measure(&self, scenarios: &[ScenarioKey], repeats: u32) -> Vec<Option<f64>> {
        let measured =
            self.evaluator.evaluate(&self.champion, scenarios, 0..repeats, CountedAs::BASELINE).await.unwrap();
        measured.results.iter().map(ScenarioResult::pass_rate).collect()
    }

    fn calls(&self) -> usize {
        self.ledger.0.lock().unwrap().len()
    }
}

/// A suite that an earlier cycle has grown: its `a` is another question than the `a` of the spec.
fn grown() -> Suite {
    let scenario = |id: &str, never: &str| {
        let expect = json!({"checks": [{"notContains": never}]});
        Arc::new(serde_json::from_value(json!({"id": id, "message": "now", "expect": expect})).unwrap())
    };
    Suite::new(vec![scenario("a", "yes"), scenario("z", "no")])
}

#[tokio::test]
async fn scenarios_of_several_suites_with_one_id_are_measured_separately() {
    let bench = Bench::new().await;
    let grown = grown();
    let all: Vec<ScenarioKey> = bench.plan.scenarios.keys().chain(grown.keys()).collect();
    assert_eq!(bench.measure(&all[..2], 1).await, [Some(1.0), Some(1.0)]);
    assert_eq!(bench.measure(&all, 1).await, [Some(1.0), Some(1.0), Some(0.0), Some(1.0)], "in the order of the keys");
    let failing = bench.evaluator.failing(&bench.champion, &all, &(0..1));
    assert_eq!(failing, [grown.key(&"a".into()).unwrap()]);
    let calls = bench.calls();
    assert_eq!(bench.measure(&all, 1).await.len(), 4);
    assert_eq!(bench.calls(), calls, "what has been measured is not measured again");
    let measured = bench.evaluator.measured(&bench.champion, &all[2..], &(0..1));
    assert!(bench.evaluator.answers(&grown, &measured).is_empty());
}

#[tokio::test]
async fn a_scenario_that_passes_in_half_of_its_repeats_fails_wherever_that_is_asked() {
    let bench = Bench::new().await;
    let scenarios: Vec<ScenarioKey> = bench.plan.scenarios.keys().collect();
    assert_eq!(bench.measure(&scenarios, 2).await, [Some(0.5), Some(1.0)]);
    let clustered = bench.evaluator.failures(&bench.champion, &scenarios, &(0..2));
    assert_eq!(clustered.iter().map(|(key, _)| key).collect::<Vec<_>>(), [&scenarios[0]]);
    let measured = bench.evaluator.measured(&bench.champion, &scenarios, &(0..2));
    let reported = measured.results.iter().filter(|result| result.fails()).map(|result| &result.scenario);
    assert_eq!(reported.collect::<Vec<_>>(), [&scenarios[0].id]);
    let gated = crate::decide::gate::Evidence::pair(&measured, &measured, &scenarios);
    let passed = gated.pairs.iter().map(|pair| pair.champion[0].unwrap().passed);
    assert_eq!(passed.collect::<Vec<_>>(), [false, true]);
}
