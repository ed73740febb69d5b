//! Properties that must hold for every text and every edit.

use super::*;

/// Text made of what the parsers recognize, so that random documents have some structure.
fn document() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("# A\n"),
        Just("## B\n"),
        Just("### A\n"),
        Just("```\n"),
        Just("~~~\n"),
        Just("- item\n"),
        Just("\n"),
        Just("text"),
        Just("  "),
        Just("key: value\n"),
        Just("key:\n"),
        Just("other: |\n"),
        Just("  - x\n"),
        Just("  line\n"),
        Just("\r\n"),
        Just("é\n"),
        Just("#"),
        Just("\""),
        Just("{"),
        Just("last: 'q'\n"),
        Just("\t"),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let section = prop::sample::select(vec!["preamble", "A", "B", "A (2)", "key", "other", "last"]);
    let anchor = prop::sample::select(vec!["item", "text", "value", "line", "x", "q", "- item", "é", "```", ""]);
    (0..4, section, anchor, document()).prop_map(|(kind, section, anchor, text)| match kind {
        0 => insert(section, Some(anchor), &text),
        1 => insert(section, None, &text),
        2 => replace(section, anchor, &text),
        _ => delete(section, anchor),
    })
}

/// A YAML document of strings and lists with arbitrary content, and those values.
fn yaml_document() -> impl Strategy<Value = (String, Vec<serde_json::Value>)> {
    let text = prop::collection::vec(
        prop::sample::select(vec![
            "one", " two", "", "# c", "- d", "e: f", "---", "'", "\"", "\\n", "yes", "\u{85}", "\t",
        ]),
        0..5,
    )
    .prop_map(|lines| lines.join("\n"));
    let value = prop_oneof![
        text.clone().prop_map(serde_json::Value::from),
        prop::collection::vec(text, 0..4).prop_map(serde_json::Value::from),
    ];
    prop::collection::vec(value, 1..4).prop_map(|values| {
        let lines = values.iter().enumerate().map(|(index, value)| {
            let json = value.to_string().replace('\u{85}', "\\u0085");
            format!("key{index}: {json}\n# comment {index}\n\n")
        });
        (lines.collect(), values)
    })
}

proptest! {
    #[test]
    fn sections_cover_the_text(text in document(), format in prop::sample::select(vec![PromptFormat::Markdown, PromptFormat::Yaml])) {
        if let Ok(prompt) = Prompt::parse(&text, format) {
            let mut end = 0;
            for section in prompt.sections() {
                prop_assert_eq!(section.start, end);
                prop_assert!(section.start <= section.body_start && section.body_start <= section.end);
                end = section.end;
            }
            prop_assert_eq!(end, text.len());
            let mut unique = names(&prompt);
            unique.sort_unstable();
            unique.dedup();
            prop_assert_eq!(unique.len(), prompt.sections().len());
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        prop_assert!(Prompt::parse(&text, PromptFormat::Markdown).is_ok());
        let _ = Prompt::parse(&text, PromptFormat::Yaml);
    }

    #[test]
    fn an_edit_leaves_all_other_sections_as_they_were(
        text in document(),
        edit in any_edit(),
        format in prop::sample::select(vec![PromptFormat::Markdown, PromptFormat::Yaml]),
    ) {
        let Ok(prompt) = Prompt::parse(&text, format) else { return Ok(()) };
        let Ok(edited) = prompt.apply(std::slice::from_ref(&edit), &[]) else { return Ok(()) };
        for section in prompt.sections().iter().filter(|section| anchor::bare(&section.name) != anchor::bare(edit.section())) {
            let same = edited.section(&section.name).map(|section| edited.body(section));
            prop_assert_eq!(same, Some(prompt.body(section)));
        }
        let protected: Vec<String> = vec![edit.section().to_owned()];
        let refused = prompt.apply(&[edit], &protected);
        prop_assert!(matches!(refused, Err(EditError::Protected { .. })), "{:?}", refused);
    }

    #[test]
    fn what_was_inserted_can_be_deleted_again(text in document(), line in "[a-z]{6,9}( [a-z]{1,5}){0,3}") {
        let prompt = markdown(&text);
        for section in prompt.sections() {
            let Ok(edited) = prompt.apply(&[insert(&section.name, None, &line)], &[]) else { continue };
            let restored = edited.apply(&[delete(&section.name, &line)], &[]).unwrap();
            // Only a line break at the very end may have been inserted with the line.
            prop_assert_eq!(restored.text(), prompt.text());
        }
    }

    #[test]
    fn any_text_is_safe_in_a_yaml_section((text, values) in yaml_document(), at in 0..4usize, added in document()) {
        let prompt = yaml(&text);
        let at = at % values.len();
        let section = format!("key{at}");
        let edited = match prompt.apply(&[insert(&section, None, &added)], &[]) {
            Ok(edited) => edited,
            Err(error) => {
                prop_assert_eq!(error, EditError::NoEffect { section });
                return Ok(());
            }
        };
        let found = yaml::entries(edited.text()).unwrap();
        for (index, (entry, value)) in found.iter().zip(&values).enumerate() {
            prop_assert_eq!(index != at, entry.value == *value);
        }
        for index in 0..values.len() {
            let comment = format!("\n# comment {index}\n");
            prop_assert!(edited.text().contains(&comment));
        }
    }
}

#[test]
fn prompts_with_nothing_in_common_are_compared_quickly_however_long() {
    let text = |word: &str| {
        (0..200_000).flat_map(|number| [word.to_owned(), number.to_string(), "\n".to_owned()]).collect::<String>()
    };
    let parse = |text: &str| Prompt::parse(text, PromptFormat::Markdown).unwrap();
    let (one, other) = (parse(&text("a")), parse(&text("b")));
    let began = std::time::Instant::now();
    assert!((edit_share(&one, &other) - 1.0).abs() < f64::EPSILON);
    assert_eq!(diff(&one, &other, ("v1", "v2")), "--- v1\n+++ v2\n@@ 200000 lines, and 200000 in their place @@\n");
    assert!(!one.fits(1_000));
    let same_but_one = parse(&text("a").replace("a100000\n", "b\n"));
    assert!(diff(&one, &same_but_one, ("v1", "v2")).contains("\n-a100000\n+b\n"));
    assert!(edit_share(&one, &same_but_one) < 0.001);
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}
