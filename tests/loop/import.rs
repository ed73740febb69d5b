//! `whetstone import`: whatever it writes, `whetstone validate` accepts, and files that are no text say what to do.

use std::path::Path;

use super::support::Shop;

/// Files of each format that belong together, below `tests/fixtures/import`.
const FIXTURES: [&[&str]; 21] = [
    &["promptfoo/promptfooconfig.yaml", "promptfoo/prompts/chat.json", "promptfoo/tests/more.csv"],
    &["promptfoo/tests/more.csv"],
    &["promptfoo/simulated.yaml"],
    &["promptfoo/every-assertion.yaml"],
    &[
        "promptfoo/forms.yaml",
        "promptfoo/forms/prompts.txt",
        "promptfoo/forms/tests.jsonl",
        "promptfoo/forms/more.yaml",
        "promptfoo/forms/vars.yaml",
        "promptfoo/forms/schema.json",
        "promptfoo/forms/provider.yaml",
    ],
    &["promptfoo/results.json"],
    &["inspect/dataset.jsonl"],
    &["inspect/dataset.csv"],
    &["inspect/log.json"],
    &["inspect/match.json"],
    &["openai-evals/registry.yaml", "openai-evals/capitals/samples.jsonl", "openai-evals/manners.jsonl"],
    &["openai-evals/capitals/samples.jsonl"],
    &["openai-evals/items.jsonl", "openai-evals/eval.json"],
    &["openai-evals/run.json"],
    &["tau-bench/results.json"],
    &["tau2/tasks.json", "tau2/policy.md", "tau2/split_tasks.json"],
    &["tau2/results.json"],
    &["langfuse/items.json"],
    &["langsmith/examples.jsonl"],
    &["braintrust/dataset.jsonl"],
    &["deepeval/goldens.json"],
];

#[test]
fn what_import_writes_validate_accepts() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import");
    let shop = Shop::new();
    for (index, names) in FIXTURES.iter().enumerate() {
        let out = format!("out-{index}");
        let paths: Vec<String> = names.iter().map(|name| fixtures.join(name).display().to_string()).collect();
        let mut arguments = vec!["import"];
        arguments.extend(paths.iter().map(String::as_str));
        arguments.extend(["--out", &out]);
        let imported = shop.whetstone(&arguments);
        imported.says(0, &[]);
        assert!(imported.stdout.contains("written"), "{imported}");
        let validated = shop.whetstone(&["validate", "-f", &format!("{out}/optimization.yaml")]);
        assert_eq!(validated.code, Some(0), "{names:?}\n{}\n{validated}", imported.stdout);
    }
}

#[test]
fn a_recorded_run_that_was_correct_passes_when_it_is_replayed() {
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import/inspect/match.json");
    let shop = Shop::new();
    let imported = shop.whetstone(&["import", log.to_str().unwrap(), "--out", "out"]);
    assert!(imported.stdout.contains("2 scenarios, 2 transcripts"), "{imported}");
    let run = shop.whetstone(&["run", "-f", "out/optimization.yaml", "--store", "s.db", "--out", "r"]);
    assert!(run.stdout.contains("pass rate        1.000"), "{run}");
}

#[test]
fn files_that_are_no_text_say_what_to_do() {
    let shop = Shop::new();
    let latin: Vec<u8> = b"question,__expected\nWo ist Z\xfcrich?,icontains: Schweiz\n".to_vec();
    let utf_16: Vec<u8> = "\u{feff}question;__expected\r\nWo ist Zürich?;icontains: Schweiz\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for (name, bytes, code, words) in [
        ("log.eval", b"PK\x03\x04rest".to_vec(), 2, &["log.eval", "inspect log dump"][..]),
        ("latin1.csv", latin, 2, &["latin1.csv", "line 2", "UTF-8", "iconv"]),
        ("lfs.jsonl", b"version https://git-lfs.github.com/spec/v1\n".to_vec(), 2, &["lfs.jsonl", "git lfs pull"]),
        ("utf16.csv", utf_16, 0, &["promptfoo: 1 scenario"]),
        ("ragged.csv", b"question,__expected\nHi,contains: a, b\n".to_vec(), 2, &["line 2", "3 cells", "header has 2"]),
    ] {
        std::fs::write(shop.path(name), bytes).unwrap();
        let imported = shop.whetstone(&["import", name, "--out", "out"]);
        imported.says(code, &[]);
        for word in words {
            assert!(
                imported.stdout.contains(word) || imported.stderr.contains(word),
                "{word:?} is not said: {imported}"
            );
        }
    }
}

#[test]
fn files_of_two_formats_are_not_mixed() {
    let shop = Shop::new();
    shop.write("a.jsonl", "{\"input\": \"a\", \"target\": \"b\"}\n");
    shop.write("b.jsonl", "{\"input\": \"a\", \"expected\": \"b\"}\n");
    shop.whetstone(&["import", "a.jsonl", "b.jsonl", "--out", "out"]).says(2, &["inspect", "braintrust", "--format"]);
}
