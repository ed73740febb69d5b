//! Phase *apply*: a verdict → the versions and the content of the target ConfigMap. Pure: the caller decides who writes
//! them, and where.

use std::collections::BTreeMap;

use super::ports::Memory;
use whetstone_domain::ids::VersionName;
use whetstone_domain::prompt::{Prompt, diff};
use whetstone_domain::version::{Version, VersionPhase};

/// The key of the target ConfigMap that holds the champion's prompt.
pub const PROMPT_KEY: &str = "system-prompt";
/// The key that holds the champion's version.
pub const VERSION_KEY: &str = "version";
/// The key that holds the hash of the champion's prompt.
pub const HASH_KEY: &str = "prompt-hash";

/// A prompt that was compared with the champion, and what it addresses.
#[derive(Clone, Debug)]
pub struct Challenger<'a> {
    /// The name of its version.
    pub name: VersionName,
    /// The prompt.
    pub prompt: &'a Prompt,
    /// The labels of the clusters that it addresses.
    pub addresses: Vec<String>,
    /// Its phase after the verdict.
    pub phase: VersionPhase,
}

/// Champion and challenger as versions. The challenger is a child of the champion, with the diff between them; the
/// champion is superseded when the challenger is the new champion.
#[must_use]
pub fn versions(champion: &Prompt, challenger: Option<Challenger<'_>>, memory: &Memory) -> Vec<Version> {
    let name = VersionName::from(memory.champion_version.as_str());
    let promoted = challenger.as_ref().is_some_and(|challenger| challenger.phase == VersionPhase::Champion);
    let mut versions = vec![Version {
        name: name.clone(),
        hash: champion.hash(),
        text: champion.text().to_owned(),
        parent: None,
        diff: String::new(),
        addresses: Vec::new(),
        phase: if promoted { VersionPhase::Superseded } else { VersionPhase::Champion },
    }];
    if let Some(Challenger { name: child, prompt, addresses, phase }) = challenger {
        versions.push(Version {
            diff: diff(champion, prompt, (name.as_str(), child.as_str())),
            name: child,
            hash: prompt.hash(),
            text: prompt.text().to_owned(),
            parent: Some(name),
            addresses,
            phase,
        });
    }
    versions
}

/// The content of the target ConfigMap: prompt, version and hash of the champion, always together.
#[must_use]
pub fn target_data(versions: &[Version]) -> BTreeMap<String, String> {
    let champion = versions.iter().find(|version| version.phase == VersionPhase::Champion);
    champion
        .map(|champion| {
            BTreeMap::from([
                (PROMPT_KEY.to_owned(), champion.text.clone()),
                (VERSION_KEY.to_owned(), champion.name.to_string()),
                (HASH_KEY.to_owned(), champion.hash.to_string()),
            ])
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use whetstone_domain::prompt::PromptFormat;

    fn prompt(text: &str) -> Prompt {
        Prompt::parse(text, PromptFormat::Markdown).unwrap()
    }

    fn memory() -> Memory {
        Memory { champion_version: "v4".to_owned(), next_version: 7, ..Memory::default() }
    }

    #[test]
    fn a_promoted_challenger_supersedes_the_champion_and_its_text_version_and_hash_go_together() {
        let (old, new) = (prompt("# Role\nHelp.\n"), prompt("# Role\nHelp.\nAsk first.\n"));
        let addresses = vec!["accuracy: guesses".to_owned()];
        let challenger = Challenger { name: "v7".into(), prompt: &new, addresses, phase: VersionPhase::Champion };
        let versions = versions(&old, Some(challenger), &memory());
        assert_eq!(versions[0].phase, VersionPhase::Superseded);
        assert_eq!(versions[1].parent, Some("v4".into()));
        assert!(versions[1].diff.contains("+Ask first."), "{}", versions[1].diff);
        let data = target_data(&versions);
        assert_eq!(data["version"], "v7");
        assert_eq!(data["system-prompt"], "# Role\nHelp.\nAsk first.\n");
        assert_eq!(data["prompt-hash"], new.hash().to_string());
    }

    #[test]
    fn a_rejected_challenger_leaves_the_configmap_untouched() {
        let (old, new) = (prompt("# Role\nHelp.\n"), prompt("# Role\nObey.\n"));
        let challenger =
            Challenger { name: "v7".into(), prompt: &new, addresses: Vec::new(), phase: VersionPhase::Rejected };
        let data = target_data(&versions(&old, Some(challenger), &memory()));
        assert_eq!(data["version"], "v4");
        assert_eq!(data["prompt-hash"], old.hash().to_string());
    }
}
