//! Versions: their names, and where each stands.

use std::collections::HashMap;

use jiff::Timestamp;

use super::record::Record;
use super::{PromptText, Step};
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::{DimensionName, VersionName};
use whetstone_domain::score::Score;
use whetstone_domain::version::VersionPhase;

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
#[derive(Clone, Debug, PartialEq)]
pub struct KnownVersion {
    /// The name of the object.
    pub object: String,
    /// The name of the version.
    pub version: VersionName,
    /// The hash of its prompt.
    pub hash: ContentHash,
    /// Where its status says it stands; `None` before the operator has seen it.
    pub phase: Option<VersionPhase>,
    /// Its aggregate score when it was measured last.
    pub score: Option<Score>,
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
    pub version: VersionName,
    /// Its prompt.
    pub prompt: PromptText,
    /// The version that it was made from.
    pub parent: Option<VersionName>,
    /// The difference from the parent, in unified form; empty without a parent, or when nobody has made it yet.
    pub diff: String,
    /// The clusters that it addresses.
    pub addresses: Vec<String>,
    /// Where it comes from.
    pub origin: VersionOrigin,
}

/// What is to be written about a version.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionVerdict {
    /// The name of the version.
    pub version: VersionName,
    /// The object that it is about; the one that [holds](Names::holds) the name when absent.
    pub object: Option<String>,
    /// Where it stands, if the record does not tell.
    pub phase: Option<VersionPhase>,
    /// Why, the most important reason first.
    pub reasons: Vec<String>,
    /// Its aggregate score.
    pub score: Option<Score>,
    /// Its scores by dimension.
    pub dimensions: Vec<(DimensionName, Score)>,
}

impl VersionVerdict {
    /// Nothing yet about this version.
    #[must_use]
    pub fn about(version: VersionName) -> Self {
        Self { version, object: None, phase: None, reasons: Vec::new(), score: None, dimensions: Vec::new() }
    }

    /// Whether it is about this version. `holds` says that the version [holds](Names::holds) its name.
    #[must_use]
    pub fn is_about(&self, known: &KnownVersion, holds: bool) -> bool {
        match &self.object {
            Some(object) => *object == known.object,
            None => holds && self.version == known.version,
        }
    }
}

/// Which object each name means. A person may apply a PromptVersion under a name that another one has.
#[derive(Clone, Debug)]
pub struct Names<'v>(HashMap<&'v VersionName, Vec<&'v KnownVersion>>);

impl<'v> Names<'v> {
    /// The names of these versions.
    #[must_use]
    pub fn of(versions: impl IntoIterator<Item = &'v KnownVersion>) -> Self {
        let mut names: HashMap<&VersionName, Vec<&KnownVersion>> = HashMap::new();
        for known in versions {
            names.entry(&known.version).or_default().push(known);
        }
        for named in names.values_mut() {
            named.sort_by_key(|known| {
                (known.fault.is_some(), known.origin == VersionOrigin::Applied, known.created, &known.object)
            });
        }
        Self(names)
    }

    /// The object that a name means: the one with the prompt that the record knows by it, then one that the operator wrote, then
    /// the oldest. `None` when no object has the prompt that the record knows.
    #[must_use]
    pub fn holder(&self, record: &Record, version: &VersionName) -> Option<&'v KnownVersion> {
        let known_hash = hash_in(record, version);
        let mut named = self.0.get(version)?.iter();
        named.find(|known| known_hash.is_none_or(|hash| hash == known.hash)).copied()
    }

    /// Whether a version is the one that its name means.
    #[must_use]
    pub fn holds(&self, record: &Record, known: &KnownVersion) -> bool {
        self.holder(record, &known.version).is_some_and(|holder| holder.object == known.object)
    }
}

/// The hash of the prompt that the record knows by a name.
fn hash_in(record: &Record, version: &VersionName) -> Option<ContentHash> {
    let champion = record.champion.iter().map(|it| (&it.version, it.hash));
    let challenger = record.challenger.iter().map(|it| (&it.version, it.hash));
    let others = record.predecessor.iter().chain(&record.quarantine).map(|it| (&it.version, it.hash));
    champion.chain(challenger).chain(others).find(|(name, _)| *name == version).map(|(_, hash)| hash)
}

/// Where a version stands. What the record says comes first; else what was said before. `holds` says that it
/// [holds](Names::holds) its name: only then does the record mean it by that.
#[must_use]
pub fn phase_of(record: &Record, known: &KnownVersion, holds: bool) -> VersionPhase {
    let KnownVersion { version, hash, phase: before, .. } = known;
    let champion = record.champion.as_ref();
    if holds && champion.is_some_and(|champion| champion.version == *version && champion.hash == *hash) {
        return VersionPhase::Champion;
    }
    if record.quarantine.iter().any(|taken_back| taken_back.hash == *hash) {
        return VersionPhase::RolledBack;
    }
    let challenger = record.challenger.as_ref();
    if holds && challenger.is_some_and(|challenger| challenger.version == *version && challenger.hash == *hash) {
        return VersionPhase::Challenger;
    }
    match before {
        Some(VersionPhase::Champion) if holds => VersionPhase::Superseded,
        // Its gate ended without a verdict about it, or it was taken for another one.
        Some(VersionPhase::Champion | VersionPhase::Challenger) | None => VersionPhase::Candidate,
        Some(phase) => *phase,
    }
}

/// The names of the objects that are too many. `versions` with their phases; the champion, its predecessor, the challenger, what
/// waits for the gate and what a person applied by hand are never among them.
#[must_use]
pub fn retained(record: &Record, versions: &[KnownVersion], keep: usize) -> Vec<String> {
    let named = |version: &KnownVersion| {
        let champion = record.champion.as_ref().is_some_and(|champion| champion.version == version.version);
        let predecessor = record.predecessor.as_ref().is_some_and(|before| before.version == version.version);
        let challenger = record.challenger.as_ref().is_some_and(|challenger| challenger.version == version.version);
        champion || predecessor || challenger
    };
    let names = Names::of(versions);
    let mut old: Vec<&KnownVersion> = versions
        .iter()
        .filter(|version| version.origin != VersionOrigin::Applied && !named(version))
        .filter(|version| {
            let phase = phase_of(record, version, names.holds(record, version));
            matches!(phase, VersionPhase::Superseded | VersionPhase::Rejected | VersionPhase::RolledBack)
        })
        .collect();
    old.sort_by(|a, b| {
        b.created.cmp(&a.created).then_with(|| number(b.version.as_str()).cmp(&number(a.version.as_str())))
    });
    old.into_iter().skip(keep).map(|version| version.object.clone()).collect()
}

/// The highest number that counts. A person may name a version by a higher one, and the operator goes on from where it was.
const HIGHEST: u64 = 999_999_999;

/// The number of a version that is named as the operator names them; 0 for another name.
fn number(version: &str) -> u64 {
    let number = version.strip_prefix('v').and_then(|number| number.parse().ok());
    number.filter(|number| *number <= HIGHEST).unwrap_or(0)
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
    pub(super) fn named(&self, hash: ContentHash) -> Option<VersionName> {
        let known = self.situation.versions.iter().filter(|version| version.hash == hash && self.holds(version));
        // Somebody may have applied the same prompt again under another name: the older one is meant.
        let oldest = known.min_by_key(|version| (version.created, number(version.version.as_str())));
        let created = self.create.iter().find(|version| version.prompt.hash == hash);
        oldest.map(|version| version.version.clone()).or_else(|| created.map(|version| version.version.clone()))
    }

    /// The hash of the version of this name.
    pub(super) fn hash_of(&self, version: &VersionName) -> Option<ContentHash> {
        let known = self.holder(version).filter(|known| known.fault.is_none());
        let created = self.create.iter().find(|created| created.version == *version);
        // Its object may be gone; its prompt is in the store.
        let before = self.record.predecessor.as_ref().filter(|before| before.version == *version);
        known
            .map(|known| known.hash)
            .or_else(|| created.map(|created| created.prompt.hash))
            .or_else(|| before.map(|before| before.hash))
    }

    /// The object that a name means.
    pub(super) fn holder(&self, version: &VersionName) -> Option<&KnownVersion> {
        self.names.holder(&self.record, version)
    }

    /// Whether a version is the one that its name means.
    pub(super) fn holds(&self, known: &KnownVersion) -> bool {
        self.names.holds(&self.record, known)
    }

    /// The score that a version had when it was measured last.
    pub(super) fn known_score(&self, version: &VersionName, hash: ContentHash) -> Option<Score> {
        self.holder(version).filter(|known| known.hash == hash)?.score
    }

    /// A name for a prompt that has none: the proposed one if it is free, else the next number. `is_its_own` says that the prompt
    /// had it in an earlier life.
    fn free_name(&self, proposed: Option<&VersionName>, is_its_own: bool) -> VersionName {
        let record = &self.record;
        let known = self.situation.versions.iter().map(|version| version.version.as_str());
        let created = self.create.iter().map(|version| version.version.as_str());
        let remembered = record.quarantine.iter().chain(&record.predecessor).map(|version| version.version.as_str());
        let serving = record.champion.iter().map(|champion| champion.version.as_str());
        let history = record
            .history
            .iter()
            .flat_map(|cycle| std::iter::once(&cycle.champion).chain(&cycle.challenger))
            .map(VersionName::as_str);
        let others = self.situation.taken.iter().map(String::as_str);
        let taken: Vec<&str> =
            known.chain(created).chain(remembered).chain(serving).chain(history).chain(others).collect();
        match proposed {
            // A lower number was a name before, whether or not anybody remembers of what.
            Some(proposed)
                if is_name(proposed.as_str())
                    && !taken.contains(&proposed.as_str())
                    && (is_its_own || !(1..=self.last_number()).contains(&number(proposed.as_str()))) =>
            {
                proposed.clone()
            }
            _ => {
                let highest = taken.iter().map(|name| number(name)).max().unwrap_or(0).max(self.last_number());
                format!("v{}", highest + 1).into()
            }
        }
    }

    /// The highest number that a version was ever named by, in this life and in those that are remembered.
    fn last_number(&self) -> u64 {
        let remembered = self.situation.remembered.iter().map(|version| number(version.version.as_str())).max();
        self.record.last_number.max(remembered.unwrap_or(0))
    }

    /// Notes the highest number that a version is named by. Objects go, and the history has an end.
    pub(super) fn count_names(&mut self) {
        let known = self.situation.versions.iter().map(|version| version.version.as_str());
        let created = self.create.iter().map(|version| version.version.as_str());
        let serving = self.record.champion.iter().map(|champion| champion.version.as_str());
        let highest = known.chain(created).chain(serving).map(number).max().unwrap_or(0);
        self.record.last_number = highest.max(self.last_number());
    }

    /// The version of this prompt, created when there is none.
    pub(super) fn version_for(
        &mut self,
        prompt: &PromptText,
        proposed: Option<&VersionName>,
        origin: VersionOrigin,
        details: (Option<VersionName>, String, Vec<String>),
    ) -> VersionName {
        if let Some(known) = self.named(prompt.hash) {
            return known;
        }
        // A prompt that an earlier life of the object had keeps its name, and no other prompt gets that.
        let mut remembered = self.situation.remembered.iter();
        let before = remembered.clone().find(|version| version.hash == prompt.hash).map(|before| &before.version);
        let proposed = before.or(proposed.filter(|name| remembered.all(|version| version.version != **name)));
        let version = self.free_name(proposed, before.is_some());
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
        phase_of(&self.record, known, self.holds(known))
    }

    /// Whether this prompt was taken back.
    pub(super) fn is_quarantined(&self, hash: ContentHash) -> bool {
        self.record.quarantine.iter().any(|taken_back| taken_back.hash == hash)
            || self.situation.versions.iter().any(|version| {
                version.hash == hash
                    && version.phase == Some(VersionPhase::RolledBack)
                    && !self.serves(&version.version)
            })
    }

    /// Whether the version of this name serves.
    pub(super) fn serves(&self, version: &VersionName) -> bool {
        self.record.champion.as_ref().is_some_and(|champion| champion.version == *version)
    }
}
