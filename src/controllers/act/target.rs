//! The target ConfigMap: written according to the record.

use std::collections::BTreeMap;

use super::prompts::{Prompts, Texts};
use crate::api::intent::annotations::ADOPT;
use crate::controllers::conditions;
use crate::controllers::error::{Attempt, ReconcileError};
use crate::controllers::resolved::Blocker;
use crate::kubernetes::target::{self, ApplyError, CHALLENGER_PROMPT_KEY, CHALLENGER_VERSION_KEY, MOST_BYTES, Target};
use whetstone_decide::lifecycle::Serving;
use whetstone_domain::ids::ObjectKey;
use whetstone_engine::apply::{HASH_KEY, PROMPT_KEY, VERSION_KEY};

/// The maximum number of attempts to write the target if it is changed concurrently.
const TRIES: usize = 5;

/// The result of writing the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It contains what the record says, or there is nothing to write.
    Holds {
        /// The external change that was undone, in words.
        restored: Option<String>,
    },
    /// It does not, and will not until a person acts.
    Refused(Blocker),
}

/// Writes the target, if there is one and it differs from the record.
pub(super) async fn write_target(prompts: &Prompts<'_>) -> Result<Written, ReconcileError> {
    let Prompts { observed, course, grounds, .. } = *prompts;
    let Some(champion) = &course.record.champion else { return Ok(Written::Holds { restored: None }) };
    let (Some(spec), Some(found)) = (observed.target_spec(), &observed.target) else {
        // Even without a target, cycles need the prompt.
        if !prompts.is_kept(&champion.version, champion.hash) {
            champion_prompt(prompts, champion, None).await?;
        }
        return Ok(Written::Holds { restored: None });
    };
    if let Some(rival) = &observed.rival {
        return Ok(Written::Refused(of_rival(&spec.config_map, rival)));
    }
    let (client, fence) = (&grounds.context.client, &grounds.context.fence);
    let (ObjectKey { namespace, name: optimization }, name) = (&observed.owner, &spec.config_map);
    let mut found = found.clone();
    let mut restored = None;
    for _ in 0..TRIES {
        let held = match &found {
            Target::Foreign { managers } => {
                let who = if managers.is_empty() { "somebody else".to_owned() } else { managers.join(", ") };
                return Ok(Written::Refused(not_owned(name, &observed.owner, &format!("{who} wrote it"))));
            }
            Target::Absent => None,
            Target::Ours(held) => Some(held),
        };
        let texts = held.map(|held| &held.data);
        let data = content(prompts, champion, texts).await?;
        if held.is_some_and(|held| held.holds(&data)) {
            return Ok(Written::Holds { restored });
        }
        if target::bytes(&data) > MOST_BYTES {
            return Ok(Written::Refused(too_large(name)));
        }
        if observed.is_settled() && observed.record.champion == course.record.champion {
            restored = undone(name, texts, &data);
        }
        fence.check()?;
        match target::apply(client, namespace, name, optimization, held, &data).await {
            Ok(()) => return Ok(Written::Holds { restored }),
            Err(ApplyError::Changed) => {
                let read = target::read(client, namespace, name, optimization).await;
                found = read.map_err(Attempt::ReadTarget.on(namespace, name))?;
            }
            Err(ApplyError::Failed(error)) => return Err(Attempt::WriteTarget.on(namespace, name)(error)),
        }
    }
    Err(Attempt::WriteTarget.conflict(namespace, name))
}

async fn champion_prompt(
    prompts: &Prompts<'_>,
    champion: &Serving,
    held: Option<&Texts>,
) -> Result<String, ReconcileError> {
    let prompt = prompts.find(&champion.version, champion.hash, held).await?;
    let object = prompts.observed.owner.clone();
    prompt.ok_or_else(|| ReconcileError::PromptLost { object, version: champion.version.clone() })
}

/// The intended content of the target.
async fn content(prompts: &Prompts<'_>, champion: &Serving, held: Option<&Texts>) -> Result<Texts, ReconcileError> {
    let mut data = BTreeMap::from([
        (PROMPT_KEY.to_owned(), champion_prompt(prompts, champion, held).await?),
        (VERSION_KEY.to_owned(), champion.version.to_string()),
        (HASH_KEY.to_owned(), champion.hash.to_string()),
    ]);
    if let Some(challenger) = &prompts.course.record.challenger
        && let Some(text) = prompts.find(&challenger.version, challenger.hash, held).await?
    {
        data.insert(CHALLENGER_PROMPT_KEY.to_owned(), text);
        data.insert(CHALLENGER_VERSION_KEY.to_owned(), challenger.version.to_string());
    }
    Ok(data)
}

fn not_owned(config_map: &str, ObjectKey { namespace, name }: &ObjectKey, why: &str) -> Blocker {
    let message = format!(
        "spec.promotion.target.configMap: {config_map:?} belongs to another owner ({why}), and is not overwritten; set a different \
         ConfigMap, delete this one, or let Whetstone take it over: kubectl -n {namespace} annotate configmap {config_map} {ADOPT}={name}"
    );
    Blocker { reason: conditions::TARGET_NOT_OWNED, message, is_transient: false }
}

fn of_rival(config_map: &str, rival: &str) -> Blocker {
    let message = format!(
        "spec.promotion.target.configMap: {config_map:?} is already the target of the AgentOptimization {rival:?}; set a different \
         ConfigMap, or remove the target from {rival:?}"
    );
    Blocker { reason: conditions::TARGET_NOT_OWNED, message, is_transient: false }
}

fn too_large(config_map: &str) -> Blocker {
    let message = format!(
        "champion and challenger together are larger than 1 MiB, the limit of the ConfigMap {config_map:?}; shorten the prompt"
    );
    Blocker { reason: conditions::PROMPT_TOO_LARGE, message, is_transient: false }
}

/// Describes an external change of a target that was as it should be; `None` if our keys are unchanged.
fn undone(name: &str, held: Option<&Texts>, wanted: &Texts) -> Option<String> {
    let Some(held) = held else {
        return Some(format!("the ConfigMap {name:?} was deleted, and has been created again"));
    };
    let ours = [PROMPT_KEY, VERSION_KEY, HASH_KEY];
    let edited: Vec<&str> = ours.into_iter().filter(|key| held.get(*key) != wanted.get(*key)).collect();
    let keys = edited.join(", ");
    (!edited.is_empty())
        .then(|| format!("the edit of {keys} in the ConfigMap {name:?} was undone; change the base prompt instead"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(prompt: &str, version: &str) -> Texts {
        BTreeMap::from([(PROMPT_KEY.to_owned(), prompt.to_owned()), (VERSION_KEY.to_owned(), version.to_owned())])
    }

    #[test]
    fn what_is_undone_is_named_and_other_keys_are_nobodys_business() {
        let wanted = texts("a", "v1");
        let of = |held: Option<&Texts>| undone("live", held, &wanted);
        assert_eq!(of(None).unwrap(), "the ConfigMap \"live\" was deleted, and has been created again");
        let edited = of(Some(&texts("b", "v2"))).unwrap();
        assert_eq!(
            edited,
            "the edit of system-prompt, version in the ConfigMap \"live\" was undone; change the base prompt instead"
        );
        let mut more = texts("a", "v1");
        more.insert("theirs".to_owned(), "x".to_owned());
        assert_eq!(of(Some(&more)), None);
    }
}
