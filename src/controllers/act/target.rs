//! The target ConfigMap: made to hold what the record says.

use std::collections::BTreeMap;

use super::Acted;
use super::versions::text_of;
use crate::controllers::Owner;
use crate::controllers::conditions;
use crate::controllers::error::{ReconcileError, fenced};
use crate::controllers::observe::Observed;
use crate::controllers::resolve::{Resolved, Trouble};
use crate::controllers::run_cycle::Grounds;
use crate::decide::lifecycle::Course;
use crate::engine::apply::{HASH_KEY, PROMPT_KEY, VERSION_KEY};
use crate::kubernetes::target::{self, ApplyError, CHALLENGER_PROMPT_KEY, CHALLENGER_VERSION_KEY, MOST_BYTES, Target};

/// How often the target is written anew when somebody else writes it at the same time.
const TRIES: usize = 5;

pub(super) async fn write_target(
    observed: &Observed,
    resolved: &Resolved,
    course: &Course,
    grounds: &Grounds,
    acted: &mut Acted,
) -> Result<(), ReconcileError> {
    let context = &grounds.context;
    let Some(champion) = &course.record.champion else { return Ok(()) };
    let (Some(spec), Some(found)) = (observed.target_spec(), &observed.target) else {
        let is_kept =
            observed.versions.iter().any(|it| it.known.version == champion.version && it.known.hash == champion.hash)
                || course.create.iter().any(|new| new.version == champion.version);
        if is_kept {
            return Ok(());
        }
        // Cycles need its prompt, wherever it serves.
        let held = text_of(observed, resolved, course, &champion.version, champion.hash, None, grounds).await?;
        return held.map(drop).ok_or_else(|| ReconcileError::PromptLost(champion.version.clone()));
    };
    if let Some(rival) = &observed.rival {
        acted.target_trouble = Some(not_owned(
            &spec.config_map,
            &observed.owner,
            &format!("the AgentOptimization {rival:?} had it first"),
        ));
        return Ok(());
    }
    let mut found = found.clone();
    for _ in 0..TRIES {
        let held = match &found {
            Target::Foreign { managers } => {
                let who = if managers.is_empty() { "somebody else".to_owned() } else { managers.join(", ") };
                acted.target_trouble = Some(not_owned(&spec.config_map, &observed.owner, &format!("{who} wrote it")));
                return Ok(());
            }
            Target::Absent => None,
            Target::Ours(held) => Some(held),
        };
        let Some(data) = content(observed, resolved, course, held.map(|held| &held.data), grounds).await? else {
            return Err(ReconcileError::PromptLost(champion.version.clone()));
        };
        if held.is_some_and(|held| held.holds(&data)) {
            return Ok(());
        }
        if target::bytes(&data) > MOST_BYTES {
            let message = format!(
                "champion and challenger together have more than the 1 MiB that the ConfigMap {:?} may hold; shorten the prompt",
                spec.config_map
            );
            let reason = conditions::PROMPT_TOO_LARGE;
            acted.target_trouble = Some(Trouble { reason, message, may_come_right: false });
            return Ok(());
        }
        note_put_back(observed, course, held.map(|held| &held.data), &data, acted, &spec.config_map);
        fenced(context)?;
        let (namespace, name) = (&observed.owner.0, &spec.config_map);
        match target::apply(&context.client, namespace, name, &observed.owner.1, held, &data).await {
            Ok(()) => return Ok(()),
            Err(ApplyError::Changed(_)) => {
                found = target::read(&context.client, namespace, name, &observed.owner.1)
                    .await
                    .map_err(ReconcileError::Cluster)?;
            }
            Err(ApplyError::Refused { source, .. }) => return Err(ReconcileError::Cluster(source)),
        }
    }
    Err(ReconcileError::Changed)
}

fn not_owned(config_map: &str, (namespace, name): &Owner, why: &str) -> Trouble {
    Trouble {
        reason: conditions::TARGET_NOT_OWNED,
        message: format!(
            "spec.promotion.target.configMap: {config_map:?} belongs to somebody else ({why}), and is not overwritten; name another, delete it, \
             or hand it over: kubectl -n {namespace} annotate configmap {config_map} {}={name}",
            crate::api::intent::annotations::ADOPT
        ),
        may_come_right: false,
    }
}

/// Whether somebody has edited or deleted a target that had what it should have.
fn note_put_back(
    observed: &Observed,
    course: &Course,
    held: Option<&BTreeMap<String, String>>,
    wanted: &BTreeMap<String, String>,
    acted: &mut Acted,
    name: &str,
) {
    // Only where the record says that this target has held this version is it not we who are late: a promotion is committed
    // before its target is written, and we may have been killed in between.
    let before = &observed.status;
    let generation = observed.object.metadata.generation;
    let is_settled = observed.record.champion == course.record.champion
        && before.conditions.iter().any(|it| {
            it.type_ == conditions::READY && it.reason == conditions::SERVING && it.observed_generation == generation
        });
    if !is_settled {
        return;
    }
    let ours = [PROMPT_KEY, VERSION_KEY, HASH_KEY];
    acted.put_back = match held {
        None => Some(format!("the ConfigMap {name:?} was deleted, and is there again")),
        Some(held) => {
            let edited: Vec<&str> = ours.into_iter().filter(|key| held.get(*key) != wanted.get(*key)).collect();
            let keys = edited.join(", ");
            (!edited.is_empty())
                .then(|| format!("somebody edited {keys} of the ConfigMap {name:?}, and it is put back"))
        }
    };
}

/// What the target should hold; `None` when the prompt of the champion is nowhere to be found.
async fn content(
    observed: &Observed,
    resolved: &Resolved,
    course: &Course,
    held: Option<&BTreeMap<String, String>>,
    grounds: &Grounds,
) -> Result<Option<BTreeMap<String, String>>, ReconcileError> {
    let Some(champion) = &course.record.champion else { return Ok(None) };
    let Some(prompt) = text_of(observed, resolved, course, &champion.version, champion.hash, held, grounds).await?
    else {
        return Ok(None);
    };
    let mut data = BTreeMap::from([
        (PROMPT_KEY.to_owned(), prompt),
        (VERSION_KEY.to_owned(), champion.version.to_string()),
        (HASH_KEY.to_owned(), champion.hash.to_string()),
    ]);
    if let Some(challenger) = &course.record.challenger {
        let text = text_of(observed, resolved, course, &challenger.version, challenger.hash, held, grounds).await?;
        if let Some(text) = text {
            data.insert(CHALLENGER_PROMPT_KEY.to_owned(), text);
            data.insert(CHALLENGER_VERSION_KEY.to_owned(), challenger.version.to_string());
        }
    }
    Ok(Some(data))
}
