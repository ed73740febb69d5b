//! Tests that need a file: a kill, a lock, a full disk, another version, another program.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use futures::future::join_all;
use sqlx::{ConnectOptions, Executor};
use tempfile::TempDir;

use super::*;
use crate::store::Store;
use crate::store::conformance::{entry, hash};
use whetstone_domain::call::Answer;
use whetstone_domain::hash::ContentHash;
use whetstone_engine::ports::StoreErrorKind;

async fn fixture() -> (TempDir, Sqlite) {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&folder.path().join("deep/in/a/folder/ledger.db")).await.unwrap();
    (folder, store)
}

crate::store::conformance::suite!(super::fixture);

/// A connection to the same file, as another program has it.
async fn other_program(path: &Path) -> SqliteConnection {
    sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

fn key(name: &str) -> CallKey {
    CallKey(hash(name))
}

/// A call with an answer of some kilobytes, so that a few thousand suffice for the write-ahead log to be merged into the
/// file.
fn large_entry(name: &str) -> LedgerEntry {
    answering(name, &name.repeat(1_000))
}

fn answering(name: &str, text: &str) -> LedgerEntry {
    let mut entry = entry(name);
    if let Answer::Chat(answer) = &mut entry.answer {
        text.clone_into(&mut answer.text);
    }
    entry
}

const CHILD: &str = "WHETSTONE_TEST_KILLED_LEDGER";

/// In the child: records calls endlessly, and prints each call after it is recorded, until it is killed.
async fn record_until_killed(path: &Path, round: &str) {
    let store = Sqlite::open(path).await.unwrap();
    let caller = async |caller: usize| {
        for call in 0.. {
            let name = format!("{round}/{caller}/{call}");
            store.record(large_entry(&name)).await.unwrap();
            writeln!(std::io::stdout().lock(), "recorded {name}").unwrap();
        }
    };
    join_all((0..20).map(caller)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_call_survives_kill_9() {
    if let Ok(child) = std::env::var(CHILD) {
        let (round, path) = child.split_once(' ').unwrap();
        return record_until_killed(Path::new(path), round).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let this_test = format!("{}::every_acknowledged_call_survives_kill_9", module_path!().split_once("::").unwrap().1);
    let mut acknowledged = Vec::new();
    for (round, moment) in [1, 2, 19, 20, 21, 133, 700, 1_501, 2_003, 1].into_iter().enumerate() {
        // In every other round, this process has the file open too, and writes concurrently.
        let ours = if round % 2 == 0 { None } else { Some(Sqlite::open(&path).await.unwrap()) };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &this_test, "--nocapture"])
            .env(CHILD, format!("{round} {}", path.display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut recorded = lines.by_ref().filter_map(|line| Some(line.strip_prefix("recorded ")?.to_owned()));
        for _ in 0..moment {
            let name = recorded.next().expect("the child records until it is killed");
            if let Some(ours) = &ours {
                let mine = format!("beside {name}");
                ours.record(entry(&mine)).await.unwrap();
                assert!(ours.find(key(&name)).await.unwrap().is_some(), "{name} is not seen by the other process");
            }
            acknowledged.push(name);
        }
        child.kill().unwrap();
        acknowledged.extend(recorded);
        child.wait().unwrap();
        if let Some(ours) = ours {
            ours.close().await.unwrap();
        }

        let store = Sqlite::open(&path).await.unwrap();
        for name in &acknowledged {
            let found = store.find(key(name)).await.unwrap();
            assert_eq!(
                found.map(|call| call.answer),
                Some(large_entry(name).answer),
                "{name} was acknowledged in round {round}"
            );
        }
        store.close().await.unwrap();
    }
    assert!(acknowledged.len() > 4_400);
    let (verdict,): (String,) =
        sqlx::query_as("PRAGMA integrity_check").fetch_one(&mut other_program(&path).await).await.unwrap();
    assert_eq!(verdict, "ok");
}

#[tokio::test]
async fn a_closed_store_is_one_file_and_can_be_opened_again() {
    let (folder, store) = fixture().await;
    store.record(entry("kept")).await.unwrap();
    store.close().await.unwrap();
    let files = std::fs::read_dir(store.path().parent().unwrap()).unwrap();
    let files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["ledger.db"], "the write-ahead log is folded into the file");

    for error in [
        store.record(entry("late")).await.unwrap_err(),
        store.find(key("kept")).await.unwrap_err(),
        store.cycles(None, 1).await.unwrap_err(),
        store.close().await.unwrap_err(),
    ] {
        assert!(error.message.ends_with("the store is closed"), "{error}");
    }
    let again = Sqlite::open(store.path()).await.unwrap();
    assert!(again.find(key("kept")).await.unwrap().is_some());
    drop(folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_is_recorded_also_when_its_caller_was_cancelled() {
    let (_folder, store) = fixture().await;
    {
        let mut abandoned = store.record(entry("paid"));
        assert!(futures::poll!(&mut abandoned).is_pending());
    }
    store.record(entry("next")).await.unwrap();
    assert!(store.find(key("paid")).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_can_be_opened_concurrently() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let opening = (0..8).map(|_| Sqlite::open(&path));
    let stores: Vec<Sqlite> = join_all(opening).await.into_iter().map(Result::unwrap).collect();
    let recording = stores.iter().enumerate().map(|(number, store)| store.record(entry(&number.to_string())));
    join_all(recording).await.into_iter().for_each(Result::unwrap);
    for number in 0..stores.len() {
        assert!(stores[0].find(key(&number.to_string())).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_lock_of_another_process_is_waited_for_then_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let store = Sqlite::open_with(&path, Duration::from_millis(50)).await.unwrap();
    store.record(entry("before")).await.unwrap();
    let mut other = other_program(&path).await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();

    let error = store.record(entry("locked out")).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Locked);
    assert!(error.kind.is_retryable());
    let expected = format!(
        "ledger {}: could not record a call: another process has kept it locked for 50ms; wait for that process or stop it, \
         and run again. What was recorded is kept",
        path.display()
    );
    assert_eq!(error.message, expected);
    assert!(store.find(key("before")).await.unwrap().is_some(), "a lock for writing does not keep from reading");
    let second = Sqlite::open_with(&path, Duration::from_millis(50)).await.unwrap();
    assert_eq!(second.totals(None).await.unwrap()[0].calls, 1, "nor from opening a store to read it");

    other.execute("COMMIT").await.unwrap();
    store.record(entry("locked out")).await.unwrap();
    assert!(second.find(key("locked out")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_file_locked_while_it_is_created_is_waited_for_then_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    other_program(&path).await.execute("BEGIN EXCLUSIVE; CREATE TABLE t (x)").await.unwrap();
    let mut other = other_program(&path).await;
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    let error = Sqlite::open_with(&path, Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Locked, "{error}");
}

/// SQLite's own limit on the size of a file causes the same error as a full disk, and works on every system.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing_and_is_over_when_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place { path: Arc::new(folder.path().join("ledger.db")), patience: PATIENCE };
    let mut writing = open::writing(&place).await.unwrap();
    writing.execute("PRAGMA max_page_count = 60").await.unwrap();
    let store = Sqlite::start(place.clone(), writing, open::reading(&place).await.unwrap());
    let (mut recorded, mut refused) = (Vec::new(), None);
    while refused.is_none() && recorded.len() < 200 {
        let name = format!("call {}", recorded.len());
        match store.record(large_entry(&name)).await {
            Ok(()) => recorded.push(name),
            Err(error) => refused = Some(error),
        }
    }
    let error = refused.expect("200 calls of 10 KB do not fit into 60 pages");
    assert_eq!(error.kind, StoreErrorKind::Full);
    assert!(error.message.contains("ledger.db: could not record a call: the disk is full"), "{error}");
    assert!(error.message.contains("kept and will not be paid for again"), "{error}");
    assert!(recorded.len() > 5);
    for _ in 0..3 {
        assert_eq!(store.record(large_entry("no room")).await.unwrap_err().kind, StoreErrorKind::Full);
    }
    store.record(LedgerEntry { key: key("small"), ..entry("") }).await.expect("what still fits is recorded");
    let start = CycleStart {
        cycle: hash("cycle"),
        object: "shop/support".into(),
        champion: hash("champion"),
        champion_text: "long ".repeat(100_000),
        at: jiff::Timestamp::UNIX_EPOCH,
    };
    assert_eq!(History::open(&store, start.clone()).await.unwrap_err().kind, StoreErrorKind::Full);
    assert_eq!(store.cycles(None, 10).await.unwrap(), [], "nothing half-written");
    store.close().await.unwrap();

    let store = Sqlite::open(&place.path).await.unwrap();
    for name in &recorded {
        assert!(store.find(key(name)).await.unwrap().is_some(), "{name} was acknowledged");
    }
    assert_eq!(store.find(key("no room")).await.unwrap(), None);
    store.record(large_entry("no room")).await.unwrap();
    History::open(&store, start).await.unwrap();
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_left_alone() {
    let (_folder, store) = fixture().await;
    store.close().await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'of the future', true, x'00', 0)";
    other_program(store.path()).await.execute(newer).await.unwrap();
    let error = Sqlite::open(store.path()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Newer);
    let advice = "it was written by a newer version of whetstone; upgrade whetstone, or name another file with --store";
    assert_eq!(error.message, format!("ledger {}: could not open it: {advice}", store.path().display()));
}

#[tokio::test]
async fn what_is_no_store_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    let text = "not a database, but long enough to be looked at as one: ".repeat(40);
    std::fs::write(&path, &text).unwrap();
    let error = Sqlite::open(&path).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Damaged);
    assert!(error.message.contains("notes.txt: could not open it: it is not a SQLite database"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);

    let path = folder.path().join("other.db");
    other_program(&path).await.execute("CREATE TABLE recipes (name TEXT)").await.unwrap();
    let error = Sqlite::open(&path).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Damaged);
    assert!(error.message.contains("it is a database of another program"), "{error}");
    let (tables,): (i64,) = sqlx::query_as("SELECT count(*) FROM sqlite_schema WHERE type = 'table'")
        .fetch_one(&mut other_program(&path).await)
        .await
        .unwrap();
    assert_eq!(tables, 1);

    let error = Sqlite::open(folder.path()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Other);
    assert!(error.message.contains("make the file and its directory writable"), "{error}");
    let error = Sqlite::open(&folder.path().join("notes.txt/ledger.db")).await.unwrap_err();
    assert!(error.message.contains("could not create its directory"), "{error}");
}

#[tokio::test]
async fn a_damaged_answer_is_named_not_used() {
    let (_folder, store) = fixture().await;
    store.record(entry("good")).await.unwrap();
    other_program(store.path()).await.execute("UPDATE calls SET answer = '{\"chat\":{\"te'").await.unwrap();
    let error = store.find(key("good")).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Damaged);
    let named: ContentHash = hash("good");
    assert!(error.message.contains(&format!("the answer under key {named} cannot be read")), "{error}");
}

/// A change of the files of a store while it is open.
type Harm = fn(&Path);

#[tokio::test]
async fn a_file_that_is_deleted_or_replaced_while_it_is_open_is_noticed_before_anything_is_paid() {
    let beside = |path: &Path, ending: &str| PathBuf::from(format!("{}{ending}", path.display()));
    let harms: [(&str, Harm); 4] = [
        ("the file was deleted while it was in use", |path| std::fs::remove_file(path).unwrap()),
        ("the file was replaced while it was in use", |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::write(path, "").unwrap();
        }),
        ("the file was deleted while it was in use", |path| {
            let folder = path.parent().unwrap();
            std::fs::rename(folder, folder.with_extension("old")).unwrap();
        }),
        ("ledger.db-wal was deleted", |path| std::fs::remove_file(format!("{}-wal", path.display())).unwrap()),
    ];
    for (what, harm) in harms {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stores/ledger.db");
        let store = Sqlite::open(&path).await.unwrap();
        store.record(entry("before")).await.unwrap();
        store.check().unwrap();
        assert!(beside(&path, "-wal").exists(), "the log is there once something was written");

        harm(&path);
        let looked = store.find(key("before")).await.unwrap_err();
        let recorded = store.record(entry("after")).await.unwrap_err();
        let checked = store.check().unwrap_err();
        for error in [looked, recorded, checked] {
            assert_eq!(error.kind, StoreErrorKind::Replaced, "{error}");
            assert!(!error.kind.is_retryable());
            assert!(error.message.contains(what) && error.message.contains("no more calls are made"), "{error}");
            assert!(error.message.contains(&path.display().to_string()), "{error}");
        }
    }
}

#[tokio::test]
async fn a_store_whose_file_is_restored_works_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let store = Sqlite::open(&path).await.unwrap();
    store.record(entry("before")).await.unwrap();
    std::fs::rename(&path, folder.path().join("moved.db")).unwrap();
    assert_eq!(store.find(key("before")).await.unwrap_err().kind, StoreErrorKind::Replaced);
    std::fs::rename(folder.path().join("moved.db"), &path).unwrap();
    assert!(store.find(key("before")).await.unwrap().is_some());
    store.record(entry("after")).await.unwrap();
    store.close().await.unwrap();
    let again = Sqlite::open(&path).await.unwrap();
    assert!(again.find(key("after")).await.unwrap().is_some());
}

/// Answers are read within a memory limit, and all of these together exceed it.
#[tokio::test(flavor = "multi_thread")]
async fn long_answers_are_found_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&folder.path().join("ledger.db")).await.unwrap();
    let text = "long ".repeat(200_000);
    let names: Vec<String> = (0..40).map(|number| format!("call {number}")).collect();
    for name in &names {
        store.record(answering(name, &text)).await.unwrap();
    }
    let found = join_all(names.iter().chain(&names).map(|name| store.find(key(name)))).await;
    for found in found {
        let Answer::Chat(answer) = found.unwrap().unwrap().answer else { panic!("it was a chat") };
        assert_eq!(answer.text.len(), text.len());
    }
}
