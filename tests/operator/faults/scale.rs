//! How much the operator takes when there is much to look after, and how fair it is.

use std::time::{Duration, Instant};

use serde_json::json;

use super::super::cluster::eventually;
use super::processes::Operator;
use super::stage::{DEADLINE, MAX_CYCLES, Shop, Stage};
use super::{audit, private, shared};

/// Who is told to run so much later must not begin earlier.
const MARGIN: Duration = Duration::from_secs(2);

/// Prints a line, and adds it to the tables.
fn tell(line: &str) {
    println!("{line}");
    super::table::add(line);
}

/// A gauge or counter, all its series added up.
fn metric(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// The buckets of a histogram: upper bounds in seconds, with how many were below.
fn buckets(text: &str, name: &str) -> Vec<(f64, f64)> {
    let prefix = format!("{name}_bucket{{le=\"");
    let lines = text.lines().filter_map(|line| line.strip_prefix(&prefix));
    lines
        .filter_map(|line| {
            let (bound, count) = line.split_once("\"} ")?;
            Some((bound.parse().unwrap_or(f64::INFINITY), count.trim().parse().ok()?))
        })
        .collect()
}

/// The bucket that holds the 99th percentile of what came between two readings.
fn p99(before: &[(f64, f64)], after: &[(f64, f64)]) -> (f64, f64) {
    let counts: Vec<(f64, f64)> = after
        .iter()
        .map(|(bound, count)| {
            (*bound, count - before.iter().find(|(it, _)| it.total_cmp(bound).is_eq()).map_or(0.0, |(_, it)| *it))
        })
        .collect();
    let all = counts.last().map_or(0.0, |(_, count)| *count);
    let bound = counts.iter().find(|(_, count)| *count >= all * 0.99).map_or(f64::NAN, |(bound, _)| *bound);
    (bound, all)
}

fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Where the operator's processor time stands, in seconds.
fn processor_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// So many objects that have nothing to do, over so long a time.
pub(super) fn idle(objects: usize, over: Duration) {
    let mut stage = Stage::new(private(), 4);
    let mut setup = stage.setup("only");
    // The Lease of a real installation.
    setup.lease = Duration::from_secs(15);
    stage.operators.push(Operator::start(&setup));
    let shop = stage.open_small_shop();
    eventually("the first shop has come to rest", DEADLINE, || stage.has_settled(shop).then_some(()));
    let empty = resident_mib(stage.operators[0].pid());
    let begun = Instant::now();
    for _ in 1..objects {
        stage.open_small_shop();
    }
    let patience = DEADLINE + Duration::from_millis(500) * objects as u32;
    eventually("every object has come to rest", patience, || {
        std::thread::sleep(Duration::from_secs(1));
        stage.unsettled().is_empty().then_some(())
    });
    let settled = begun.elapsed();
    let pid = stage.operators[0].pid();
    // Events of the last ones, and whatever else comes a little later.
    std::thread::sleep(Duration::from_secs(5).min(over));
    let (before, processor) = (stage.operators[0].metrics().unwrap(), processor_seconds(pid));
    let log = stage.place.audit_log().unwrap().to_owned();
    let user = stage.user("only");
    let count = || {
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        for request in audit::requests(&log, std::slice::from_ref(&user)) {
            let what = if request.resource == "leases" { "leases" } else { "objects" };
            *counts.entry(format!("{} {what}", request.verb)).or_default() += 1;
        }
        counts
    };
    let first = count();
    std::thread::sleep(over);
    let last = count();
    let after = stage.operators[0].metrics().unwrap();
    let minutes = over.as_secs_f64() / 60.0;
    let mut writes = 0;
    tell(&format!("\n{objects} objects, all at rest {settled:.0?} after the first was created"));
    tell("| | |\n|---|---|");
    tell(&format!("| resident memory with one object, with all | {empty} MiB, {} MiB |", resident_mib(pid)));
    println!(
        "| processor time | {:.1} % of a core |",
        (processor_seconds(pid) - processor) / over.as_secs_f64() * 100.0
    );
    for (what, count) in &last {
        let more = count - first.get(what).copied().unwrap_or(0);
        if !what.starts_with("get")
            && !what.starts_with("list")
            && !what.starts_with("watch")
            && !what.ends_with("leases")
        {
            writes += more;
        }
        if more > 0 {
            tell(&format!("| {what} a minute | {:.1} |", more as f64 / minutes));
        }
    }
    let name = "whetstone_reconcile_duration_seconds";
    let (bound, reconciles) = p99(&[], &buckets(&before, name));
    tell(&format!("| reconciles until then, p99 | {reconciles}, at most {bound} s |"));
    let (bound, reconciles) = p99(&buckets(&before, name), &buckets(&after, name));
    tell(&format!("| reconciles at rest, p99 | {reconciles}, at most {bound} s |"));
    assert_eq!(writes, 0, "an idle object writes nothing");
    // What has nothing to do, and is edited: how long until its status shows it.
    let reaction = stage.reaction(objects / 2, Instant::now()).unwrap();
    tell(&format!("| an edit is in the status after | {reaction:.2?} |"));
}

/// So many objects that all begin at the same time.
pub(super) fn all_at_once(objects: usize) {
    let mut stage = Stage::new(shared(), 4);
    for _ in 0..objects {
        stage.open_small_shop();
    }
    let begun = Instant::now();
    let mut setup = stage.setup("only");
    // Who loses the Lease begins a new queue.
    setup.lease = Duration::from_secs(15);
    stage.operators.push(Operator::start(&setup));
    let mut most = 0.0_f64;
    let patience = DEADLINE + Duration::from_secs(2) * objects as u32;
    eventually("every object has come to rest", patience, || {
        if let Some(text) = stage.operators[0].metrics() {
            most = most.max(metric(&text, "whetstone_cycles_running"));
        }
        stage.unsettled().is_empty().then_some(())
    });
    let all = stage.record.all();
    // When each was told to run, and when it first called.
    let mut queued: Vec<(u64, Instant, Instant, &Shop)> = stage
        .shops
        .iter()
        .map(|shop| {
            let is_it = |it: &&super::record::Seen| {
                it.kind == "AgentOptimization" && it.namespace == shop.namespace && it.name == shop.name
            };
            let asked = all.iter().filter(is_it).find(|it| !it.object["status"]["cycle"].is_null()).unwrap();
            (asked.revision, asked.at, shop.wire.sent_after(begun).unwrap(), shop)
        })
        .collect();
    queued.sort_by_key(|(revision, ..)| *revision);
    // Each namespace has a queue of its own, and those that are told to run at about the same time get into it in any order.
    let mut overtaken = 0;
    for (_, asked, called, shop) in &queued {
        let later = queued
            .iter()
            .filter(|(.., other)| other.namespace == shop.namespace)
            .filter(|(_, other, before, _)| *other > *asked + MARGIN && before < called)
            .count();
        if later > 0 {
            println!(
                "{} was told to run {:.1?} after the begin and called {:.1?} after it, after {later} that were told to run later",
                shop.name,
                *asked - begun,
                *called - begun
            );
        }
        overtaken += usize::from(later > 0);
    }
    let queue = queued.iter().map(|(_, asked, called, _)| *called - *asked).max().unwrap();
    let waits: Vec<f64> = queued.iter().map(|(_, _, called, _)| (*called - begun).as_secs_f64()).collect();
    let longest = waits.iter().copied().fold(0.0, f64::max);
    tell(&format!("\n| {objects} objects begin at once | |\n|---|---|"));
    tell(&format!("| all at rest after | {:.0?} |", begun.elapsed()));
    tell(&format!("| cycles under way at once, at most (--max-cycles {MAX_CYCLES}) | {most} |"));
    println!(
        "| first call of the first, of the last | {:.1} s, {longest:.1} s |",
        waits.iter().copied().fold(f64::INFINITY, f64::min)
    );
    tell(&format!("| from being told to run to the first call, at most | {queue:.1?} |"));
    tell(&format!(
        "| overtaken in its namespace by one that was told to run more than {MARGIN:?} later | {overtaken} |"
    ));
    assert!(most <= MAX_CYCLES as f64, "{most} cycles at once");
    assert_eq!(overtaken, 0, "the queue is not fair");
}

/// The holder of a Lease of the usual length is killed: how long until the other replica works?
pub(super) fn takeover(times: usize) {
    let mut stage = Stage::new(shared(), 1);
    for identity in ["one", "two"] {
        let mut setup = stage.setup(identity);
        setup.lease = Duration::from_secs(15);
        stage.operators.push(Operator::start(&setup));
    }
    let (mut held, mut worked) = (Vec::new(), Vec::new());
    for _ in 0..times {
        stage.keep_busy(MAX_CYCLES + 1);
        stage.work_goes_on(Instant::now());
        let wait = stage.moment(Duration::from_secs(5));
        std::thread::sleep(wait);
        stage.keep_busy(MAX_CYCLES + 1);
        stage.work_goes_on(Instant::now());
        let leader = stage.leader();
        let killed = Instant::now();
        stage.operators[leader].kill();
        let other = stage.operators[1 - leader].setup.identity.clone();
        let namespace = stage.namespace_names()[0].clone();
        held.push(eventually("the other replica holds the Lease", DEADLINE, || {
            let lease = stage.record.newest("Lease", &namespace, "whetstone")?;
            (lease.text("/spec/holderIdentity") == other).then(|| lease.at.saturating_duration_since(killed))
        }));
        worked.push(stage.work_goes_on(killed + Duration::from_millis(50)).expect("there is work"));
        let setup = stage.operators[leader].setup.clone();
        stage.operators[leader] = Operator::start(&setup);
    }
    held.sort();
    worked.sort();
    tell("\n| holder of a Lease of 15 s killed | median | worst |\n|---|---|---|");
    tell(&format!("| the other replica holds it after | {:.1?} | {:.1?} |", held[times / 2], held[times - 1]));
    tell(&format!(
        "| and calls, having gone through what was paid before, after | {:.1?} | {:.1?} |",
        worked[times / 2],
        worked[times - 1]
    ));
    assert!(held[times - 1] < Duration::from_secs(15 + 2), "{held:?}");
}

/// How long after a person has said stop the last call goes out.
pub(super) fn last_call(times: usize) {
    let mut stage = Stage::new(shared(), 1);
    stage.operate("only");
    let mut took = Vec::new();
    for time in 0..times {
        stage.keep_busy(MAX_CYCLES + 1);
        let number = super::busiest(&mut stage);
        let wait = stage.moment(Duration::from_secs(1));
        std::thread::sleep(wait);
        let number = if stage.has_settled(number) { super::busiest(&mut stage) } else { number };
        if time % 2 == 0 {
            stage.edit(number, &json!({"spec": {"suspend": true}}));
        } else {
            stage.delete(number);
        }
        // From here on the API server has it.
        let said = Instant::now();
        std::thread::sleep(Duration::from_secs(3));
        took.push(
            stage.shops[number].wire.last_sent().map(|last| last.saturating_duration_since(said)).unwrap_or_default(),
        );
        stage.shops[number].is_gone = true;
    }
    took.sort();
    tell("\n| | median | worst |\n|---|---|---|");
    tell(&format!(
        "| suspended or deleted: last call, {times} times, after | {:.0?} | {:.0?} |",
        took[times / 2],
        took[times - 1]
    ));
    assert!(took[times - 1] <= Duration::from_secs(1), "{took:?}");
}
