//! An evaluator with a model that says "yes" in its first repeat and "no" in later ones.

use std::collections::HashMap;

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use serde_json::json;

use super::*;
use crate::ports::{CallError, Ledger, LedgerEntry, Models, Recorded, Silent, StoreError};
use crate::stopwatch::CallTime;
use std::time::Duration;
use whetstone_domain::call::{Answer, ChatAnswer, EmbedRequest, Embeddings, ModelIdentity};
use whetstone_domain::ids::ModelName;
use whetstone_domain::money::Money;
use whetstone_domain::plan::model::{StructuredOutput, SystemRole, TokenLimit};
use whetstone_domain::plan::promotion::{RequireSignificance, Test};
use whetstone_domain::plan::scoring::Scorer;
use whetstone_domain::plan::{
    ClusteringPlan, DimensionPlan, ExecutionPlan, GatePlan, LimitsPlan, ModelPlan, Profile, Provider, SplitPlan,
    ValidationPlan,
};
use whetstone_domain::prompt::{Prompt, PromptFormat};
use whetstone_domain::score::Score;
use whetstone_domain::series::Series;

/// Two scenarios of the spec: `a` wants "yes", `b` anything but "maybe".
fn plan() -> Plan {
    let worker = ModelName::from("worker");
    let scenarios = json!([
        {"id": "a", "message": "hello", "expect": {"checks": [{"contains": "yes"}]}},
        {"id": "b", "message": "hello", "expect": {"checks": [{"notContains": "maybe"}]}},
    ]);
    let accuracy = DimensionPlan {
        name: "accuracy".into(),
        weight: 1.0,
        scorer: Scorer::Checks,
        judge: None,
        rubric: String::new(),
        pass_at: Score::clamped(0.7),
        critical: false,
        threshold: None,
    };
    Plan {
        namespace: "default".to_owned(),
        name: "agent".to_owned(),
        profile: Profile::Production,
        champion: Prompt::parse("Answer.", PromptFormat::Markdown).unwrap().into(),
        tools: Arc::default(),
        runtime: RuntimePlan::Model { model: worker.clone(), parameters: Arc::default(), max_turns: 1 },
        models: [(worker, model())].into(),
        scenarios: Suite::new(serde_json::from_value(scenarios).unwrap()),
        split: SplitPlan::default(),
        execution: ExecutionPlan {
            repeats: 1,
            concurrency: 2,
            scenario_timeout: Duration::from_mins(1),
            error_tolerance: 0.0,
            user_model: None,
            seed: 0,
            series: Series::default(),
        },
        dimensions: Arc::new([accuracy]),
        clustering: ClusteringPlan { embeddings: None, threshold: None, max_clusters: 1 },
        patching: None,
        validation: ValidationPlan {
            full_suite: false,
            sentinels: 0,
            complexity_threshold: 1.0,
            core_sections: Vec::new(),
        },
        gate: GatePlan {
            test: Test::Permutation,
            significance_level: 0.05,
            regression_tolerance: 0.0,
            require_significance: RequireSignificance::Aggregate,
            minimum_score: 0.0,
            minimum_sample_size: 2,
            shadow_sample_size: 2,
            repeats: 1,
        },
        target: None,
        budget: None,
        currency: "USD".to_owned(),
        warnings: Vec::new(),
    }
}

fn model() -> ModelPlan {
    ModelPlan {
        identity: ModelIdentity {
            provider: "openai".to_owned(),
            endpoint: "http://localhost:1/v1".to_owned(),
            model: "m".to_owned(),
        },
        redirect: None,
        provider: Provider::OpenAi,
        key: None,
        seed: true,
        structured: StructuredOutput::Auto,
        token_limit: TokenLimit::Auto,
        system_role: SystemRole::System,
        headers: Vec::new(),
        price: None,
        limits: LimitsPlan {
            concurrency: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            timeout: Duration::from_mins(1),
            attempts: 1,
        },
    }
}

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
        let plan = Arc::new(plan());
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
    let gated = whetstone_decide::gate::Evidence::pair(&measured, &measured, &scenarios);
    let passed = gated.pairs.iter().map(|pair| pair.champion[0].unwrap().passed);
    assert_eq!(passed.collect::<Vec<_>>(), [false, true]);
}
