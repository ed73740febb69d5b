//! One cycle, from the resource to its result: prepares the plan, opens the store, runs the loop.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::conditions::{MESSAGE, cut};
use super::context::Context;
use super::cycles::Supervision;
use super::error::{Attempt, ReconcileError};
use super::record;
use super::resolve;
use super::resolved::{Keys, Prepared};
use super::stores::Stores;
use crate::api::resolve::max_drop;
use crate::api::{AgentOptimization, PromptVersion};
use crate::kubernetes::names::key_of;
use crate::kubernetes::versions;
use crate::models::{self, Connections, Pauses};
use crate::store::{ObjectLock, Sqlite, Store as _};
use crate::telemetry::{Metered, Timed};
use whetstone_decide::lifecycle::{
    ChallengerFacts, CycleFacts, Failed, Gated, Names, PromptText, Remeasured, RunningCycle, TooDear,
};
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::{ModelName, ObjectKey};
use whetstone_domain::lifecycle::CycleKind;
use whetstone_domain::money::BudgetExhausted;
use whetstone_domain::plan::{KeyPlan, Plan};
use whetstone_domain::prompt::Prompt;
use whetstone_domain::prompt_set::PromptSet;
use whetstone_domain::score::Score;
use whetstone_domain::series::Series;
use whetstone_domain::version::{Version, VersionPhase};
use whetstone_engine::error::CycleError;
use whetstone_engine::ports::StoreError;
use whetstone_engine::remeasure::{self, Again, Remeasurement};
use whetstone_engine::subject::Subject;
use whetstone_engine::{Outcome, Pipeline};

/// How long to wait for the lock if another process runs a cycle of the same object. That process has lost the Lease and
/// not noticed it yet. Without the lock, calls that both make concurrently are paid twice, but nothing else goes wrong.
const LOCK_PATIENCE: Duration = Duration::from_secs(20);

/// What all cycles of this process share.
#[derive(Clone)]
pub(crate) struct Grounds {
    /// What all reconciles share.
    pub context: Arc<Context>,
    /// The stores.
    pub stores: Arc<Stores>,
    /// Connections to models.
    pub connections: Connections,
}

/// Runs a cycle. `None` if it was stopped.
pub(crate) async fn run_cycle(
    grounds: Grounds,
    object: Arc<AgentOptimization>,
    cycle: RunningCycle,
    supervision: Supervision,
) -> Option<Result<CycleFacts, Failed>> {
    match attempt(&grounds, &object, &cycle, supervision).await {
        Ok(facts) => Some(Ok(facts)),
        Err(Stop::Stopped) => None,
        Err(Stop::Failed(failed)) => Some(Err(Failed { message: cut(&failed.message, MESSAGE), ..failed })),
    }
}

enum Stop {
    Stopped,
    Failed(Failed),
}

impl From<ReconcileError> for Stop {
    fn from(error: ReconcileError) -> Self {
        Self::Failed(Failed::temporary(error.to_string()))
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        CycleError::Store(error).into()
    }
}

impl From<CycleError> for Stop {
    fn from(error: CycleError) -> Self {
        match error.cause() {
            None => Self::Stopped,
            Some(cause) => Self::Failed(Failed { message: error.to_string(), cause }),
        }
    }
}

async fn attempt(
    Grounds { context, stores, connections }: &Grounds,
    object: &AgentOptimization,
    cycle: &RunningCycle,
    Supervision { stop, meter, pauses }: Supervision,
) -> Result<CycleFacts, Stop> {
    let failed = |message: String| Stop::Failed(Failed::permanent(message));
    let owner = key_of(object);
    let uid = object.metadata.uid.clone().unwrap_or_default();
    let record = record::read(&object.status.clone().unwrap_or_default());
    let Some(champion) = record.champion.clone() else { return Err(failed("there is no champion".to_owned())) };

    let known = versions::list(&context.client, &owner).await;
    let known = known.map_err(Attempt::ListVersions.on(&owner.namespace, &owner.name))?;
    let text_of = |wanted: ContentHash| {
        let prompts = known.iter().map(|version| &version.spec.prompt);
        prompts.into_iter().find(|prompt| PromptSet::hash_of(prompt) == wanted).cloned()
    };
    let Some(champion_text) = text_of(champion.hash) else {
        let message = format!("the PromptVersion of {} is not there yet", champion.version);
        return Err(Stop::Failed(Failed::temporary(message)));
    };
    let Prepared { mut plan, keys } =
        resolve::plan(object, &champion_text, context).await?.map_err(|blocker| failed(blocker.message))?;
    if cycle.inputs.as_str() != plan.inputs().to_string() {
        // The next reconcile starts another cycle, or this one again if the change was reverted.
        let message = "what it is about was changed while it was starting".to_owned();
        return Err(Stop::Failed(Failed::temporary(message)));
    }
    let series = cycle.series.of(&uid);
    plan.execution.series = match cycle.kind {
        CycleKind::Reevaluate => record.champion_series().of(&uid),
        CycleKind::Search | CycleKind::Gate => series,
    };
    let challenger = match &cycle.challenger {
        Some(version) => {
            let wanted = record.challenger.as_ref().filter(|challenger| challenger.version == *version);
            let text = wanted.and_then(|challenger| text_of(challenger.hash));
            let text = text.ok_or_else(|| failed(format!("the PromptVersion of {version} is gone")))?;
            match Prompt::parse(&text, plan.champion.system().format()) {
                Ok(prompt) => Some(prompt),
                Err(error) => return Ok(CycleFacts::Unreadable(unreadable(&error))),
            }
        }
        None => None,
    };
    // A prompt of another format, from before the agent changed it, can no longer be measured.
    let predecessor = record.predecessor.as_ref().and_then(|before| text_of(before.hash));
    let predecessor = predecessor.and_then(|text| Prompt::parse(&text, plan.champion.system().format()).ok());

    let store = stores.of(&owner.namespace).await?;
    let lock = lock_object(&store, &owner.to_string(), &stop).await?;
    let indexed = context.versions.of(&owner);
    let names = Names::of(indexed.iter().map(|indexed| &indexed.known));
    // A version whose name belongs to another one is not reported under that name.
    let holds = |version: &&PromptVersion| {
        let object = version.metadata.name.as_deref();
        let known = indexed.iter().find(|indexed| Some(indexed.known.object.as_str()) == object);
        known.is_none_or(|indexed| names.holds(&record, &indexed.known))
    };
    let remembered = known.iter().filter(holds).filter_map(|version| remembered(version, champion.hash)).collect();
    store.remember(&owner.to_string(), remembered, context.clock.now()).await?;
    let pipeline = pipeline(context, &plan, &keys, (connections, pauses), store, lock, owner)
        .map_err(|error| failed(error.to_string()))?
        .progress(Arc::new(Timed::new(meter, Arc::clone(&context.metrics))))
        .stop(stop)
        .attempt(cycle.attempt);
    Ok(match (cycle.kind, challenger) {
        (CycleKind::Gate, Some(challenger)) => {
            CycleFacts::Gated(gated(pipeline.compare(Subject::prompt(challenger)).await?, &plan))
        }
        (CycleKind::Reevaluate, _) => {
            let known_drop = champion.drifted_to.map(Score::value);
            let again = Again { series, predecessor, max_drop: max_drop(&object.spec), known_drop };
            match pipeline.remeasure(again).await {
                Err(CycleError::BudgetExhausted(why)) => CycleFacts::TooDear(too_dear(why, &plan, series)),
                measured => CycleFacts::Remeasured(remeasured(&measured?, &plan)),
            }
        }
        _ => CycleFacts::Gated(gated(pipeline.run().await?, &plan)),
    })
}

fn unreadable(error: &impl std::fmt::Display) -> String {
    format!("its prompt cannot be divided into sections: {error}")
}

fn too_dear(why: BudgetExhausted, plan: &Plan, series: Series) -> TooDear {
    TooDear {
        id: remeasure::identity(plan, series).short(),
        message: format!("the champion could not be measured again: {why}; raise spec.budget.perCycle"),
        cost: why.spent,
        currency: plan.currency.clone(),
    }
}

fn pipeline(
    context: &Context,
    plan: &Plan,
    keys: &Keys,
    (connections, pauses): (&Connections, Arc<Pauses>),
    store: Arc<Sqlite>,
    lock: Option<ObjectLock>,
    owner: ObjectKey,
) -> Result<Pipeline, models::SetupError> {
    let options = models::Options {
        concurrency: plan.execution.concurrency,
        connections: Some(connections.clone()),
        pauses,
        ..models::Options::default()
    };
    let find =
        |_: &ModelName, key: &KeyPlan| key.secret.as_ref().and_then(|secret| keys.get(&secret.name, &secret.key));
    let client = models::Client::new(&plan.models, &find, options)?;
    // Running calls of a stopped cycle are still recorded, and hold the lock until then, so that the next cycle does not
    // make the same calls.
    let store = Metered::new(store, Arc::clone(&context.metrics), owner, plan.currency.clone()).keeping(lock);
    Ok(Pipeline::new(plan.clone(), Arc::new(client), Arc::new(store), Arc::clone(&context.clock)))
}

/// Waits until no other process runs a cycle of this object, up to a limit.
async fn lock_object(store: &Sqlite, object: &str, stop: &CancellationToken) -> Result<Option<ObjectLock>, Stop> {
    let deadline = tokio::time::Instant::now() + LOCK_PATIENCE;
    loop {
        if let Some(lock) = store.try_lock_object(object)? {
            return Ok(Some(lock));
        }
        if tokio::time::Instant::now() >= deadline {
            tracing::warn!(object, "another process holds the lock of this object; going on without it");
            return Ok(None);
        }
        tokio::select! {
            () = stop.cancelled() => return Err(Stop::Stopped),
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    }
}

/// A version, as the store records it.
fn remembered(version: &PromptVersion, champion: ContentHash) -> Option<Version> {
    let hash = PromptSet::hash_of(&version.spec.prompt);
    let status = version.status.as_ref();
    let phase = match status.and_then(|status| status.phase) {
        _ if hash == champion => VersionPhase::Champion,
        // There is one champion, and it is another version.
        Some(VersionPhase::Champion) => VersionPhase::Superseded,
        phase => phase?,
    };
    Some(Version {
        name: status.and_then(|status| status.version.as_deref()).or(version.spec.version.as_deref())?.into(),
        hash,
        text: version.spec.prompt.clone(),
        parent: version.spec.parent.as_deref().map(Into::into),
        diff: version.spec.diff.clone().unwrap_or_default(),
        addresses: version.spec.addresses.clone(),
        phase,
    })
}

fn gated(Outcome { report, versions, spent, exhausted }: Outcome, plan: &Plan) -> Gated {
    let challenger = report.challenger.as_ref().and_then(|side| {
        let version = versions.iter().find(|version| version.hash.to_string() == side.hash)?;
        Some(ChallengerFacts {
            version: version.name.clone(),
            prompt: PromptText { hash: version.hash, text: version.text.clone() },
            diff: version.diff.clone(),
            addresses: version.addresses.clone(),
            score: side.score,
            dimensions: side.dimensions.iter().map(|(name, mean)| (name.as_str().into(), *mean)).collect(),
        })
    });
    Gated {
        id: report.cycle.chars().take(12).collect(),
        verdict: report.verdict,
        exhausted,
        reasons: report.reasons.iter().map(|reason| reason.message.clone()).collect(),
        champion_score: report.champion.score,
        challenger,
        cost: spent,
        currency: plan.currency.clone(),
    }
}

fn remeasured(measured: &Remeasurement, plan: &Plan) -> Remeasured {
    Remeasured {
        id: measured.cycle.short(),
        then: measured.then,
        now: measured.now,
        p_value: measured.p_value,
        predecessor: measured.predecessor,
        predecessor_p_value: measured.predecessor_p_value,
        scenarios: measured.scenarios,
        cost: measured.cost,
        currency: plan.currency.clone(),
    }
}
