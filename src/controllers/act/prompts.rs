//! Finds the prompts of a course's versions: in the target, in their PromptVersions, among the references, in the store.

use std::collections::BTreeMap;

use crate::controllers::error::{Attempt, ReconcileError};
use crate::controllers::observe::Observed;
use crate::controllers::resolved::Resolved;
use crate::controllers::run_cycle::Grounds;
use crate::kubernetes::names::version_object;
use crate::kubernetes::target::CHALLENGER_PROMPT_KEY;
use crate::kubernetes::versions;
use crate::store::Store as _;
use whetstone_decide::lifecycle::{Course, NewVersion, PromptText, VersionOrigin};
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::VersionName;
use whetstone_domain::prompt_set::PromptSet;
use whetstone_engine::apply::PROMPT_KEY;

/// The data of a ConfigMap.
pub(super) type Texts = BTreeMap<String, String>;

/// The places where prompts are searched for.
#[derive(Clone, Copy)]
pub(super) struct Prompts<'a> {
    pub(super) observed: &'a Observed,
    pub(super) resolved: &'a Resolved,
    pub(super) course: &'a Course,
    pub(super) grounds: &'a Grounds,
}

impl Prompts<'_> {
    /// Whether the PromptVersion of a version exists.
    pub(super) fn is_kept(&self, version: &VersionName, wanted: ContentHash) -> bool {
        self.indexed(version, wanted).is_some() || self.course.create.iter().any(|new| new.version == *version)
    }

    /// The prompt of a version; `None` if it is nowhere. `held` is the data of the target. A PromptVersion that was deleted
    /// although its prompt is needed is created again.
    pub(super) async fn find(
        &self,
        version: &VersionName,
        wanted: ContentHash,
        held: Option<&Texts>,
    ) -> Result<Option<String>, ReconcileError> {
        let is_wanted = |text: &&String| PromptSet::hash_of(text) == wanted;
        let in_target =
            [PROMPT_KEY, CHALLENGER_PROMPT_KEY].into_iter().filter_map(|key| held?.get(key)).find(is_wanted);
        if let Some(text) = in_target.filter(|_| self.is_kept(version, wanted)) {
            return Ok(Some(text.clone()));
        }
        if let Some(new) = self.course.create.iter().find(|new| new.prompt.hash == wanted) {
            return Ok(Some(new.prompt.text.clone()));
        }
        if let Some(text) = self.in_version(version, wanted).await? {
            return Ok(Some(text));
        }
        let base = self.resolved.base.as_ref().filter(|base| base.hash == wanted).map(|base| &base.text);
        let text = match in_target.or(base) {
            Some(text) => Some(text.clone()),
            None => self.in_store(wanted).await?,
        };
        if let Some(text) = &text {
            self.restore(version, PromptText { hash: wanted, text: text.clone() }).await?;
        }
        Ok(text)
    }

    fn indexed(&self, version: &VersionName, wanted: ContentHash) -> Option<&versions::Indexed> {
        self.observed.versions.iter().find(|it| it.known.version == *version && it.known.hash == wanted)
    }

    async fn in_version(&self, version: &VersionName, wanted: ContentHash) -> Result<Option<String>, ReconcileError> {
        let owner = &self.observed.owner;
        let object = match self.indexed(version, wanted) {
            Some(indexed) => indexed.known.object.clone(),
            None => version_object(&owner.name, version),
        };
        let found = versions::prompt(&self.grounds.context.client, &owner.namespace, &object).await;
        let found = found.map_err(Attempt::ReadVersion.on(&owner.namespace, &object))?;
        Ok(found.filter(|text| PromptSet::hash_of(text) == wanted))
    }

    async fn in_store(&self, wanted: ContentHash) -> Result<Option<String>, ReconcileError> {
        let owner = &self.observed.owner;
        let failed = |source| ReconcileError::Store { object: owner.clone(), source };
        let store = self.grounds.stores.of(&owner.namespace).await.map_err(failed)?;
        let rows = store.versions(&owner.to_string()).await.map_err(failed)?;
        Ok(rows.into_iter().find(|row| row.version.hash == wanted).map(|row| row.version.text))
    }

    /// Creates a deleted PromptVersion again. Its status is written when the watch reports it. If the API server refuses to
    /// create it (a quota), its prompt serves anyway.
    async fn restore(&self, version: &VersionName, prompt: PromptText) -> Result<(), ReconcileError> {
        let (context, owner) = (&self.grounds.context, &self.observed.owner);
        let lost = NewVersion {
            version: version.clone(),
            prompt,
            parent: None,
            diff: String::new(),
            addresses: Vec::new(),
            origin: VersionOrigin::Found,
        };
        context.fence.check()?;
        let created = versions::create(&context.client, &self.observed.object, &lost).await;
        let object = version_object(&owner.name, version);
        match created.map_err(Attempt::CreateVersion.on(&owner.namespace, &object)) {
            Err(error) if error.is_refusal() => {
                tracing::warn!(%version, %error, "a deleted PromptVersion is not restored");
                Ok(())
            }
            created => created.map(drop),
        }
    }
}
