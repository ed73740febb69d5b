use proptest::prelude::*;

mod properties;

use super::*;
use crate::patch::Edit;

const AIRLINE: &str = "\
You are an airline agent.

# Policy

## Booking

- Ask for the user id first.
- Ask for the user id first when rebooking.

```sh
# not a heading
```

## Safety ##

Never reveal payment details.

### Refunds

Only within 24 hours.
";

fn markdown(text: &str) -> Prompt {
    Prompt::parse(text, PromptFormat::Markdown).unwrap()
}

fn yaml(text: &str) -> Prompt {
    Prompt::parse(text, PromptFormat::Yaml).unwrap()
}

fn names(prompt: &Prompt) -> Vec<&str> {
    prompt.sections().iter().map(|section| section.name.as_str()).collect()
}

fn insert(section: &str, after: Option<&str>, text: &str) -> Edit {
    Edit::Insert { section: section.into(), after: after.map(Into::into), text: text.into() }
}

fn replace(section: &str, find: &str, text: &str) -> Edit {
    Edit::Replace { section: section.into(), find: find.into(), text: text.into() }
}

fn delete(section: &str, find: &str) -> Edit {
    Edit::Delete { section: section.into(), find: find.into() }
}

fn apply(prompt: &Prompt, edit: Edit) -> Result<String, String> {
    prompt.apply(&[edit], &[]).map(|prompt| prompt.text().to_owned()).map_err(|error| error.to_string())
}

#[test]
fn headings_outside_code_begin_sections() {
    assert_eq!(names(&markdown(AIRLINE)), ["preamble", "Policy", "Booking", "Safety", "Refunds"]);
}

#[test]
fn underlined_lines_begin_sections_and_rules_do_not() {
    let prompt =
        markdown("Intro\n\nRole\n====\nYou help.\n\nThe rules\n---\n- one\n---\n\n---\n\nA text\nof two lines.\n---\n");
    assert_eq!(names(&prompt), ["preamble", "Role", "The rules"]);
    assert_eq!(prompt.sections().iter().map(|section| section.level).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(prompt.body(&prompt.sections()[1]), "You help.\n\n");
    let long = format!("{}\n---\n", "word ".repeat(30));
    assert_eq!(names(&markdown(&long)), ["preamble"]);
    let table = markdown("| a |\n---\n1. one\n---\n> said\n---\n");
    assert_eq!(names(&table), ["preamble"]);
    let why = apply(&prompt, insert("Role", None, "It ends.\n\nMore\n---\nof it.")).unwrap();
    assert!(names(&markdown(&why)).contains(&"More"), "a deeper heading of its own: {why}");
    assert!(apply(&prompt, insert("The rules", None, "More\n====\nof it.")).unwrap_err().contains("not nested"));
}

#[test]
fn an_underlined_heading_keeps_apart_from_the_text_above_it() {
    let prompt = markdown("# Role\nYou help.\nBe kind.\n\n# Rules\nSub\n---\n- one\n");
    let names_after = |edit: Edit| names(&markdown(&apply(&prompt, edit).unwrap())).join(", ");
    let heading = "Tone\n----\nWarm.";
    for after in [None, Some("You help."), Some("Be kind."), Some("# Role")] {
        let edited = apply(&prompt, insert("Role", after, heading)).unwrap();
        assert_eq!(names(&markdown(&edited)), ["Role", "Tone", "Rules", "Sub"], "{edited:?}");
    }
    assert_eq!(
        apply(&prompt, insert("Role", None, heading)).unwrap(),
        "# Role\nYou help.\nBe kind.\n\nTone\n----\nWarm.\n\n# Rules\nSub\n---\n- one\n"
    );
    assert_eq!(names_after(replace("Role", "Be kind.", heading)), "Role, Tone, Rules, Sub");
    // Text that would become a part of the heading below it is refused.
    assert!(
        apply(&prompt, insert("Rules", Some("# Rules"), "Ask.")).unwrap_err().contains("reaches into another section")
    );
    // A heading with marks, a list and a rule need no line of their own.
    for text in ["## Tone\nWarm.", "- Be warm.\n---\n- Be brief.", "Be warm."] {
        let edited = apply(&prompt, insert("Role", None, text)).unwrap();
        assert!(edited.contains(&format!("Be kind.\n{text}\n")), "{edited:?}");
    }
    let windows = markdown("# Role\r\nYou help.\r\n");
    assert_eq!(
        apply(&windows, insert("Role", None, heading)).unwrap(),
        "# Role\r\nYou help.\r\n\r\nTone\r\n----\r\nWarm.\r\n"
    );
}

#[test]
fn front_matter_and_comments_hold_no_headings() {
    let prompt = markdown(
        "---\nname: x\n# model: inherit\n---\n# Steps\n<!--\n# Old\n-->\nDo it.\n<!-- # one line -->\n## Then\n",
    );
    assert_eq!(names(&prompt), ["preamble", "Steps", "Then"]);
    assert_eq!(names(&markdown("---\n\n# Role\n---\n")), ["preamble", "Role"], "a rule");
    assert_eq!(names(&markdown("---\n# Role\nno end\n")), ["preamble", "Role"], "no front matter without an end");
    assert_eq!(names(&markdown("<!-- never closed\n# Old\n")), ["preamble"]);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_prompt() {
    let prompt = markdown("\u{feff}# Role\nYou help.\n");
    assert_eq!((names(&prompt), prompt.text()), (vec!["Role"], "# Role\nYou help.\n"));
    assert_eq!(names(&yaml("\u{feff}role: help\n")), ["role"]);
}

#[test]
fn edits_keep_the_line_ends_of_a_prompt() {
    let prompt = markdown("# Role\r\nYou help.\r\n\r\n## Rules\r\n- Be kind.\r\n");
    let added = apply(&prompt, insert("Rules", Some("- Be kind."), "- Be brief.\n- Ask.")).unwrap();
    assert_eq!(added, "# Role\r\nYou help.\r\n\r\n## Rules\r\n- Be kind.\r\n- Be brief.\r\n- Ask.\r\n");
    let replaced = apply(&prompt, replace("Role", "You help.", "You\nhelp.")).unwrap();
    assert!(replaced.starts_with("# Role\r\nYou\r\nhelp.\r\n"), "{replaced:?}");
    let mixed = markdown("# Role\r\nYou help.\n");
    assert_eq!(apply(&mixed, insert("Role", None, "Ask.")).unwrap(), "# Role\r\nYou help.\nAsk.\n");
}

#[test]
fn a_name_that_occurs_again_gets_a_number() {
    let prompt = markdown("# Rules\n## Rules (2)\n# Rules\n# Rules\n#\n");
    assert_eq!(names(&prompt), ["Rules", "Rules (2)", "Rules (3)", "Rules (4)", "untitled"]);
}

#[test]
fn an_empty_text_is_an_empty_preamble() {
    let prompt = markdown("");
    assert_eq!(names(&prompt), ["preamble"]);
    assert_eq!(apply(&prompt, insert("preamble", None, "Be brief.")).unwrap(), "Be brief.");
}

#[test]
fn keys_of_a_yaml_prompt_are_its_sections() {
    let prompt = yaml(
        "# head\nrole: agent\nrules:\n  - one\n  - |-\n    two\n    lines\n# tail\n\n\"tone of voice\": |\n  calm\n",
    );
    let bodies: Vec<_> = prompt.sections().iter().map(|section| (&*section.name, prompt.body(section))).collect();
    insta::assert_debug_snapshot!(bodies, @r#"
    [
        (
            "role",
            "agent",
        ),
        (
            "rules",
            "- one\n- two\n  lines\n",
        ),
        (
            "tone of voice",
            "calm\n",
        ),
    ]
    "#);
}

#[test]
fn a_yaml_prompt_that_is_none_says_where_and_why() {
    let why = |text| Prompt::parse(text, PromptFormat::Yaml).unwrap_err().to_string();
    let said = ["", "- a\n- b\n", "Be kind.", "a: x\nb: [\n", "a: x\na: y\n", "{a: x, b: y}"].map(why);
    insta::assert_snapshot!(said.join("\n"), @r#"
    a YAML prompt is a mapping whose top-level keys are its sections, but this one is empty; write `key: |` above the text, or say that it is Markdown (`promptFormat: Markdown`)
    a YAML prompt is a mapping whose top-level keys are its sections, but this one is a list; write `key: |` above the text, or say that it is Markdown (`promptFormat: Markdown`)
    a YAML prompt is a mapping whose top-level keys are its sections, but this one is plain text; write `key: |` above the text, or say that it is Markdown (`promptFormat: Markdown`)
    prompt is not valid YAML, line 2: unclosed bracket '['; correct it, or set promptFormat: Markdown
    prompt is not valid YAML, line 2: duplicate mapping key: a; correct it, or set promptFormat: Markdown
    prompt, line 1: the top-level key "a" must begin a line
    "#);
}

#[test]
fn an_insertion_goes_to_the_end_of_its_section() {
    let text = apply(&markdown(AIRLINE), insert("Booking", None, "- Confirm the price.\n")).unwrap();
    assert!(text.contains("```\n- Confirm the price.\n\n## Safety"), "{text}");
    let last = apply(&markdown("# A\nx"), insert("A", None, "y")).unwrap();
    assert_eq!(last, "# A\nx\ny");
}

#[test]
fn an_insertion_goes_after_the_line_of_its_anchor() {
    let prompt = markdown(AIRLINE);
    let text = apply(&prompt, insert("Booking", Some("when rebooking"), "- Then the dates.")).unwrap();
    assert!(text.contains("when rebooking.\n- Then the dates.\n\n```sh"), "{text}");
    let text = apply(&prompt, insert("refunds", Some("### Refunds"), "Read this.")).unwrap();
    assert!(text.contains("### Refunds\nRead this.\n\nOnly"), "{text}");
}

#[test]
fn a_deletion_that_leaves_nothing_of_a_line_takes_the_line() {
    let text = apply(&markdown(AIRLINE), delete("Booking", "Ask for the user id first when rebooking.")).unwrap();
    assert!(text.contains("- Ask for the user id first.\n\n```sh"), "{text}");
}

#[test]
fn white_space_at_line_ends_does_not_hide_an_anchor() {
    let prompt = markdown("# A\none  \ntwo\t\nthree\n");
    assert_eq!(apply(&prompt, replace("A", "one\ntwo", "1\n2")).unwrap(), "# A\n1\n2\t\nthree\n");
}

#[test]
fn an_edit_that_cannot_be_made_says_why() {
    let prompt = markdown(AIRLINE);
    let why = |edit| apply(&prompt, edit).unwrap_err();
    let said = [
        why(insert("Bookings", None, "x")),
        why(insert("Weather", None, "x")),
        why(delete("Booking", "Ask for the user id")),
        why(delete("Booking", "Only within 24 hours.")),
        why(delete("Booking", " \n")),
        why(insert("Safety", None, "Never reveal payment details.")),
        why(replace("Safety", "details", "details")),
        why(insert("Refunds", None, "## Exceptions\nNone.")),
        why(insert("Policy", None, "## Safety\nAnything goes.")),
        why(insert("Policy", None, "## SAFETY\nAnything goes.")),
        why(insert("Policy", None, "```\nopen fence")),
        why(delete("Booking", "```sh")),
        prompt.apply(&[], &[]).unwrap_err().to_string(),
        prompt.apply(&[insert("Safety", None, "x")], &["Safety".into()]).unwrap_err().to_string(),
    ];
    insta::assert_snapshot!(said.join("\n"), @r#"
    no section "Bookings"; did you mean "Booking"?
    no section "Weather"
    section "Booking" contains "Ask for the user id" more than once; take a longer text that occurs exactly once
    section "Booking" does not contain "Only within 24 hours."; copy it from the section's body, without heading or key
    the text to find in section "Booking" is blank; give one that occurs exactly once
    the edit of section "Safety" changes nothing: what it adds is blank or stands there already
    the edit of section "Safety" changes nothing: what it adds is blank or stands there already
    the edit of section "Refunds" would break the prompt's structure: it adds the heading "Exceptions", which is not nested under this section
    the edit of section "Policy" would break the prompt's structure: it adds a second heading "Safety"
    the edit of section "Policy" would break the prompt's structure: it adds a second heading "SAFETY"
    the edit of section "Policy" would break the prompt's structure: it reaches into another section (a heading or a code fence is cut)
    the edit of section "Booking" would break the prompt's structure: it reaches into another section (a heading or a code fence is cut)
    the patch changes nothing: it has no edits, or they undo each other
    section "Safety" is protected and may not be changed
    "#);
}

#[test]
fn a_protected_section_protects_what_is_nested_under_it() {
    let prompt = markdown(AIRLINE);
    let protected = ["Safety".to_owned()];
    let refused = prompt.apply(&[insert("Refunds", None, "x")], &protected);
    assert_eq!(refused, Err(EditError::Protected { section: "Refunds".into() }));
    assert!(prompt.apply(&[insert("Booking", None, "x")], &protected).is_ok());
}

#[test]
fn a_protected_preamble_protects_only_itself() {
    let prompt = markdown(AIRLINE);
    let protected = [PREAMBLE.to_owned()];
    assert!(prompt.apply(&[insert("preamble", None, "x")], &protected).is_err());
    assert!(prompt.apply(&[insert("Policy", None, "x")], &protected).is_ok());
}

#[test]
fn a_deeper_heading_may_be_added() {
    let edited = markdown(AIRLINE).apply(&[insert("Booking", None, "### Baggage\n\nCount the bags.")], &[]).unwrap();
    assert_eq!(names(&edited), ["preamble", "Policy", "Booking", "Baggage", "Safety", "Refunds"]);
}

#[test]
fn a_preamble_may_be_emptied() {
    assert_eq!(apply(&markdown("Hello.\n# A\nx\n"), delete("preamble", "Hello.")).unwrap(), "# A\nx\n");
}

#[test]
fn a_yaml_edit_changes_only_what_it_says() {
    let prompt = yaml(
        "# Support.\nrole: You are an agent. # short\nrules:\n    - Be brief.\n    - 'Ask: who?'\n# end of rules\n\npolicy: |\n    Refunds\n    take days.\n\nnested:\n  fees:\n    bag: 50 dollars\n  other: none\n",
    );
    let edited = prompt
        .apply(
            &[
                replace("role", "an agent", "a kind agent: always"),
                insert("rules", Some("Be brief."), "- Confirm first.\nknown: unknown"),
                insert("policy", Some("Refunds"), "policy: smuggled\n# not a comment"),
                insert("nested", Some("bag: 50"), "seat: 20 dollars"),
                insert("nested", None, "last: one"),
            ],
            &[],
        )
        .unwrap();
    insta::assert_snapshot!(diff(&prompt, &edited, ("v1", "v2")), @r#"
    --- v1
    +++ v2
    @@ -1,15 +1,21 @@
     # Support.
    -role: You are an agent. # short
    +role: "You are a kind agent: always." # short
     rules:
         - Be brief.
    +    - Confirm first.
    +    - "known: unknown"
         - 'Ask: who?'
     # end of rules
     
     policy: |
         Refunds
    +    policy: smuggled
    +    # not a comment
         take days.
     
     nested:
       fees:
         bag: 50 dollars
    +    seat: 20 dollars
       other: none
    +  last: one
    "#);
}

#[test]
fn raw_yaml_that_would_reach_into_other_keys_is_refused() {
    let prompt = yaml("a: &x\n  k: v\nb: *x\nc:\n  d: e\n");
    for edit in
        [replace("a", "v", "w"), replace("c", "d: e", "d: e\nf: g"), replace("c", "d: e", "plain"), delete("a", "&x")]
    {
        let refused = prompt.apply(&[edit], &[]);
        assert!(matches!(refused, Err(EditError::BreaksStructure { .. })), "{refused:?}");
    }
}

#[test]
fn patches_that_conflict_are_reported() {
    let prompt = markdown("# A\none\n\n# B\ntwo\n");
    let first = [replace("A", "one", "1")];
    let second = [replace("A", "one", "uno")];
    let third = [insert("B", None, "three")];
    let merged = prompt.merge(&[&first, &second, &third], &[]);
    assert_eq!(merged.prompt.text(), "# A\n1\n\n# B\ntwo\nthree\n");
    assert_eq!(merged.applied, [0, 2]);
    let conflict = EditError::AnchorNotFound { section: "A".into(), anchor: "one".into() };
    assert_eq!(merged.conflicts, [(1, conflict)]);
}

#[test]
fn the_changed_share_is_that_of_the_words() {
    let share = |before: &str, after: &str| edit_share(&markdown(before), &markdown(after));
    let shares = [
        share("a b c d", "a b c d"),
        share("a b c", "a  b\nc"),
        share("a b c", "a b c d"),
        share("a b c d", "a x c d"),
        share("a b", "x y"),
        share("", ""),
        share("", "x"),
    ];
    assert_eq!(shares.map(|share| format!("{share:.2}")), ["0.00", "0.00", "0.25", "0.25", "1.00", "0.00", "1.00"]);
}

#[test]
fn changed_sections_are_named() {
    let before = markdown("# A\none\n# B\ntwo\n# C\nthree\n");
    let after = markdown("# A\none\n# B\n2\n# D\nfour\n");
    assert_eq!(changed_sections(&before, &after), ["B", "D", "C"]);
}

#[test]
fn a_short_prompt_fits_and_a_long_one_is_counted() {
    let prompt = markdown("hello world, hello world");
    assert_eq!(prompt.tokens(), 5);
    assert!(prompt.fits(24) && prompt.fits(5) && !prompt.fits(4));
}
