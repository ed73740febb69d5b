//! Versions: their names, and where each stands.

use jiff::Timestamp;

use super::{PromptText, Step};
use crate::api::status::{AgentOptimizationStatus, DimensionScore};
use crate::domain::version::VersionPhase;

/// Who wrote a PromptVersion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionOrigin {
    /// A cycle found it.
    Search,
    /// It is the base prompt, as it was once.
    Base,
    /// It was found in the target ConfigMap.
    Found,
    /// A person, or GitOps.
    Applied,
}

impl VersionOrigin {
    /// The word in the annotation `whetstone.dev/origin`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Base => "base",
            Self::Found => "found",
            Self::Applied => "applied",
        }
    }

    /// The origin that an annotation tells. An object without one was applied by somebody else.
    #[must_use]
    pub fn of(annotation: Option<&str>) -> Self {
        match annotation {
            Some("search") => Self::Search,
            Some("base") => Self::Base,
            Some("found") => Self::Found,
            _ => Self::Applied,
        }
    }
}

/// A PromptVersion as far as it matters for a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownVersion {
    /// The name of the object.
    pub object: String,
    /// The name of the version.
    pub version: String,
    /// The hash of its prompt.
    pub hash: String,
    /// Where its status says it stands; `None` before the operator has seen it.
    pub phase: Option<VersionPhase>,
    /// Who wrote it.
    pub origin: VersionOrigin,
    /// When the object was created.
    pub created: Timestamp,
    /// Why it cannot be gated as it is: a hash that does not fit its prompt, a prompt that cannot be parsed.
    pub fault: Option<String>,
}

/// A version to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVersion {
    /// Its name.
    pub version: String,
    /// Its prompt.
    pub prompt: PromptText,
    /// The version that it was made from.
    pub parent: Option<String>,
    /// The difference from the parent, in unified form; empty without a parent, or when nobody has made it yet.
    pub diff: String,
    /// The clusters that it addresses.
    pub addresses: Vec<String>,
    /// Where it comes from.
    pub origin: VersionOrigin,
}

/// What is to be written about a version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VersionVerdict {
    /// The name of the version.
    pub version: String,
    /// Where it stands, if the record does not tell.
    pub phase: Option<VersionPhase>,
    /// Why, the most important reason first.
    pub reasons: Vec<String>,
    /// Its aggregate score.
    pub score: Option<String>,
    /// Its scores by dimension.
    pub dimensions: Vec<DimensionScore>,
}

/// Where a version stands. What the record says comes first; else what was said before.
#[must_use]
pub fn phase_of(
    record: &AgentOptimizationStatus,
    version: &str,
    hash: &str,
    before: Option<VersionPhase>,
) -> VersionPhase {
    let serves = record.champion.as_ref().is_some_and(|champion| champion.version == version && champion.hash == hash);
    if serves {
        return VersionPhase::Champion;
    }
    if record.quarantine.iter().any(|taken_back| taken_back.hash == hash) {
        return VersionPhase::RolledBack;
    }
    if record.challenger.as_ref().is_some_and(|challenger| challenger.version == version) {
        return VersionPhase::Challenger;
    }
    match before {
        Some(VersionPhase::Champion) => VersionPhase::Superseded,
        // Its gate ended without a verdict about it.
        Some(VersionPhase::Challenger) | None => VersionPhase::Candidate,
        Some(phase) => phase,
    }
}

/// The names of the objects that are too many. `versions` with their phases; the champion, its predecessor, the challenger, what
/// waits for the gate and what a person applied by hand are never among them.
#[must_use]
pub fn retained(record: &AgentOptimizationStatus, versions: &[KnownVersion], keep: usize) -> Vec<String> {
    let named = |version: &KnownVersion| {
        let champion = record.champion.as_ref().is_some_and(|champion| champion.version == version.version);
        let predecessor = record.predecessor.as_ref().is_some_and(|before| before.version == version.version);
        let challenger = record.challenger.as_ref().is_some_and(|challenger| challenger.version == version.version);
        champion || predecessor || challenger
    };
    let mut old: Vec<&KnownVersion> = versions
        .iter()
        .filter(|version| version.origin != VersionOrigin::Applied && !named(version))
        .filter(|version| {
            let phase = phase_of(record, &version.version, &version.hash, version.phase);
            matches!(phase, VersionPhase::Superseded | VersionPhase::Rejected | VersionPhase::RolledBack)
        })
        .collect();
    old.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| number(&b.version).cmp(&number(&a.version))));
    old.into_iter().skip(keep).map(|version| version.object.clone()).collect()
}

/// The number of a version that is named as the operator names them.
fn number(version: &str) -> u64 {
    version.strip_prefix('v').and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Whether a version may be called this: it is part of the name of an object, and the value of a label.
fn is_name(proposed: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = proposed.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(|byte| fits(*byte))
        && bytes.last().is_some_and(|byte| fits(*byte))
        && bytes.iter().all(|byte| fits(*byte) || *byte == b'-')
}

impl Step<'_> {
    /// The name of the version that has this prompt, if there is one.
    pub(super) fn named(&self, hash: &str) -> Option<String> {
        let known = self.situation.versions.iter().filter(|version| version.hash == hash);
        // Somebody may have applied the same prompt again under another name: the older one is meant.
        let oldest = known.min_by_key(|version| (version.created, number(&version.version)));
        let created = self.create.iter().find(|version| version.prompt.hash == hash);
        oldest.map(|version| version.version.clone()).or_else(|| created.map(|version| version.version.clone()))
    }

    /// The hash of the version of this name.
    pub(super) fn hash_of(&self, version: &str) -> Option<String> {
        // Somebody may have applied another prompt under a name that was taken: the older one is meant.
        let known = self.situation.versions.iter().filter(|known| known.version == version && known.fault.is_none());
        let known = known.min_by_key(|known| (known.created, &known.object));
        let created = self.create.iter().find(|created| created.version == version);
        known.map(|known| known.hash.clone()).or_else(|| created.map(|created| created.prompt.hash.clone()))
    }

    /// A name for a prompt that has none: the proposed one if it is free, else the next number.
    fn free_name(&self, proposed: Option<&str>) -> String {
        let record = &self.record;
        let known = self.situation.versions.iter().map(|version| version.version.as_str());
        let created = self.create.iter().map(|version| version.version.as_str());
        let remembered = record.quarantine.iter().chain(&record.predecessor).map(|version| version.version.as_str());
        let serving = record.champion.iter().map(|champion| champion.version.as_str());
        let history = record
            .history
            .iter()
            .flat_map(|cycle| std::iter::once(cycle.champion.as_str()).chain(cycle.challenger.as_deref()));
        let others = self.situation.taken.iter().map(String::as_str);
        let taken: Vec<&str> =
            known.chain(created).chain(remembered).chain(serving).chain(history).chain(others).collect();
        match proposed {
            Some(proposed) if is_name(proposed) && !taken.contains(&proposed) => proposed.to_owned(),
            _ => format!("v{}", taken.iter().map(|name| number(name)).max().unwrap_or(0) + 1),
        }
    }

    /// The version of this prompt, created when there is none.
    pub(super) fn version_for(
        &mut self,
        prompt: &PromptText,
        proposed: Option<&str>,
        origin: VersionOrigin,
        details: (Option<String>, String, Vec<String>),
    ) -> String {
        if let Some(known) = self.named(&prompt.hash) {
            return known;
        }
        let version = self.free_name(proposed);
        let (parent, diff, addresses) = details;
        self.create.push(NewVersion {
            version: version.clone(),
            prompt: prompt.clone(),
            parent,
            diff,
            addresses,
            origin,
        });
        version
    }

    /// Where the version of this name stands now.
    pub(super) fn phase(&self, known: &KnownVersion) -> VersionPhase {
        phase_of(&self.record, &known.version, &known.hash, known.phase)
    }

    /// Whether this prompt was taken back.
    pub(super) fn is_quarantined(&self, hash: &str) -> bool {
        self.record.quarantine.iter().any(|taken_back| taken_back.hash == hash)
            || self.situation.versions.iter().any(|version| {
                version.hash == hash
                    && version.phase == Some(VersionPhase::RolledBack)
                    && !self.serves(&version.version)
            })
    }

    /// Whether the version of this name serves.
    pub(super) fn serves(&self, version: &str) -> bool {
        self.record.champion.as_ref().is_some_and(|champion| champion.version == version)
    }
}
