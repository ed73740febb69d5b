//! Faults of what is around the operator: the API server, the way to it, the provider, the disk, other writers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use rand::RngExt as _;
use serde_json::json;

use super::super::cluster::{block_on, eventually};
use super::checker::HOSTILE;
use super::processes::{Operator, Wire, signal};
use super::stage::{CONCURRENCY, DEADLINE, MAX_CYCLES, Stage};
use super::table::Row;
use super::{Course, audit, private, shared};

/// How often the hostile writer writes.
const EVERY: Duration = Duration::from_millis(20);

/// Somebody writes into the target ConfigMaps all the time: mostly a key of their own, now and then over one of ours, and at times they
/// delete the whole.
pub(super) fn write_over_the_target(moments: usize) -> Row {
    let mut course = Course::begin(shared(), 2, &["only"]);
    let writes = Arc::new(AtomicUsize::new(0));
    while course.moments < moments {
        let batch = (moments - course.moments).min(MAX_CYCLES);
        let first = course.stage.shops.len();
        course.stage.keep_busy(batch);
        let writers: Vec<Writer> =
            (first..course.stage.shops.len()).map(|number| Writer::start(&mut course.stage, number, &writes)).collect();
        course.moments += batch;
        course.under_way += batch;
        course.violations.extend(course.stage.settle());
        for writer in writers {
            writer.stop();
        }
    }
    let writes = writes.load(Ordering::SeqCst);
    let log = course.stage.place.audit_log().map(std::path::Path::to_owned);
    let user = course.stage.user("only");
    let mut row = course.conclude(
        "another writer patches the target every 20 ms while it is promoted",
        format!("{writes} writes of the other"),
    );
    if let Some(log) = log {
        let requests = audit::requests(&log, &[user]);
        let conflicts =
            requests.iter().filter(|request| request.resource == "configmaps" && request.code == 409).count();
        row.more = format!("{}, {conflicts} conflicts", row.more);
    }
    row
}

struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Writer {
    fn start(stage: &mut Stage, number: usize, writes: &Arc<AtomicUsize>) -> Self {
        let shop = &stage.shops[number];
        let maps: Api<ConfigMap> = Api::namespaced(stage.place.client(), &shop.namespace);
        let name = format!("{}-live", shop.name);
        let stop = Arc::new(AtomicBool::new(false));
        let (stopping, writes) = (Arc::clone(&stop), Arc::clone(writes));
        let salt: usize = stage.random.random_range(0..1000);
        let thread = std::thread::spawn(move || {
            let by = PatchParams { field_manager: Some("hostile".to_owned()), ..PatchParams::default() };
            let mut turn = salt;
            while !stopping.load(Ordering::SeqCst) {
                let next = Instant::now() + EVERY;
                turn += 1;
                let key = ["system-prompt", "version", "prompt-hash"][turn / 25 % 3];
                let data = if turn.is_multiple_of(25) {
                    json!({key: format!("{HOSTILE} {turn}")})
                } else {
                    json!({"theirs": turn.to_string()})
                };
                let written = if turn.is_multiple_of(150) {
                    block_on(maps.delete(&name, &DeleteParams::default())).is_ok()
                } else {
                    block_on(maps.patch(&name, &by, &Patch::Merge(json!({"data": data})))).is_ok()
                };
                writes.fetch_add(usize::from(written), Ordering::SeqCst);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        Self { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
    }
}

/// The disk of the stores is full for a while.
pub(super) fn fill_the_disk(moments: usize) -> Row {
    let mut course = Course::begin(shared(), 2, &[]);
    let can = std::process::Command::new("unshare")
        .args(["-rm", "true"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !can {
        println!("not tested: unshare -rm is not allowed here");
        return course.conclude("disk of the stores full: not tested", String::new());
    }
    let mut setup = course.stage.setup("only");
    // The write-ahead log of each of the two stores takes up to 64 MiB, and the stores themselves.
    setup.disk = Some(320 * 1024);
    course.stage.operators.push(Operator::start(&setup));
    for _ in 0..moments {
        course.moment();
        let filler = course.stage.operators[0].store().join("filler");
        let fails = fill(&filler);
        assert!(fails, "the disk could not be filled");
        let waits = course.stage.moment(Duration::from_secs(5));
        std::thread::sleep(waits);
        // A cycle that comes to its turn meanwhile finds the disk full as well.
        course.may_be_lost += course.stage.unsettled().len() as u64 * CONCURRENCY;
        if let Some(status) = course.stage.operators[0].ended() {
            course.violations.push(format!("the operator ended on a full disk: {status}"));
            break;
        }
        std::fs::remove_file(&filler).unwrap();
        course.goes_on_since(Instant::now());
    }
    course.conclude("disk of the stores full for up to 5 s", String::new())
}

/// Writes until nothing more goes in.
fn fill(path: &std::path::Path) -> bool {
    use std::io::Write as _;
    let Ok(mut file) = std::fs::File::create(path) else { return true };
    let mut block = vec![0; 1 << 20];
    while !block.is_empty() {
        while file.write_all(&block).is_ok() {}
        block.truncate(block.len() / 2);
    }
    true
}

/// The API server is killed; it is started again by itself.
pub(super) fn restart_the_api_server(moments: usize) -> Row {
    let mut course = Course::begin(private(), 2, &["only"]);
    for _ in 0..moments {
        course.moment();
        let before = course.stage.place.pids().unwrap().apiserver;
        let killed = Instant::now();
        signal("KILL", before);
        api_server_answers(&course.stage, before);
        let answers = killed.elapsed();
        reacts(&mut course, killed + answers);
        // Who could not renew the Lease stops its cycles; what is under way is recorded all the same.
    }
    course.conclude(
        "API server killed (it is back after 3 to 5 s)",
        "time from the first answer of the API server to the status of a suspended object".to_owned(),
    )
}

fn api_server_answers(stage: &Stage, before: u32) {
    let maps: Api<ConfigMap> = Api::namespaced(stage.place.client(), &stage.namespace_names()[0]);
    eventually("the API server answers again", DEADLINE, || {
        let is_another = stage.place.pids().unwrap().apiserver != before;
        (is_another && block_on(maps.get_opt("nothing")).is_ok()).then_some(())
    });
}

/// Somebody wants something from the operator: how long does it take?
fn reacts(course: &mut Course, since: Instant) {
    course.stage.keep_busy(1);
    let at_work = course.stage.unsettled();
    let number = at_work[course.stage.random.random_range(0..at_work.len())];
    if let Some(after) = course.stage.reaction(number, since) {
        course.recoveries.push(after);
    } else {
        let name = &course.stage.shops[number].name;
        course.violations.push(format!("{name} was suspended, and nothing came of it"));
    }
}

/// The API server hangs for 30 seconds.
pub(super) fn pause_the_api_server(moments: usize) -> Row {
    let mut course = Course::begin(private(), 2, &["only"]);
    for _ in 0..moments {
        course.moment();
        let pid = course.stage.place.pids().unwrap().apiserver;
        signal("STOP", pid);
        std::thread::sleep(Duration::from_secs(30));
        signal("CONT", pid);
        reacts(&mut course, Instant::now());
    }
    course.conclude(
        "API server stopped for 30 s",
        "time from its going on to the status of a suspended object".to_owned(),
    )
}

/// Every connection to the API server breaks; every other time nothing gets through for a while, and the API server has forgotten the
/// revisions that the watches had seen.
pub(super) fn break_the_watches(moments: usize) -> Row {
    let mut course = Course::begin(private(), 2, &[]);
    let mut setup = course.stage.setup("only");
    let text = std::fs::read_to_string(&setup.kubeconfig).unwrap();
    let server = text.lines().find_map(|line| line.trim().strip_prefix("server: https://")).unwrap().to_owned();
    let wire = Wire::to(server.parse().unwrap());
    let through = course.stage.folder().join("through-the-wire.kubeconfig");
    std::fs::write(&through, text.replace(&server, &wire.address().to_string())).unwrap();
    setup.kubeconfig = through;
    course.stage.operators.push(Operator::start(&setup));
    for moment in 0..moments {
        course.moment();
        if moment % 2 == 0 {
            wire.break_off();
        } else {
            wire.cut();
            let before = course.stage.place.pids().unwrap().apiserver;
            signal("KILL", before);
            api_server_answers(&course.stage, before);
            // One goes while nobody is watching.
            let gone = course.stage.unsettled().first().copied();
            if let Some(number) = gone {
                course.stage.delete(number);
                course.stage.shops[number].is_gone = true;
            }
            course.stage.open_shop(&json!({}));
            wire.mend();
        }
        reacts(&mut course, Instant::now());
    }
    course.conclude(
        "connections to the API server broken; every other time it has also forgotten the revisions (410)",
        "time from the break, or its end, to the status of a suspended object".to_owned(),
    )
}

/// The provider is killed and comes back a few seconds later.
pub(super) fn cut_the_provider(moments: usize) -> Row {
    let mut course = Course::begin(shared(), 2, &["only"]);
    for _ in 0..moments {
        course.moment();
        for shop in &course.stage.shops {
            shop.wire.cut();
        }
        course.kill_loses(1);
        // What has reached it is answered, and nobody hears it.
        std::thread::sleep(Duration::from_millis(300));
        course.stage.simulator.kill();
        let waits = course.stage.moment(Duration::from_secs(8));
        std::thread::sleep(waits);
        course.stage.simulator.again();
        for shop in &course.stage.shops {
            shop.wire.mend();
        }
        course.goes_on_since(Instant::now());
    }
    course.conclude("provider killed, back after up to 8 s", String::new())
}
