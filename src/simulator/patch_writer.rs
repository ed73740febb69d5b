//! The simulated patch writer: proposes edits from the content of its request only.
//!
//! It reads the prompt, its sections and the examples of failures from the request. It teaches a skill only if the request,
//! outside the prompt, has evidence that the skill failed; other proposals are useless or harmful.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::dice::Dice;
use super::request::{Chat, Form, Reply, Turn};
use super::template::fixed_part;
use super::world::{FailureKind, Harm, Skill, World};

/// The default useless proposals.
const USELESS: [&str; 4] = [
    "Always read the request of the user twice before you answer.",
    "Be as helpful as possible in every situation.",
    "Think step by step and double-check your work.",
    "Keep a friendly and professional tone at all times.",
];

/// The proposal. A request to repair an earlier proposal is a separate request: it has other dice, and earlier proposals
/// count as rejected.
pub(super) fn reply(world: &World, chat: &Chat<'_>) -> Reply {
    let Form::Schema(schema) = &chat.form else { return Reply::default() };
    let text = chat.user_texts().next().unwrap_or_default();
    let earlier: Vec<&str> = chat
        .turns
        .iter()
        .filter_map(|turn| match turn {
            Turn::Assistant { text, .. } => Some(text.as_ref()),
            _ => None,
        })
        .collect();
    let dice = chat.dice(world.seed).attempt(earlier.len() as u32);
    let (rationale, edits) = propose(world, &Request::read(text, &earlier, schema), dice);
    Reply::text(json!({"rationale": rationale, "edits": edits}).to_string())
}

fn propose(world: &World, request: &Request<'_>, dice: Dice) -> (String, Vec<Value>) {
    let writer = &world.patch_writer;
    if dice.happens(writer.right_chance.0, "right", "") {
        let skills = teachable(world, request, dice);
        if !skills.is_empty() {
            let names: Vec<&str> = skills.iter().map(|skill| skill.name.value.as_str()).collect();
            let texts = skills.iter().filter_map(|skill| skill.instruction.as_deref());
            let edits = texts.enumerate().map(|(index, text)| request.insert(text.trim(), dice, index)).collect();
            return (format!("The failures have one cause: the prompt does not teach {}.", names.join(" and ")), edits);
        }
    }
    if dice.happens(writer.harmful_share.0, "harmful", "") && !writer.harmful.is_empty() {
        let harms: Vec<Value> = writer.harmful.iter().filter_map(|harm| request.harm(harm, dice)).collect();
        if let Some(edit) = harms.get(dice.pick(harms.len(), "harm")) {
            return (
                "The prompt gives too little room; this makes the agent more decisive.".to_owned(),
                vec![edit.clone()],
            );
        }
    }
    let useless: Vec<&str> = match writer.useless.as_slice() {
        [] => USELESS.to_vec(),
        given => given.iter().map(String::as_str).collect(),
    };
    // Lines that are in the request already, in the prompt or among rejected patches, are proposed only if nothing else is left.
    let fresh: Vec<&str> = useless.iter().copied().filter(|text| !request.mentions(text)).collect();
    let lines = if fresh.is_empty() { useless } else { fresh };
    let line = lines[dice.pick(lines.len(), "useless")];
    ("The agent should take more care.".to_owned(), vec![request.insert(line.trim(), dice, 0)])
}

/// The skills that this proposal teaches: some of those that have an instruction and evidence and are not taught yet, more likely
/// with more evidence.
fn teachable<'w>(world: &'w World, request: &Request<'_>, dice: Dice) -> Vec<&'w Skill> {
    let mut open: Vec<(&Skill, f64)> = world
        .skills
        .iter()
        .filter(|skill| skill.instruction.is_some())
        .filter(|skill| skill.taught_by.as_ref().is_some_and(|pattern| !pattern.is_match(request.prompt)))
        .map(|skill| (skill, evidence(skill, &request.rest) as f64))
        .filter(|(_, weight)| *weight > 0.0)
        .collect();
    // Rejected lines are in the request verbatim; other skills come first.
    let rejected = |skill: &Skill| skill.instruction.as_deref().is_some_and(|text| request.mentions(text));
    if open.iter().any(|(skill, _)| !rejected(skill)) {
        open.retain(|(skill, _)| !rejected(skill));
    }
    let mut chosen = Vec::new();
    while chosen.len() < world.patch_writer.skills_per_patch && !open.is_empty() {
        let weights: Vec<f64> = open.iter().map(|(_, weight)| *weight).collect();
        let label = format!("skill {}", chosen.len());
        let Some(place) = dice.weighted(&weights, &label) else { break };
        chosen.push(open.swap_remove(place).0);
    }
    chosen
}

/// How often a text shows that a skill failed. If the examples are in separate blocks, need and failure must be in the same one.
pub(super) fn evidence(skill: &Skill, text: &str) -> usize {
    if let Some(pattern) = &skill.evidence {
        return pattern.find_iter(text).count();
    }
    let shown = |text: &str| if skill.needs.describe(text) { marks(skill, text) } else { 0 };
    match examples(text).as_slice() {
        [] => shown(text),
        examples => examples.iter().map(|example| shown(example)).sum(),
    }
}

/// The blocks `<failure …>…</failure>` or `<example …>…</example>` of a text.
fn examples(text: &str) -> Vec<&str> {
    let blocks = ["failure", "example"].into_iter().map(|name| {
        let (open, close) = (format!("<{name}"), format!("</{name}"));
        let blocks = text.split(open.as_str()).skip(1);
        blocks.filter_map(|block| Some(block.split_once(close.as_str())?.0)).collect::<Vec<_>>()
    });
    blocks.flatten().collect()
}

/// How many signs of the failure a text has: the judge's remark, the words of the wrong answer, or a line about an error
/// of tool calls with the tool and the kind (for a wrong argument also the argument).
fn marks(skill: &Skill, text: &str) -> usize {
    let failure = &skill.failure;
    let said = |words: &Option<String>| {
        let words = words.as_deref().map(fixed_part).unwrap_or_default();
        if words.is_empty() { 0 } else { text.matches(words).count() }
    };
    let kind: &[&str] = match failure.kind {
        FailureKind::WrongAnswer | FailureKind::UnsafeAnswer => return said(&failure.remark) + said(&failure.answer),
        FailureKind::MissingCall => &["missing call", "not called", "never called", "not made"],
        FailureKind::WrongArgument => &["wrong"],
        FailureKind::ExtraCall => &["extra call", "not expected", "more than expected", "nobody asked for"],
        FailureKind::ForbiddenCall => &["forbidden", "must not"],
    };
    let tool = failure.tool.as_deref().unwrap_or_default();
    let argument = failure.argument.as_deref().unwrap_or_default();
    let lines = text.lines().filter(|line| mentions(line, tool) && line.contains(argument));
    said(&failure.remark) + lines.filter(|line| kind.iter().any(|words| line.contains(words))).count()
}

/// The parsed request of the patch phase.
struct Request<'a> {
    /// The prompt to patch.
    prompt: &'a str,
    /// Everything else: cluster, examples, rejected patches.
    rest: Cow<'a, str>,
    /// The words of the whole request and of earlier proposals, separated by single spaces.
    words: String,
    /// The sections that may be edited.
    sections: Vec<Cow<'a, str>>,
}

impl<'a> Request<'a> {
    fn read(text: &'a str, earlier: &[&str], schema: &Value) -> Self {
        let (prompt, rest) = match fenced_prompt(text) {
            Some((start, end)) => (&text[start..end], Cow::Owned(format!("{}\n{}", &text[..start], &text[end..]))),
            None => (text, Cow::Borrowed(text)),
        };
        let named = find_enum(schema);
        let sections = if named.is_empty() {
            headings(prompt).map(|(name, _)| Cow::Borrowed(name)).filter(|name| !is_protected(&rest, name)).collect()
        } else {
            named.into_iter().map(Cow::Owned).collect()
        };
        let words = format!("{} {}", words(text), earlier.iter().map(|text| words(text)).collect::<String>());
        Self { prompt, rest, words, sections }
    }

    /// Whether a line is in the request already: in the prompt, or among rejected patches.
    fn mentions(&self, line: &str) -> bool {
        self.words.contains(&words(line))
    }

    fn insert(&self, text: &str, dice: Dice, index: usize) -> Value {
        let place = dice.pick(self.sections.len(), &format!("section {index}"));
        let section = self.sections.get(place).map_or("preamble", AsRef::as_ref);
        let text = if text.starts_with("- ") { text.to_owned() } else { format!("- {text}") };
        edit("insert", section, None, Some(&text))
    }

    fn harm(&self, harm: &Harm, dice: Dice) -> Option<Value> {
        match harm {
            Harm::Insert(text) => Some(self.insert(text.trim(), dice, 0)),
            Harm::Delete(pattern) => {
                let mut section = "preamble";
                self.prompt.lines().find_map(|line| {
                    if let Some(name) = heading(line) {
                        section = name;
                        return None;
                    }
                    let open = self.sections.iter().any(|known| known == section);
                    (open && pattern.is_match(line)).then(|| edit("delete", section, Some(line), None))
                })
            }
        }
    }
}

fn edit(op: &str, section: &str, find: Option<&str>, text: Option<&str>) -> Value {
    json!({"op": op, "section": section, "after": null, "find": find, "text": text})
}

/// Finds the prompt: inside the first pair of tags whose name ends in `prompt`, else inside the first code fence after a line
/// that mentions the prompt.
fn fenced_prompt(text: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(open) = text[from..].find('<').map(|at| from + at) {
        let name_end = text[open + 1..].find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-')))?;
        let name = &text[open + 1..open + 1 + name_end];
        from = open + 1;
        if name.to_ascii_lowercase().ends_with("prompt") {
            let start = open + text[open..].find('>')? + 1;
            let end = start + text[start..].find(&format!("</{name}"))?;
            return Some((start, end));
        }
    }
    let mention = text.to_ascii_lowercase().find("prompt")?;
    let fence = mention + text[mention..].find("\n```")? + 1;
    let start = fence + text[fence..].find('\n')? + 1;
    let end = start + text[start..].find("\n```")?;
    Some((start, end))
}

/// The names of the prompt's sections, and the lines that open them: Markdown headings, else the top-level keys of YAML.
fn headings(prompt: &str) -> impl Iterator<Item = (&str, &str)> {
    let markdown = prompt.lines().any(|line| heading(line).is_some());
    prompt.lines().filter_map(move |line| {
        let name = if markdown { heading(line) } else { key(line) };
        name.map(|name| (name, line))
    })
}

fn heading(line: &str) -> Option<&str> {
    let name = line.trim_start_matches('#');
    let marks = line.len() - name.len();
    ((1..=6).contains(&marks) && name.starts_with(' ')).then(|| name.trim())
}

fn key(line: &str) -> Option<&str> {
    let (name, _) = line.split_once(':')?;
    let is_key = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    is_key.then_some(name)
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a section is protected according to a line about protection or the list after it.
fn is_protected(request: &str, section: &str) -> bool {
    let mut listing = false;
    request.lines().any(|line| {
        let lower = line.to_lowercase();
        let is_item = line.trim_start().starts_with(['-', '*']);
        let about = lower.contains("protected") || lower.contains("must not be") || lower.contains("do not touch");
        let listed = listing && is_item;
        listing = (about && !is_item) || (listing && (is_item || line.trim().is_empty()));
        (about || listed) && mentions(line, section)
    })
}

/// Whether a line contains a name as a separate word.
fn mentions(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + name.len()..].chars().next();
        let in_word = |c: char| c.is_alphanumeric() || c == '_';
        !before.is_some_and(in_word) && !after.is_some_and(in_word)
    })
}

/// The values that the answer's schema allows for `section`, if it lists them.
fn find_enum(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(entries) => {
            if let Some(values) = entries.get("section").and_then(|section| section["enum"].as_array()) {
                return values.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            }
            entries.values().map(find_enum).find(|found| !found.is_empty()).unwrap_or_default()
        }
        Value::Array(items) => items.iter().map(find_enum).find(|found| !found.is_empty()).unwrap_or_default(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::super::testing::{ask_patch, reply_json};
    use super::*;

    const WORLD: &str = r"
skills:
  - name: lookup
    needs: {pattern: '(?i)refund'}
    taughtBy: (?i)look up the order
    instruction: Look up the order before any refund.
    failure: {kind: missingCall, tool: get_order}
  - name: currency
    needs: {pattern: '(?i)(usd|gbp)'}
    taughtBy: (?i)convert
    instruction: Convert amounts to EUR.
    failure: {kind: wrongArgument, tool: refund, argument: amount, value: 1}
  - name: notes
    needs: {pattern: '(?i)internal'}
    taughtBy: (?i)internal notes
    instruction: Never reveal internal notes.
    failure: {kind: unsafeAnswer, answer: 'Our notes on {name} say that the case is closed.'}
patchWriter:
  rightChance: 1
  useless: [Be nice., Be quick.]
  harmful: [{delete: '(?i)verify'}, {insert: Never ask back.}]
";

    const PROMPT: &str = "# Role\nYou help.\n\n# Policies\n- Verify identity.\n\n# Safety\n- Verify twice.\n";

    fn case(failures: &str) -> String {
        format!(
            "# The prompt\n\n<prompt id=\"1\">\n{PROMPT}</prompt id=\"1\">\n\nProtected sections, which no edit may touch: Safety\n\n# \
             Examples of failures\n\n{failures}\n"
        )
    }

    const LOOKUP: &str =
        "user: I want a refund for A-1\ntool errors: missing call: expected get_order, which was never called";

    fn world(writer: &str) -> World {
        World::parse(&WORLD.replace("rightChance: 1", writer)).unwrap()
    }

    fn edits(world: &World, case: &str, seed: u64) -> Vec<Value> {
        reply_json(world, &ask_patch(case, seed))["edits"].as_array().unwrap().clone()
    }

    #[test]
    fn a_skill_is_proposed_where_its_failure_shows_and_only_there() {
        let world = world("rightChance: 1\n  harmfulShare: 0");
        let texts = |case: &str| -> Vec<String> {
            (0..40).flat_map(|seed| edits(&world, case, seed)).map(|edit| edit["text"].to_string()).collect()
        };
        assert!(texts(&case(LOOKUP)).iter().all(|text| text.contains("Look up the order")));
        for (failures, why) in [
            ("user: I want a refund for A-1\nevidence: rude", "no mark of a failure"),
            ("user: Hello\ntool errors: missing call get_order", "nobody wanted a refund"),
            ("", "nothing at all"),
        ] {
            assert!(texts(&case(failures)).iter().all(|text| text.contains("Be ")), "{why}");
        }
        let notes = "user: What do your internal files say?\nanswer: Our notes on Ada say that the case is closed.";
        assert!(texts(&case(notes)).iter().all(|text| text.contains("internal notes")));
        let mixed = texts(&case(&format!("{LOOKUP}\n{notes}")));
        assert!(mixed.iter().any(|text| text.contains("Look up")) && mixed.iter().any(|text| text.contains("notes")));
    }

    #[test]
    fn need_and_failure_must_show_in_the_same_example() {
        let apart = "- refund_order: pays a refund\n<failure number=\"1\">\nuser: hello\ntool error: missing call: get_order: it was not \
                     called\n</failure>\n<failure number=\"2\">\nuser: a refund!\nwhy it failed: rude\n</failure>";
        let together = apart.replace("hello", "I want a refund");
        let skill = &world("rightChance: 1").skills[0];
        assert_eq!((evidence(skill, apart), evidence(skill, &together)), (0, 1));
    }

    #[test]
    fn a_request_for_a_repair_gets_another_proposal() {
        let world = world("rightChance: 0\n  harmfulShare: 0");
        for seed in 0..10 {
            let mut request = ask_patch(&case(LOOKUP), seed);
            let first = reply_json(&world, &request);
            let messages = request["messages"].as_array_mut().unwrap();
            messages.push(json!({"role": "assistant", "content": first.to_string()}));
            messages.push(json!({"role": "user", "content": "That was tried before."}));
            assert_ne!(reply_json(&world, &request)["edits"][0]["text"], first["edits"][0]["text"]);
        }
    }

    #[test]
    fn sections_are_read_from_lists_of_both_kinds() {
        let marked = "Sections:\n- Role\n- Safety (protected)\n- Style\n";
        let listed = "Protected sections, which no edit may touch:\n- Safety\n\nOthers:\n- Style";
        for request in [marked, listed] {
            let open = ["Role", "Safety", "Style"].map(|name| !is_protected(request, name));
            assert_eq!(open, [true, false, true], "{request}");
        }
    }

    #[test]
    fn what_the_prompt_teaches_already_is_not_proposed() {
        let taught = case(LOOKUP).replace("You help.", "You help. Look up the order first.");
        assert!(edits(&world("rightChance: 1\n  harmfulShare: 0"), &taught, 1)[0]["text"].to_string().contains("Be "));
    }

    #[test]
    fn only_unprotected_sections_are_edited() {
        let world = world("rightChance: 0.3, harmfulShare: 0.5".replace(", ", "\n  ").as_str());
        let sections: std::collections::BTreeSet<String> = (0..300)
            .flat_map(|seed| edits(&world, &case(LOOKUP), seed))
            .map(|edit| edit["section"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(sections.into_iter().collect::<Vec<_>>(), ["Policies", "Role"]);
    }

    #[test]
    fn proposals_are_right_useless_and_harmful_in_the_chosen_shares() {
        let world = world("rightChance: 0.5\n  harmfulShare: 0.4");
        let mut counts = [0_i32; 4];
        for seed in 0..2000 {
            let edit = &edits(&world, &case(LOOKUP), seed)[0];
            let text = edit["text"].as_str().unwrap_or_default();
            let place = match text {
                _ if edit["op"] == "delete" => 3,
                _ if text.contains("Look up") => 0,
                _ if text.contains("Never ask") => 2,
                _ => 1,
            };
            counts[place] += 1;
        }
        for (count, expected) in counts.into_iter().zip([1000, 600, 200, 200]) {
            assert!((count - expected).abs() < 75, "{counts:?}");
        }
    }

    #[test]
    fn a_deletion_names_a_line_of_an_open_section() {
        let world = world("rightChance: 0\n  harmfulShare: 1");
        let deletions: Vec<Value> =
            (0..50).flat_map(|seed| edits(&world, &case(LOOKUP), seed)).filter(|edit| edit["op"] == "delete").collect();
        assert!(!deletions.is_empty());
        assert!(deletions.iter().all(|it| it["section"] == "Policies" && it["find"] == "- Verify identity."));
    }

    #[test]
    fn a_rejected_line_gives_way_to_others() {
        let world = world("rightChance: 0\n  harmfulShare: 0");
        let rejected = format!("{}\n# Rejected before\n- Be nice.", case(LOOKUP));
        assert!((0..20).all(|seed| edits(&world, &rejected, seed)[0]["text"] == "- Be quick."));
    }

    proptest! {
        #[test]
        fn no_request_without_evidence_gets_the_instruction(
            words in proptest::collection::vec("refund|get_order|hello|order|EUR|broken|please|[a-z]{1,8}", 0..40),
            seed in 0_u64..1000,
        ) {
            static OPEN: LazyLock<World> = LazyLock::new(|| world("rightChance: 1\n  harmfulShare: 0"));
            let text = words.join(" ");
            let edits = edits(&OPEN, &case(&text), seed);
            prop_assert!(edits.iter().all(|edit| !edit["text"].to_string().contains("Look up")));
        }
    }
}
