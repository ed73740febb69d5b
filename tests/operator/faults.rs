//! Faults: what is true of the operator whatever is killed, cut off, filled up or written over at whatever moment.
//!
//! Each fault strikes a few times in every run of the tests, and at least twenty times in `make faults`, which prints the table of
//! `docs/faults.md`. Moments are drawn at random; `WHETSTONE_FAULTS_SEED` draws the same ones again. There is always work to
//! disturb: shops are opened one after another, each with calls of its own, so that nothing is paid by one for another.

mod audit;
mod checker;
mod clock;
mod harm;
pub(crate) mod processes;
mod prometheus;
mod record;
mod restore;
mod scale;
mod stage;
mod table;

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use rand::RngExt as _;
use serde_json::{Value, json};

use self::processes::{Operator, signal};
use self::stage::{CONCURRENCY, DEADLINE, LEASE, MAX_CYCLES, Place, Stage};
use self::table::Row;
use super::cluster::{Cluster, block_on, eventually};

/// How often each fault strikes in every run of the tests, and how often in `make faults`.
const FEW: usize = 2;
const MANY: usize = 20;
/// How long after work was seen to go on a fault strikes, at most.
const SOON: Duration = Duration::from_millis(2500);

fn shared() -> Place {
    Place::Shared(Cluster::shared())
}

fn private() -> Place {
    Place::Private(Box::new(Cluster::private()))
}

/// The course of a fault: it strikes again and again, what comes of it is looked at in the end.
struct Course {
    stage: Stage,
    moments: usize,
    under_way: usize,
    recoveries: Vec<Duration>,
    violations: Vec<String>,
    /// How many calls may have been answered in vain.
    may_be_lost: u64,
}

impl Course {
    fn begin(place: Place, namespaces: usize, operators: &[&str]) -> Self {
        let mut stage = Stage::new(place, namespaces);
        for identity in operators {
            stage.operate(identity);
        }
        Self { stage, moments: 0, under_way: 0, recoveries: Vec::new(), violations: Vec::new(), may_be_lost: 0 }
    }

    /// Waits for a moment at which there is work under way.
    fn moment(&mut self) {
        self.moment_among(MAX_CYCLES + 1);
    }

    fn moment_among(&mut self, shops: usize) {
        self.stage.keep_busy(shops);
        let since = Instant::now();
        self.stage.work_goes_on(since);
        let wait = self.stage.moment(SOON);
        std::thread::sleep(wait);
        self.strikes();
    }

    /// The fault strikes now.
    fn strikes(&mut self) {
        self.moments += 1;
        let running = self.stage.unsettled().into_iter().filter_map(|number| self.stage.state(number));
        let running = running
            .filter(|object| object["status"]["phase"] == "Running" && object["status"]["cycle"]["waiting"].is_null());
        self.under_way += running.count().min(MAX_CYCLES);
    }

    fn kill_loses(&mut self, processes: u64) {
        self.may_be_lost += processes * CONCURRENCY * MAX_CYCLES as u64;
    }

    /// Work has gone on, or there is none.
    fn goes_on_since(&mut self, since: Instant) {
        match self.stage.work_goes_on(since) {
            Some(after) => self.recoveries.push(after),
            None if since.elapsed() > DEADLINE => self.violations.push("nothing went on any more".to_owned()),
            None => {}
        }
    }

    /// Others are at work as well, so that nothing can be said about how long it took.
    fn still_works(&mut self) {
        self.goes_on_since(Instant::now());
        self.recoveries.pop();
    }

    /// Waits until all has come to rest, ends the operators, and checks everything.
    fn conclude(mut self, fault: &'static str, more: String) -> Row {
        self.violations.extend(self.stage.settle());
        let store = self.stage.operators.first().map(Operator::store);
        let (small_disk, folder) =
            (store.as_ref().is_some_and(|store| store.starts_with("/proc")), self.stage.folder().join("store"));
        if small_disk {
            // Its disk goes with it.
            let _ = std::fs::create_dir_all(&folder);
            copy(&store.unwrap(), &folder);
        }
        let operators = std::mem::take(&mut self.stage.operators);
        operators.into_iter().for_each(Operator::end);
        // Events may come a moment later than what they are about.
        std::thread::sleep(Duration::from_millis(500));
        let seen = self.stage.record.all();
        self.violations.extend(checker::violations(&self.stage, &seen));
        let (recorded, twice) = checker::recorded(&folder);
        self.violations.extend(twice);
        let answered = self.stage.simulator.answered();
        if recorded > answered {
            self.violations.push(format!("{recorded} calls are recorded and only {answered} were answered"));
        }
        Row {
            fault,
            seed: self.stage.seed,
            moments: self.moments,
            shops: self.stage.shops.len(),
            under_way: self.under_way,
            recoveries: self.recoveries,
            lost: answered.saturating_sub(recorded),
            may_be_lost: self.may_be_lost,
            recorded,
            violations: self.violations,
            more,
        }
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// The leader is killed; the other replica goes on, and the one that was killed is started again.
fn kill_the_leader(moments: usize) -> Row {
    let mut course = Course::begin(shared(), 2, &["one", "two"]);
    for _ in 0..moments {
        course.moment();
        let leader = course.stage.leader();
        let killed = Instant::now();
        course.stage.operators[leader].kill();
        course.kill_loses(1);
        course.goes_on_since(killed + Duration::from_millis(50));
        let setup = course.stage.operators[leader].setup.clone();
        course.stage.operators[leader] = Operator::start(&setup);
    }
    course.conclude("`kill -9` of the leader, another replica stands by", String::new())
}

/// A single replica is killed and started again.
fn kill_the_only_one(moments: usize) -> Row {
    let mut course = Course::begin(shared(), 2, &["only"]);
    for _ in 0..moments {
        course.moment();
        let killed = Instant::now();
        course.stage.operators[0].kill();
        course.kill_loses(1);
        let setup = course.stage.operators[0].setup.clone();
        course.stage.operators[0] = Operator::start(&setup);
        course.goes_on_since(killed + Duration::from_millis(50));
    }
    course.conclude("`kill -9` of the only replica, started again under its name", String::new())
}

/// Two replicas over one store fight for the Lease: it is taken away, deleted, backdated, or its holder is stopped for longer than it
/// lasts.
fn fight_for_the_lease(moments: usize) -> Row {
    let mut course = Course::begin(shared(), 2, &["one", "two"]);
    let leases: Api<Lease> = Api::namespaced(course.stage.place.client(), &course.stage.namespace_names()[0]);
    for moment in 0..moments {
        course.moment();
        let leader = course.stage.leader();
        let struck = Instant::now();
        let edit = |change: Value| {
            stage::patiently("edit the Lease", || {
                block_on(leases.patch("whetstone", &PatchParams::default(), &Patch::Merge(&change)))
            });
        };
        match moment % 4 {
            0 => {
                let pid = course.stage.operators[leader].pid();
                signal("STOP", pid);
                let longer = LEASE + Duration::from_secs(1) + course.stage.moment(Duration::from_secs(3));
                std::thread::sleep(longer);
                signal("CONT", pid);
            }
            1 => edit(
                json!({"spec": {"holderIdentity": "somebody-else", "renewTime": now(), "leaseDurationSeconds": 2}}),
            ),
            2 => edit(json!({"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}})),
            _ => drop(block_on(leases.delete("whetstone", &DeleteParams::default()))),
        }
        // The one that has lost may have calls under way that the other one asks again.
        course.kill_loses(1);
        course.goes_on_since(struck + Duration::from_millis(50));
    }
    let users = ["one", "two"].map(|identity| course.stage.user(identity));
    let log = course.stage.place.audit_log().map(std::path::Path::to_owned);
    course.violations.extend(course.stage.settle());
    let takes = audit::takes(&course.stage.record.all(), &["one", "two"]);
    let mut row = course.conclude("two replicas, the Lease fought over", String::new());
    if let Some(log) = log {
        let user_of = |identity: &str| users[usize::from(identity == "two")].clone();
        let requests = audit::requests(&log, &users);
        let late = audit::late_writes(&requests, &takes, user_of);
        let worst = late.iter().map(|late| late.by).max().unwrap_or_default();
        let effective: Vec<&audit::Late> = late.iter().filter(|late| late.has_effect).collect();
        row.more = format!(
            "the Lease was taken {} times; writes after another replica had it: {} ({} of them changed something){}",
            takes.len(),
            late.len(),
            effective.len(),
            if late.is_empty() { String::new() } else { format!(", the last {worst:.1?} after") }
        );
        row.violations.extend(
            effective
                .iter()
                .map(|late| format!("{:?} after another replica had taken the Lease: {}", late.by, late.what)),
        );
    }
    row
}

/// The time as a Lease holds it.
fn now() -> String {
    use whetstone::engine::ports::Clock as _;
    format!("{:.6}", whetstone::embed::SystemClock.now())
}

/// A spec is edited several times in a row while its cycle is under way.
fn edit_the_spec(moments: usize) -> Row {
    let mut course = Course::begin(shared(), 2, &["only"]);
    for moment in 0..moments {
        course.moment();
        let number = busiest(&mut course.stage);
        let edits = course.stage.random.random_range(1..=6);
        for edit in 0..edits {
            // What the search is told, what is measured, and what means nothing.
            let change = match course.stage.random.random_range(0..3) {
                0 => json!({"spec": {"split": {"seed": moment * 100 + edit}}}),
                1 => json!({"spec": {"patching": {"rounds": 1 + (moment + edit) % 3}}}),
                _ => json!({"spec": {"budget": {"perCycle": format!("{}.00", 50 + moment * 10 + edit)}}}),
            };
            course.stage.edit(number, &change);
            let wait = course.stage.moment(Duration::from_millis(300));
            std::thread::sleep(wait);
        }
        // What was under way is asked again by the cycle that starts instead.
        course.may_be_lost += edits as u64 * CONCURRENCY;
        course.still_works();
    }
    course.conclude("spec edited mid-cycle, 1 to 6 edits in a row", String::new())
}

/// An object is deleted while its cycle is under way; every other one is created again at once.
fn delete_the_object(moments: usize) -> Row {
    let mut course = Course::begin(shared(), 2, &["only"]);
    let mut last_calls: Vec<Duration> = Vec::new();
    for moment in 0..moments {
        // One that has calls under way is to be hit.
        course.moment();
        let number = busiest(&mut course.stage);
        let comes_again = moment % 2 == 1;
        let struck = Instant::now();
        course.stage.delete(number);
        course.may_be_lost += CONCURRENCY;
        if comes_again {
            let wait = course.stage.moment(Duration::from_millis(500));
            std::thread::sleep(wait);
            course.stage.create(number, &json!({}));
            let created = Instant::now();
            let wire = &course.stage.shops[number].wire;
            let called =
                eventually("the object that was created again is worked on", DEADLINE, || wire.sent_after(created));
            course.recoveries.push(called - created);
        } else {
            course.stage.shops[number].is_gone = true;
            std::thread::sleep(Duration::from_millis(2500));
            let last = course.stage.shops[number].wire.last_sent();
            last_calls.push(last.map(|last| last.saturating_duration_since(struck)).unwrap_or_default());
        }
    }
    let worst = last_calls.iter().max().copied().unwrap_or_default();
    let mut row = course.conclude(
        "object deleted mid-cycle, every other time created again",
        format!("last call at most {worst:.2?} after the deletion"),
    );
    row.violations.extend(
        last_calls
            .into_iter()
            .filter(|last| *last > Duration::from_secs(1))
            .map(|last| format!("a call {last:?} after the deletion")),
    );
    row
}

/// A shop that has calls under way at this moment.
fn busiest(stage: &mut Stage) -> usize {
    eventually("a shop has calls under way", DEADLINE, || {
        let is_busy = |number: &usize| {
            stage.shops[*number].wire.last_sent().is_some_and(|sent| sent.elapsed() < Duration::from_millis(100))
        };
        let busy = stage.unsettled().into_iter().filter(is_busy);
        let busy: Vec<usize> = busy.collect();
        if busy.is_empty() {
            stage.keep_busy(MAX_CYCLES + 1);
            return None;
        }
        Some(busy[stage.random.random_range(0..busy.len())])
    })
}

use self::harm::{
    break_the_watches, cut_the_provider, fill_the_disk, pause_the_api_server, restart_the_api_server,
    write_over_the_target,
};
use self::prometheus::lie_to_the_watch;

macro_rules! faults {
    ($($name:ident)*) => {
        /// A few moments of each.
        mod few {
            use std::time::Duration;

            #[test] #[ignore = "takes minutes: make faults-few"] fn thirty_objects_that_have_nothing_to_do_write_nothing() { super::scale::idle(30, Duration::from_secs(10)); }
            #[test] #[ignore = "takes minutes: make faults-few"] fn twelve_objects_that_begin_at_once_take_turns() { super::scale::all_at_once(12); }
            #[test] #[ignore = "takes minutes: make faults-few"] fn the_last_call_goes_out_within_a_second_of_a_stop() { super::scale::last_call(2); }

            $(#[test] #[ignore = "takes minutes: make faults-few"] fn $name() { super::$name(super::FEW).conclude(); })*
        }

        /// The table.
        mod many {
            use std::time::Duration;

            #[test] #[ignore = "takes minutes: make faults"] fn a_thousand_objects_that_have_nothing_to_do() { super::scale::idle(1000, Duration::from_mins(3)); }
            #[test] #[ignore = "takes minutes: make faults"] fn a_hundred_objects_that_begin_at_once() { super::scale::all_at_once(100); }
            #[test] #[ignore = "takes minutes: make faults"] fn the_last_call_after_a_stop() { super::scale::last_call(20); }
            #[test] #[ignore = "takes minutes: make faults"] fn the_other_replica_takes_over() { super::scale::takeover(5); }

            $(#[test] #[ignore = "takes minutes: make faults"] fn $name() { super::$name(super::MANY).conclude(); })*
        }
    };
}

faults! {
    kill_the_leader
    kill_the_only_one
    fight_for_the_lease
    write_over_the_target
    delete_the_object
    edit_the_spec
    fill_the_disk
    restart_the_api_server
    pause_the_api_server
    break_the_watches
    cut_the_provider
    lie_to_the_watch
}
