//! Prompt sets: the prompts of all participants in a conversation, versioned as one.
//!
//! Today's agents have one prompt. A set of one is hashed and written like that prompt alone, so recorded identities do not
//! change.

use std::collections::BTreeMap;

use super::hash::ContentHash;
use super::ids::Participant;
use super::prompt::Prompt;

/// The prompt of an agent, and those of further participants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptSet {
    system: Prompt,
    others: BTreeMap<Participant, Prompt>,
}

impl PromptSet {
    /// The name of the agent's own prompt.
    pub const SYSTEM: &'static str = "system";

    /// The prompt of the agent itself, which every set has.
    #[must_use]
    pub fn system(&self) -> &Prompt {
        &self.system
    }

    /// The same set with another prompt for the agent itself.
    #[must_use]
    pub fn with_system(&self, system: Prompt) -> Self {
        Self { system, others: self.others.clone() }
    }

    /// The same set with another prompt for a participant, which is added or replaced.
    #[must_use]
    pub fn with(mut self, participant: Participant, prompt: Prompt) -> Self {
        match participant.as_str() {
            Self::SYSTEM => self.system = prompt,
            _ => drop(self.others.insert(participant, prompt)),
        }
        self
    }

    /// The identity of a set of one prompt with this text, whether or not it can be divided into sections.
    #[must_use]
    pub fn hash_of(text: &str) -> ContentHash {
        ContentHash::of_bytes(text.as_bytes())
    }

    /// The identity of the set: the hash of the text if it has one prompt, else that of the hashes by participant.
    #[must_use]
    pub fn hash(&self) -> ContentHash {
        if self.others.is_empty() {
            return self.system.hash();
        }
        let others = self.others.iter().map(|(participant, prompt)| (participant.as_str(), prompt.hash()));
        let all: BTreeMap<&str, ContentHash> = others.chain([(Self::SYSTEM, self.system.hash())]).collect();
        ContentHash::of_json(&all)
    }
}

impl From<Prompt> for PromptSet {
    fn from(system: Prompt) -> Self {
        Self { system, others: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::PromptFormat;

    fn prompt(text: &str) -> Prompt {
        Prompt::parse(text, PromptFormat::Markdown).unwrap()
    }

    /// The first literal is the BLAKE3 hash of the text, as recorded by releases before there were sets.
    #[test]
    fn a_text_has_the_hash_of_its_set() {
        let text = "# Role\nHelp.";
        assert_eq!(PromptSet::hash_of(text), PromptSet::from(prompt(text)).hash());
    }

    #[test]
    fn a_set_of_one_prompt_has_the_hash_of_its_text_and_a_larger_one_that_of_all() {
        let alone = PromptSet::from(prompt("You help.\n"));
        assert_eq!(alone.hash(), ContentHash::of_bytes(b"You help.\n"));
        assert_eq!(alone.hash().short(), "3786386e6ff3");
        let team = alone.clone().with("agents/triage".into(), prompt("You sort.\n"));
        assert_eq!(team.hash().short(), "283fb27c1971");
        let other = |text| alone.clone().with("agents/triage".into(), prompt(text)).hash();
        assert_ne!(other("You sort.\n"), other("You sort again.\n"));
        let of_another = alone.clone().with("agents/billing".into(), prompt("You sort.\n"));
        assert_ne!(of_another.hash(), team.hash(), "whose prompt it is counts");
    }

    #[test]
    fn an_edit_of_the_agents_prompt_leaves_the_others_as_they_are() {
        let team = PromptSet::from(prompt("You help.\n")).with("agents/triage".into(), prompt("You sort.\n"));
        let edited = team.with_system(prompt("You help at once.\n"));
        assert_ne!(edited.hash(), team.hash());
        assert_eq!(edited.with_system(prompt("You help.\n")), team);
        assert_eq!(team.clone().with(PromptSet::SYSTEM.into(), prompt("You help at once.\n")), edited);
    }
}
