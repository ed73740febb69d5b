//! What strangers write commands no terminal, and a store that is taken away costs nothing.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};

use super::support::{RUN, Running, Shop, Simulator, block_on, eventually};

const SCENARIOS: &str = "scenarios.jsonl";

/// What a terminal obeys, or what hides what is written.
const OBEYED: [char; 6] = ['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}', '\u{2066}', '\r'];

fn commands(text: &str) -> Option<char> {
    text.chars().find(|c| OBEYED.contains(c))
}

#[test]
fn names_that_would_control_a_terminal_are_refused_with_their_place() {
    for (from, to, field) in [
        (r#""id": "refund-00""#, r#""id": "refund\u001b[2J""#, "id: contains the control character U+001B"),
        (r#""id": "refund-00""#, r#""id": "refund\n- forged""#, "id: contains the control character U+000A"),
        (r#""id": "refund-00""#, r#""id": "refund\u202e""#, "id: contains the control character U+202E"),
    ] {
        let said = Shop::with(&[(SCENARIOS, from, to)]).refusal();
        assert!(said.starts_with("error: scenarios.jsonl:1:") && said.contains(field), "{said}");
        assert_eq!(commands(&said), None, "{said:?}");
    }
}

/// A report of an older version, or of another program, whose every text commands.
#[test]
fn a_report_is_shown_without_what_its_texts_command() {
    let shop = Shop::new();
    let ran = shop.run();
    assert_eq!(ran.code, Some(0), "{ran}");
    let text = shop.read("out/report.md");
    assert_eq!(commands(&text), None);
    assert!(text.contains("refund-"), "{text}");
    let database = shop.path("store.db");
    let evil = r"\u001b[2Jevil\u202e\u009b1m`](x)";
    // Every name of a scenario, wherever it stands in the report.
    block_on(async {
        let options = SqliteConnectOptions::new().filename(&database);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let replace = sqlx::query("UPDATE cycles SET report = replace(report, 'refund-', ?)").bind(evil);
        replace.execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
    let shown = shop.whetstone(&["show", "--store", "store.db"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    assert!(shown.stdout.contains("evil"), "{shown}");
    assert_eq!(commands(&shown.stdout), None, "{:?}", shown.stdout);
    let json = shop.whetstone(&["show", "--store", "store.db", "-o", "json"]);
    assert!(json.stdout.contains(r"\u001b[2Jevil\u202e\u009b1m"), "{json}");
    assert_eq!(commands(&json.stdout), None, "{:?}", json.stdout);
}

#[test]
fn a_store_that_is_taken_away_under_a_run_ends_it_before_anything_more_is_paid() {
    let shop = Shop::new();
    shop.write("world.yaml", &format!("{}faults:\n  latency: {{fixed: 50ms}}\n", shop.read("world.yaml")));
    shop.edit("optimization.yaml", "  profile: Prototype\n", "  profile: Prototype\n  execution: {concurrency: 2}\n");
    let simulator = Simulator::start(&shop);
    shop.send_models_to(&simulator.origin());
    let run = Running::start(shop.command(&RUN));
    eventually("an answer", || (simulator.answered() >= 10).then_some(()));
    std::fs::remove_file(shop.path("store.db")).unwrap();
    let paid = simulator.answered();
    let ended = run.wait();
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.contains("the file was deleted while it was in use"), "{ended}");
    assert!(ended.stderr.contains("no more calls are made"), "{ended}");
    let lost = simulator.answered() - paid;
    assert!(lost <= 4, "{lost} calls were paid after it");
}
