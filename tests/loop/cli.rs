//! The command line: exit codes, what goes to standard output and into files, and the commands that read the store.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use serde_json::Value;

use super::support::{Ended, Shop};

const RESOURCE: &str = "optimization.yaml";

fn compare(shop: &Shop, challenger: &str) -> Ended {
    let arguments = ["compare", "-f", RESOURCE, "--simulate", "world.yaml", "--store", "store.db", "--out", "out"];
    shop.whetstone(&[&arguments[..], &["--challenger", challenger]].concat())
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

#[test]
fn a_run_that_promotes_exits_with_0_and_teaches_what_was_missing() {
    let shop = Shop::new();
    let ended = shop.run();
    assert_eq!(ended.code, Some(0), "{ended}");
    assert!(ended.stdout.starts_with("Promoted: v2 replaces v1\n"), "{ended}");
    let served = yaml(&shop.read("out/manifests/configmap-shop-prompt-live.yaml"));
    let prompt = served["data"]["system-prompt"].as_str().unwrap();
    for line in shop.read("better.md").lines() {
        assert!(prompt.contains(line), "{line:?} is not in\n{prompt}");
    }
}

#[test]
fn a_run_that_keeps_the_champion_exits_with_10() {
    let shop = Shop::with(&[("world.yaml", "rightChance: 0.7", "rightChance: 0")]);
    let ended = shop.run();
    assert_eq!(ended.code, Some(10), "{ended}");
    assert!(ended.stdout.starts_with("Kept: v1 remains the champion\n"), "{ended}");
    let report = shop.report();
    assert_eq!(report["verdict"], "kept");
    assert!(!report["attempts"].as_array().unwrap().is_empty(), "the report lists the patches");
    let served = yaml(&shop.read("out/manifests/configmap-shop-prompt-live.yaml"));
    assert_eq!(served["data"]["system-prompt"].as_str().unwrap(), shop.read("prompt.md"));
    assert_eq!(served["data"]["version"], "v1");
}

#[test]
fn a_champion_that_stays_below_its_threshold_exits_with_11() {
    let shop = Shop::with(&[
        ("world.yaml", "rightChance: 0.7", "rightChance: 0"),
        (RESOURCE, "promotion: {", "promotion: {gate: {minimumScore: 0.9}, "),
    ]);
    let ended = shop.run();
    assert_eq!(ended.code, Some(11), "{ended}");
    assert!(ended.stdout.contains("minimumScore of 0.9"), "{ended}");
    assert_eq!(shop.report()["verdict"], "belowThreshold");
}

#[test]
fn too_little_evidence_exits_with_12_and_says_how_much_there_was() {
    let shop = Shop::with(&[(RESOURCE, "promotion: {", "promotion: {gate: {minimumSampleSize: 30}, ")]);
    let ended = shop.run();
    ended.says(12, &["warning: spec.split.heldOut: 16 of 40 scenarios are held out, and the gate requires 30"]);
    assert!(ended.stdout.contains("16 scenarios"), "{ended}");
    assert_eq!(shop.report()["verdict"], "inconclusive");
    let served = yaml(&shop.read("out/manifests/configmap-shop-prompt-live.yaml"));
    assert_eq!(served["data"]["version"], "v1", "too little evidence promotes nothing");
}

#[test]
fn errors_exit_with_1_and_wrong_arguments_or_files_with_2() {
    let shop = Shop::new();
    shop.whetstone(&["show", "--store", "none.db"]).says(1, &["no store at none.db", "--store"]);
    assert!(!shop.path("none.db").exists(), "reading makes no store");
    shop.whetstone(&["run"]).says(2, &["give -f FILE"]);
    shop.whetstone(&["rum", "-f", RESOURCE]).says(2, &["'run'"]);
    shop.whetstone(&["compare", "-f", RESOURCE]).says(2, &["--challenger"]);
    shop.whetstone(&["run", "-f", RESOURCE, "--attempt", "many"]).says(2, &["many"]);
}

#[test]
fn json_on_standard_output_is_the_report_and_nothing_else() {
    let shop = Shop::new();
    let ended = shop.run_with(&["-o", "json"]);
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_eq!(ended.stdout, shop.read("out/report.json"));
}

#[test]
fn the_report_keeps_to_its_schema_and_has_what_is_promised() {
    let shop = Shop::new();
    let schema: Value = serde_json::from_str(&shop.whetstone(&["schema", "report"]).stdout).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let check = |report: &Value| {
        let errors: Vec<String> =
            schema.iter_errors(report).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    };
    shop.run();
    let report = shop.report();
    check(&report);
    assert_eq!(report["schema"], "whetstone.dev/report/v1");
    for reason in report["reasons"].as_array().unwrap() {
        assert!(reason["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
    for side in ["champion", "challenger"] {
        let side = &report[side];
        assert!(side["version"].is_string() && side["hash"].is_string() && side["score"].is_f64(), "{side}");
        let dimensions: BTreeSet<&str> = side["dimensions"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(dimensions, BTreeSet::from(["accuracy", "safety", "tool_compliance"]));
    }
    let calls = &report["calls"];
    let by_phase = calls["byPhase"].as_object().unwrap().values();
    let sum = |field: &str| by_phase.clone().map(|phase| phase[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!(calls["total"].as_u64().unwrap(), sum("total"));
    assert_eq!(calls["fromLedger"].as_u64().unwrap(), sum("fromLedger"));
    assert_eq!(calls["paid"].as_u64().unwrap(), shop.ledger().calls, "what is paid is what the ledger holds");
    let paid: Decimal = report["cost"]["paid"].as_str().unwrap().parse().unwrap();
    assert_eq!(paid, shop.ledger().cost, "to the cent");
    assert!(report["seconds"].as_f64().unwrap() > 0.0);
    assert!(!report["clusters"].as_array().unwrap().is_empty() && report["gate"].is_object());

    let kept = Shop::with(&[("world.yaml", "rightChance: 0.7", "rightChance: 0")]);
    kept.run();
    check(&kept.report());
}

#[test]
fn a_second_run_pays_nothing_and_says_the_same() {
    let shop = Shop::new();
    shop.run();
    let (first, ledger) = (shop.report(), shop.ledger());
    let manifests = shop.read("out/manifests/promptversion-shop-v2.yaml");
    shop.run();
    let second = shop.report();
    assert_eq!(super::support::decision(&first), super::support::decision(&second));
    assert_eq!(first["cycle"], second["cycle"]);
    assert_eq!(second["calls"]["paid"], 0);
    assert_eq!(second["calls"]["fromLedger"], second["calls"]["total"]);
    assert_eq!(second["cost"]["cycle"], first["cost"]["cycle"], "the cycle has cost what it has cost");
    assert_eq!(shop.ledger(), ledger);
    assert_eq!(shop.read("out/manifests/promptversion-shop-v2.yaml"), manifests);
}

#[test]
fn another_attempt_tries_other_patches_and_pays_only_for_them() {
    let shop = Shop::new();
    shop.run();
    let first = shop.report();
    shop.run_with(&["--attempt", "1"]);
    let second = shop.report();
    assert_ne!(first["cycle"], second["cycle"]);
    let run = &second["calls"]["byPhase"]["run"];
    assert_eq!(run["total"], run["fromLedger"], "the champion has not changed and is not run again");
}

#[test]
fn a_budget_is_never_exceeded_and_ends_in_a_verdict_with_the_reason() {
    let budget = Decimal::new(12, 2);
    let shop = Shop::with(&[(RESOURCE, "\"50.00\"", "\"0.12\"")]);
    let mut spent = Decimal::ZERO;
    // However often it is started: what the cycle has paid before counts.
    for _ in 0..6 {
        let ended = shop.run();
        assert_eq!(ended.code, Some(12), "{ended}");
        assert!(ended.stdout.contains("the budget of 0.12 does not allow another call"), "{ended}");
        assert!(ended.stdout.contains("raise spec.budget.perCycle to continue from here"), "{ended}");
        let report = shop.report();
        assert_eq!(report["verdict"], "inconclusive");
        spent = shop.ledger().cost;
        assert!(spent <= budget, "{spent} spent of {budget}");
    }
    assert!(spent > Decimal::ZERO);
    shop.edit(RESOURCE, "\"0.12\"", "\"50.00\"");
    let ended = shop.run();
    assert_eq!(ended.code, Some(0), "{ended}");
    assert!(shop.report()["calls"]["fromLedger"].as_u64().unwrap() > 0, "it goes on from there");
}

#[test]
fn compare_promotes_a_better_prompt_and_never_the_same_one() {
    let shop = Shop::new();
    let better = compare(&shop, "better.md");
    assert_eq!(better.code, Some(0), "{better}");
    assert_eq!(shop.report()["challenger"]["measuredOn"], "all");

    let shop = Shop::new();
    let same = compare(&shop, "prompt.md");
    assert_eq!(same.code, Some(10), "{same}");
    let report = shop.report();
    assert_eq!(report["verdict"], "kept");
    assert_eq!(report["reasons"][0]["message"], "the challenger is identical to the champion");
    assert_eq!(report["calls"]["total"], 0, "nothing has to be asked to know that");
    let history = shop.whetstone(&["history", "--store", "store.db", "-o", "json"]).stdout;
    let history: Value = serde_json::from_str(&history).unwrap();
    assert_eq!(history["versions"].as_array().unwrap().len(), 1);
    assert_eq!(history["versions"][0]["version"]["phase"], "Champion", "{history}");
}

#[test]
fn compare_rejects_a_prompt_that_breaks_one_thing_and_mends_nothing() {
    let shop = Shop::new();
    let better = shop.read("better.md");
    shop.write("prompt.md", &better);
    shop.write("worse.md", &better.replace("- The warranty is two years for everything.\n", ""));
    let ended = compare(&shop, "worse.md");
    assert_eq!(ended.code, Some(10), "{ended}");
    assert!(ended.stdout.contains("✗"), "{ended}");
}

#[test]
fn history_and_show_tell_cycles_versions_diffs_clusters_and_why() {
    let shop = Shop::new();
    shop.run();
    let report = shop.report();
    let cycle = &report["cycle"].as_str().unwrap()[..12];

    let history = shop.whetstone(&["history", "--store", "store.db"]);
    assert_eq!(history.code, Some(0), "{history}");
    for words in [cycle, "default/shop", "promoted", "v2", "Champion", "v1", "Superseded"] {
        assert!(history.stdout.contains(words), "{words:?} is not in\n{history}");
    }
    let of_another = shop.whetstone(&["history", "other", "--store", "store.db"]);
    assert!(!of_another.stdout.contains("default/shop"), "{of_another}");

    for arguments in [vec!["show", "--store", "store.db"], vec!["show", cycle, "--store", "store.db"]] {
        let show = shop.whetstone(&arguments);
        assert_eq!(show.code, Some(0), "{show}");
        assert_eq!(show.stdout, shop.read("out/report.md"), "`show` is the readable report");
    }
    let markdown = shop.read("out/report.md");
    for reason in report["reasons"].as_array().unwrap() {
        let message = reason["message"].as_str().unwrap();
        assert!(markdown.contains(message), "{message:?} is not in\n{markdown}");
    }
    assert!(markdown.contains("+- Always pass the currency of the order when you refund."), "{markdown}");
    let example = report["clusters"][0]["examples"][0]["scenario"].as_str().unwrap();
    assert!(markdown.contains(example), "{example} is not in\n{markdown}");

    let json = shop.whetstone(&["show", "--store", "store.db", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&json.stdout).unwrap(), report);
    shop.whetstone(&["show", "ffffffffffff", "--store", "store.db"]).says(1, &["no cycle", "whetstone history"]);

    // The scores by scenario are those that the report has the means of.
    let scores = shop.whetstone(&["show", "--scores", "--store", "store.db", "-o", "json"]);
    let rows: Vec<Value> = serde_json::from_str(&scores.stdout).unwrap();
    for side in ["champion", "challenger"] {
        let side = &report[side];
        let of_side = |row: &&Value| row["prompt"] == side["hash"] && row["dimension"] == "accuracy";
        let means: Vec<f64> = rows.iter().filter(of_side).map(|row| row["mean"].as_f64().unwrap()).collect();
        let mean = means.iter().sum::<f64>() / means.len() as f64;
        assert!((mean - side["dimensions"]["accuracy"].as_f64().unwrap()).abs() < 1e-9, "{mean} of {side}");
    }
    let table = shop.whetstone(&["show", "--scores", "--store", "store.db"]).stdout;
    let header: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["scenario", "dimension", "champion", "challenger"]);
    let scenario = rows[0]["scenario"].as_str().unwrap();
    let line = table.lines().find(|line| line.contains(scenario) && line.contains("accuracy")).unwrap();
    assert_eq!(line.split_whitespace().count(), 4, "{line}");
}

#[test]
fn manifests_are_what_kubectl_takes_and_belong_together() {
    let shop = Shop::new();
    shop.run();
    let report = shop.report();
    let served = yaml(&shop.read("out/manifests/configmap-shop-prompt-live.yaml"));
    assert_eq!((&served["apiVersion"], &served["kind"]), (&"v1".into(), &"ConfigMap".into()));
    assert_eq!(served["metadata"]["name"], "shop-prompt-live");
    let keys: BTreeSet<&str> = served["data"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, BTreeSet::from(["system-prompt", "version", "prompt-hash"]));
    let champion = yaml(&shop.read("out/manifests/promptversion-shop-v2.yaml"));
    assert_eq!(
        (&champion["apiVersion"], &champion["kind"]),
        (&"whetstone.dev/v1alpha1".into(), &"PromptVersion".into())
    );
    assert_eq!(champion["spec"]["prompt"], served["data"]["system-prompt"]);
    assert_eq!(champion["spec"]["hash"], served["data"]["prompt-hash"]);
    assert_eq!(champion["spec"]["hash"], report["challenger"]["hash"]);
    assert_eq!(champion["spec"]["version"], served["data"]["version"]);
    assert_eq!(champion["spec"]["parent"], "v1");
    let before = yaml(&shop.read("out/manifests/promptversion-shop-v1.yaml"));
    assert_eq!(before["spec"]["prompt"].as_str().unwrap(), shop.read("prompt.md"));
}

#[test]
fn the_champion_of_the_target_configmap_is_where_the_next_cycle_begins() {
    let shop = Shop::new();
    shop.run();
    let first = shop.report();
    let again = shop.run_with(&["--manifests", "out/manifests"]);
    assert!(matches!(again.code, Some(0 | 10 | 12)), "{again}");
    assert_eq!(shop.report()["champion"]["hash"], first["challenger"]["hash"]);
    assert_eq!(shop.report()["champion"]["version"], "v2");
}

#[test]
fn the_help_of_every_command_says_what_it_needs() {
    let shop = Shop::new();
    for (command, words) in [
        ("run", &["--filename", "--store", "--simulate", "--out", "--wait", "Exit codes: 0 promoted, 10 kept"][..]),
        ("compare", &["--challenger", "--challenger-transcripts", "Exit codes"]),
        ("validate", &["--filename", "--manifests"]),
        ("convert", &["--filename"]),
        ("import", &["promptfoo"]),
        ("simulate", &["--world", "--listen", "/stats"]),
        ("history", &["--store", "--limit", "reads the cluster", "reads a store"]),
        ("status", &["--watch", "--all-namespaces", "Exit codes: 0 ready", "whetstone status support"]),
        ("approve", &["--yes", "--wait", "--timeout", "Exit codes", "whetstone approve support"]),
        ("rollback", &["--to", "--yes", "--wait", "Exit codes", "whetstone rollback support"]),
        ("suspend", &["--namespace", "--context", "--kubeconfig", "whetstone suspend support"]),
        ("resume", &["--namespace", "whetstone resume support"]),
        ("show", &["--store"]),
        ("schema", &["report", "world"]),
        ("completions", &["bash", "zsh", "fish"]),
    ] {
        let help = shop.whetstone(&[command, "--help"]);
        assert_eq!(help.code, Some(0), "{help}");
        for word in words {
            assert!(help.stdout.contains(word), "`{command} --help` does not say {word:?}:\n{help}");
        }
        let all = shop.whetstone(&["--help"]).stdout;
        assert!(all.contains(&format!("\n  {command} ")), "{all}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = shop.whetstone(&["completions", shell]);
        assert!(script.code == Some(0) && script.stdout.contains("whetstone"), "{script}");
    }
}

#[test]
fn without_a_cluster_the_verbs_say_what_to_set() {
    let shop = Shop::new();
    let verbs = [
        "status",
        "status x",
        "status -A -w",
        "run x",
        "approve x",
        "rollback x",
        "suspend x",
        "resume x",
        "history x",
    ];
    for verb in verbs {
        let ended = shop.whetstone(&verb.split(' ').collect::<Vec<_>>());
        ended.says(1, &["no cluster is configured: KUBECONFIG is not set", "--kubeconfig FILE"]);
    }
    shop.write(
        "kubeconfig",
        "apiVersion: v1\nkind: Config\ncontexts: [{name: staging, context: {cluster: c, user: u}}]\n",
    );
    let with = |more: &[&str]| shop.whetstone(&[&["status", "--kubeconfig", "kubeconfig"], more].concat());
    with(&[]).says(1, &["no current context; known: staging; give --context"]);
    with(&["--context", "stagin"]).says(1, &["no context \"stagin\"", "did you mean \"staging\"?"]);
    with(&["--context", "staging"]).says(1, &["using the context \"staging\" of the kubeconfig"]);
}

#[test]
fn contradictory_arguments_exit_with_2_and_say_which_to_remove() {
    let shop = Shop::new();
    for (arguments, words) in [
        ("run shop -f optimization.yaml", "give one of them"),
        ("run shop --out out", "remove --out"),
        ("run -f optimization.yaml -n shop", "remove --namespace"),
        ("run -f optimization.yaml --wait", "remove --wait"),
        ("history shop --store store.db --context staging", "remove one of them"),
        ("history -n shop", "give its NAME"),
        ("status shop/support -n other", "contradicts --namespace other"),
        ("suspend ../secrets/x", "is not a valid name of an object"),
        ("approve support --timeout 1m", "--wait"),
        ("approve support --wait --timeout soon", "not a duration"),
        ("status support -A", "--all-namespaces"),
    ] {
        shop.whetstone(&arguments.split(' ').collect::<Vec<_>>()).says(2, &[words]);
    }
}

#[test]
fn history_reads_the_store_that_is_named_and_else_the_cluster() {
    let shop = Shop::new();
    shop.run();
    let mut command = shop.command(&["history", "shop"]);
    command.env("WHETSTONE_STORE", "store.db");
    let of_store = super::support::Running::start(command).wait();
    assert!(of_store.code == Some(0) && of_store.stdout.contains("default/shop"), "{of_store}");
    shop.whetstone(&["history", "shop"]).says(1, &["no cluster is configured"]);
    shop.whetstone(&["history"]).says(1, &["no store at .whetstone/whetstone.db"]);
    std::fs::create_dir(shop.path(".whetstone")).unwrap();
    std::fs::copy(shop.path("store.db"), shop.path(".whetstone/whetstone.db")).unwrap();
    shop.whetstone(&["history", "shop"]).says(1, &["--store .whetstone/whetstone.db reads the store instead"]);
}

#[test]
fn yaml_on_standard_output_is_what_json_is() {
    let shop = Shop::new();
    shop.run();
    let json = shop.whetstone(&["show", "--store", "store.db", "-o", "json"]).stdout;
    let as_yaml = shop.whetstone(&["show", "--store", "store.db", "-o", "yaml"]).stdout;
    assert_eq!(yaml(&as_yaml), serde_json::from_str::<Value>(&json).unwrap());
}

#[test]
fn as_a_plugin_of_kubectl_it_speaks_of_itself_as_one() {
    let shop = Shop::new();
    let plugin = shop.path("kubectl-whetstone");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_whetstone"), &plugin).unwrap();
    let said = |arguments: &[&str]| {
        let output = std::process::Command::new(&plugin).args(arguments).env_clear().output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    assert!(said(&["--help"]).contains("Usage: kubectl whetstone [OPTIONS] <COMMAND>"));
    assert!(said(&["approve"]).contains("Usage: kubectl whetstone approve <NAME> [VERSION]"));
    assert!(said(&["completions", "bash"]).contains("kubectl-whetstone"));
}

#[test]
fn standard_output_that_nobody_reads_is_no_error() {
    let shop = Shop::new();
    let ended = super::support::Running::start_deaf(shop.command(&["schema", "world"])).wait();
    assert_eq!(ended.code, Some(0), "{ended}");
}

#[test]
fn quiet_says_nothing_on_the_way() {
    let shop = Shop::new();
    let ended = shop.run_with(&["--quiet"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended}");
}

#[test]
fn the_custom_resource_definitions_in_the_repository_are_those_of_the_program() {
    let printed = std::process::Command::new(env!("CARGO_BIN_EXE_whetstone")).arg("crd").output().unwrap();
    let committed = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/crds/whetstone.dev.yaml")).unwrap();
    assert!(printed.stdout == committed, "crds/ is out of date: run `make generated` and commit what it writes");
}
