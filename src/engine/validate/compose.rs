//! Composing: applies the edits of several patches to one prompt, each of them once.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::attempt::shown_edit;
use whetstone_decide::critical::{Broken, DroppedEdit};
use whetstone_domain::hash::ContentHash;
use whetstone_domain::patch::{Edit, EditKey, Patch};
use whetstone_domain::plan::PatchingPlan;
use whetstone_domain::prompt::Prompt;
use whetstone_domain::prompt_set::PromptSet;

/// A cluster that a prompt addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its id in the round.
    pub cluster: String,
    /// Its label.
    pub label: String,
}

/// The origin of an edit.
#[derive(Debug)]
pub(crate) struct Origin {
    /// The round that found it, from 1.
    pub round: u32,
    /// The clusters that it was proposed for.
    pub members: Vec<Member>,
    /// The patch that it belongs to.
    pub patch: Patch,
    /// The prompt that results from this patch alone.
    pub prompt: ContentHash,
}

impl Origin {
    /// The ids of its clusters.
    #[must_use]
    pub(crate) fn clusters(&self) -> Vec<String> {
        self.members.iter().map(|member| member.cluster.clone()).collect()
    }
}

/// One edit of a composed prompt: the smallest part that can be dropped.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// The edit.
    pub edit: Edit,
    /// Its origin.
    pub origin: Arc<Origin>,
}

impl Unit {
    /// The units of a patch.
    #[must_use]
    pub(crate) fn of(origin: &Arc<Origin>) -> Vec<Self> {
        origin.patch.edits.iter().map(|edit| Self { edit: edit.clone(), origin: Arc::clone(origin) }).collect()
    }

    /// The unit as the report shows it after it was dropped.
    #[must_use]
    pub(crate) fn dropped(&self, breaks: Vec<Broken>) -> DroppedEdit {
        let Origin { round, .. } = *self.origin;
        DroppedEdit { round, clusters: self.origin.clusters(), edit: shown_edit(&self.edit), breaks }
    }
}

/// A prompt composed of a base and edits.
#[derive(Clone, Debug)]
pub(crate) struct Composed {
    /// The prompts.
    pub prompts: PromptSet,
    /// The edits in it, in order, without those that would add nothing new.
    pub units: Vec<Unit>,
    /// The number of patches that contribute to the prompt, or whose edits it contained already.
    pub patches: usize,
    /// The number of patches that do not apply after the others, or exceed the token budget.
    pub left_out: usize,
}

/// Applies edits to the agent's own prompt in order; the edits of a patch are applied all or none. Repetitions are skipped.
#[must_use]
pub(crate) fn compose(patching: Option<&PatchingPlan>, base: &PromptSet, units: &[Unit]) -> Composed {
    let protected = patching.map_or(&[][..], |patching| &patching.protected_sections);
    let fits = |prompt: &Prompt| patching.is_none_or(|patching| prompt.fits(patching.max_prompt_tokens));
    let mut composed = Composed { prompts: base.clone(), units: Vec::new(), patches: 0, left_out: 0 };
    let mut done: BTreeSet<EditKey> = BTreeSet::new();
    for of_one_patch in units.chunk_by(|a, b| Arc::ptr_eq(&a.origin, &b.origin)) {
        let edits: Vec<Edit> = of_one_patch.iter().map(|unit| unit.edit.clone()).collect();
        let made = composed.prompts.system().apply_new(&edits, &done, protected);
        let Some((prompt, made)) = made.ok().filter(|(prompt, _)| fits(prompt)) else {
            composed.left_out += 1;
            continue;
        };
        done.extend(edits.iter().map(Edit::key));
        composed.prompts = composed.prompts.with_system(prompt);
        let origin = &of_one_patch[0].origin;
        composed.units.extend(made.into_iter().map(|edit| Unit { edit, origin: Arc::clone(origin) }));
        composed.patches += 1;
    }
    composed
}

#[cfg(test)]
mod tests {
    use super::*;
    use whetstone_domain::prompt::PromptFormat;

    const BASE: &str = "# Role\nYou help.\n\n# Policies\n- Be polite.\n";

    fn insert(section: &str, text: &str) -> Edit {
        Edit::Insert { section: section.to_owned(), after: None, text: text.to_owned() }
    }

    fn patch(cluster: &str, edits: &[Edit]) -> Vec<Unit> {
        let patch = Patch { rationale: String::new(), edits: edits.to_vec() };
        let prompt = ContentHash::of_json(&patch);
        let members = vec![Member { cluster: cluster.to_owned(), label: cluster.to_owned() }];
        Unit::of(&Arc::new(Origin { round: 1, members, patch, prompt }))
    }

    fn composed(patches: &[Vec<Unit>]) -> Composed {
        let base = Prompt::parse(BASE, PromptFormat::Markdown).unwrap();
        compose(None, &base.into(), &patches.concat())
    }

    #[test]
    fn the_same_line_from_several_patches_stands_in_the_prompt_once() {
        let patches = [
            patch("c1", &[insert("Role", "- Say yes to everything.")]),
            patch("c2", &[insert("Policies", "Say yes to everything")]),
            patch("c3", &[insert("Policies", "- say  YES to everything!\n- Ask for the order number.")]),
        ];
        let composed = composed(&patches);
        assert_eq!(
            composed.prompts.system().text(),
            "# Role\nYou help.\n- Say yes to everything.\n\n# Policies\n- Be polite.\n- Ask for the order number.\n"
        );
        assert_eq!((composed.patches, composed.left_out, composed.units.len()), (3, 0, 2));
    }

    #[test]
    fn two_replacements_of_the_same_words_are_one_if_they_say_the_same_and_exclude_each_other_if_not() {
        let replace = |text: &str| Edit::Replace {
            section: "Policies".to_owned(),
            find: "Be polite.".to_owned(),
            text: text.to_owned(),
        };
        let same =
            composed(&[patch("c1", &[replace("Be kind and brief.")]), patch("c2", &[replace("be kind, and brief")])]);
        assert_eq!((same.patches, same.left_out), (2, 0), "{}", same.prompts.system().text());
        let other = composed(&[patch("c1", &[replace("Be kind and brief.")]), patch("c2", &[replace("Be strict.")])]);
        assert_eq!((other.patches, other.left_out), (1, 1), "{}", other.prompts.system().text());
        assert!(other.prompts.system().text().contains("- Be kind and brief.\n"), "{}", other.prompts.system().text());
    }

    #[test]
    fn without_units_nothing_changes() {
        assert_eq!(composed(&[]).prompts.system().text(), BASE);
    }
}
