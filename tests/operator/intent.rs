//! What a person wants: for good by the spec, once by an annotation.

use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use whetstone::api::AgentOptimization;
use whetstone::api::status::{Cause, CycleKind, Origin, Phase};

use super::cluster::{block_on, eventually};
use super::operator::{DEADLINE, SHOP, Shop, assert_belongs_together, condition, fixture, has, hash, now};

const RUN_AT: &str = "whetstone.dev/run-at";
const APPROVE: &str = "whetstone.dev/approve";
const ROLLBACK_TO: &str = "whetstone.dev/rollback-to";

#[test]
fn a_suspended_cycle_stops_within_a_second_and_goes_on_later_without_paying_twice() {
    let shop = Shop::in_world("suspend", "faults: {latency: {fixed: 300ms}}\n");
    let operator = shop.operator();
    // A few calls at a time, so that there is something to stop.
    let slow = |suspend: bool| json!({"spec": {"suspend": suspend, "execution": {"concurrency": 8}}});
    shop.apply(&slow(false));
    eventually("the cycle is under way", DEADLINE, || (shop.world.answered() > 20).then_some(()));
    shop.apply(&slow(true));
    let began = Instant::now();
    eventually("no cycle runs", DEADLINE, || (operator.metric("whetstone_cycles_running") == 0.0).then_some(()));
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1500), "the cycle went on for {took:?}");
    let status = shop.until("it is suspended", |status| status.phase == Some(Phase::Suspended));
    assert!(has(&status, "Ready", "True", "Serving"), "the champion serves");
    let cycle = status.cycle.expect("the cycle is remembered");
    eventually("the calls under way are recorded", DEADLINE, || {
        (shop.world.answered() == shop.ledger_calls()).then_some(())
    });
    let so_far = shop.world.answered();

    // It stays so across a restart, whatever is asked for.
    operator.stop();
    let operator = shop.operator();
    eventually("it has looked", DEADLINE, || {
        (operator.metric("whetstone_reconcile_duration_seconds_count") >= 1.0).then_some(())
    });
    shop.annotate(RUN_AT, "while suspended");
    assert_eq!(shop.world.answered(), so_far);

    shop.apply(&slow(false));
    let resumed = shop.until("it goes on", |status| status.phase == Some(Phase::Running)).cycle.unwrap();
    assert_eq!((resumed.inputs, resumed.attempt, resumed.cause), (cycle.inputs, cycle.attempt, Cause::First));
    shop.until_served("v2");
    assert_eq!(shop.world.answered(), shop.ledger_calls(), "nothing was paid twice");
    assert!(shop.ledger_calls() > so_far);
}

#[test]
fn a_budget_that_is_lowered_ends_a_running_cycle_and_one_that_is_raised_lets_it_go_on() {
    let shop = Shop::in_world("budget", "faults: {latency: {fixed: 200ms}}\n");
    let operator = shop.operator();
    let with = |budget: &str| json!({"spec": {"budget": {"perCycle": budget}, "execution": {"concurrency": 8}}});
    shop.apply(&with("50.00"));
    eventually("the cycle is under way", DEADLINE, || (shop.world.answered() > 20).then_some(()));
    shop.apply(&with("0.001"));
    let status = shop.until("it is out of budget", |status| has(status, "BudgetExhausted", "True", "Exhausted"));
    assert_eq!((status.cycles, status.attempts, status.exhausted[0].budget.as_str()), (1, 1, "0.001"));
    assert!(shop.until_event("BudgetExhausted").contains("raise spec.budget.perCycle"));
    let so_far = shop.world.answered();

    // Another edit, and a restart, raise nothing.
    shop.annotate("example.com/note", "hello");
    operator.stop();
    let _operator = shop.operator();
    shop.apply(&with("0.0009"));
    shop.until("it has looked", |status| status.observed_generation == shop.object().metadata.generation);
    assert_eq!((shop.status().cycle, shop.world.answered()), (None, so_far));

    shop.apply(&with("50.00"));
    shop.until_served("v2");
    let status = shop.until_idle();
    assert_eq!((status.exhausted.len(), status.history[0].cause), (0, Cause::BudgetRaised));
    assert_eq!(condition(&status, "BudgetExhausted"), None);
    assert_eq!(status.cost.unwrap().amount, status.history[0].cost, "what was spent before is counted once");
    assert_eq!(shop.world.answered(), shop.ledger_calls(), "nothing was paid twice");
}

#[test]
fn a_pinned_version_serves_whatever_the_gate_says_and_an_unknown_one_is_told() {
    let shop = Shop::open("pin");
    let _operator = shop.operator();
    shop.apply(&json!({"spec": {"pin": "mine"}}));
    let status = shop.until("it is stalled", |status| has(status, "Stalled", "True", "PinnedVersionUnknown"));
    let message = &condition(&status, "Stalled").unwrap().message;
    assert!(message.contains("there is no version \"mine\"") && message.contains("v1 keeps serving"), "{message}");
    assert_eq!((status.phase, shop.kstatus().as_str()), (Some(Phase::Stalled), "Failed"));
    shop.until_served("v1");

    let mine = &fixture("prompt.md").replace("polite", "pinned");
    shop.apply_version("mine", mine, &json!({}));
    assert_eq!(shop.until_served("mine")["system-prompt"], *mine);
    let status = shop.until_idle();
    assert_eq!(condition(&status, "Stalled"), None);
    assert_eq!(status.champion.unwrap().origin, Origin::Pin);
    shop.until_version("mine", "Champion");
    shop.until_event("Pinned");
    assert_eq!((status.cycles, shop.world.answered()), (0, 0), "no cycle starts meanwhile");

    // Asked for by name, a cycle runs; what passes its gate does not serve.
    shop.annotate(RUN_AT, "now");
    let status = shop.until("the cycle has ended", |status| status.cycles == 1 && status.cycle.is_none());
    assert_eq!(status.history[0].verdict.as_str(), "Passed");
    assert_eq!(shop.target().unwrap()["version"], "mine");
    let found = format!("{SHOP}-{}", status.history[0].challenger.clone().unwrap());
    assert!(shop.until_version(&found, "Candidate").reasons[0].contains("spec.pin keeps another version"));

    // Without the pin, a cycle that finds it takes it.
    shop.apply(&json!({}));
    shop.annotate(RUN_AT, "without a pin");
    let status = shop.until("it is promoted", |status| {
        status.phase == Some(Phase::Idle) && status.champion.as_ref().is_some_and(|it| it.origin == Origin::Gate)
    });
    assert_eq!(status.predecessor.unwrap().version, "mine");
    let version = status.champion.unwrap().version;
    assert!(shop.until_served(&version)["system-prompt"].contains("Always pass the currency"));
}

#[test]
fn a_cycle_that_is_asked_for_runs_once_and_so_does_one_of_the_schedule() {
    let shop = Shop::open("runat");
    // There is nothing to find, so cycles are short.
    shop.write_base(&fixture("better.md"));
    let operator = shop.operator();
    shop.apply(&json!({}));
    shop.until("the first cycle has ended", |status| status.cycles == 1 && status.phase == Some(Phase::Idle));
    shop.annotate(RUN_AT, "2026-01-01");
    let status = shop.until("the second has ended", |status| status.cycles == 2 && status.phase == Some(Phase::Idle));
    assert_eq!(status.history[0].cause, Cause::Requested);
    let handled = status.handled.unwrap();
    assert_eq!(
        (handled.run_at.as_deref(), handled.message.as_deref()),
        (Some("2026-01-01"), Some("a cycle was started"))
    );
    assert_eq!(shop.until_event("RequestHandled"), "a cycle was started");

    // A schedule whose time has passed while nobody looked: one cycle makes up for it. Its next time is a year away.
    operator.stop();
    let today = now();
    let minute = today.checked_sub(Duration::from_hours(1)).unwrap().to_zoned(TimeZone::UTC);
    let cron = format!("{} {} {} {} *", minute.minute(), minute.hour(), minute.day(), minute.month());
    shop.apply(&json!({"spec": {"schedule": {"cron": cron}}}));
    let handled_until = today.checked_sub(Duration::from_hours(2)).unwrap();
    patch_status(&shop, &json!({"schedule": {"handledUntil": handled_until}}));
    let operator = shop.operator();
    let status = shop.until("the third has ended", |status| status.cycles == 3 && status.phase == Some(Phase::Idle));
    assert_eq!(status.history[0].cause, Cause::Schedule);
    let schedule = status.schedule.unwrap();
    assert!(schedule.handled_until > handled_until && schedule.next.unwrap() > today);

    // And not again, with another operator.
    operator.stop();
    let operator = shop.operator();
    eventually("it has looked", DEADLINE, || {
        (operator.metric("whetstone_reconcile_duration_seconds_count") >= 1.0).then_some(())
    });
    shop.annotate(RUN_AT, "2026-01-02");
    let status = shop.until("the fourth has ended", |status| status.cycles == 4 && status.phase == Some(Phase::Idle));
    let causes: Vec<Cause> = status.history.iter().map(|it| it.cause).collect();
    assert_eq!(causes, [Cause::Requested, Cause::Schedule, Cause::Requested, Cause::First]);
}

/// Changes the status, as nobody but the operator does.
fn patch_status(shop: &Shop, status: &Value) {
    let api = shop.namespace.api::<AgentOptimization>();
    block_on(api.patch_status(SHOP, &PatchParams::default(), &Patch::Merge(json!({"status": status})))).unwrap();
}

#[test]
fn a_promotion_waits_for_approval_where_a_person_must_agree_and_can_be_taken_back() {
    let shop = Shop::open("approval");
    let operator = shop.operator();
    shop.apply(&json!({"spec": {"promotion": {"approval": "Manual"}}}));
    let status = shop.until("it waits", |status| {
        status.phase == Some(Phase::AwaitingApproval) && has(status, "Ready", "True", "Serving")
    });
    let challenger = status.challenger.clone().unwrap();
    assert_eq!((challenger.version.as_str(), challenger.awaits_approval), ("v2", true));
    assert!(has(&status, "Promoted", "False", "Passed"));
    assert_eq!(status.champion.unwrap().version, "v1");
    let data = eventually("the challenger stands beside the champion", DEADLINE, || {
        shop.target().filter(|data| data.contains_key("challenger-prompt"))
    });
    assert_belongs_together(&data);
    assert_eq!((data["version"].as_str(), data["challenger-version"].as_str()), ("v1", "v2"));
    assert_eq!(hash(&data["challenger-prompt"]), challenger.hash);
    assert!(shop.until_version("shop-v2", "Challenger").reasons[0].contains("is waiting for approval"));
    assert!(
        shop.until_event("AwaitingApproval").contains(&format!("annotate the AgentOptimization with {APPROVE}=v2"))
    );
    assert_eq!(shop.kstatus(), "Current", "what serves is right");

    // The wrong one is told so, and nothing happens.
    shop.annotate(APPROVE, "v7");
    let told = |annotation: &'static str, value: &'static str| {
        let status = shop.until("it is acknowledged", |status| {
            let handled = status.handled.clone().unwrap_or_default();
            let its = match annotation {
                APPROVE => handled.approve,
                _ => handled.rollback_to,
            };
            its.as_deref() == Some(value)
        });
        status.handled.unwrap().message.unwrap()
    };
    assert_eq!(told(APPROVE, "v7"), "v7 is not waiting for approval; v2 is");
    assert_eq!(shop.target().unwrap()["version"], "v1");
    operator.stop();
    let _operator = shop.operator();

    shop.annotate(APPROVE, "v2");
    assert_eq!(told(APPROVE, "v2"), "v2 was approved and serves");
    let data = shop.until_served("v2");
    assert!(!data.contains_key("challenger-prompt") && !data.contains_key("challenger-version"), "{data:?}");
    let status = shop.until_idle();
    assert_eq!(status.champion.as_ref().unwrap().origin, Origin::Approval);
    assert!(has(&status, "Promoted", "True", "Promoted"));

    // Taken back by name: what served is in quarantine.
    shop.annotate(ROLLBACK_TO, "v9");
    assert_eq!(told(ROLLBACK_TO, "v9"), "there is no version v9 to roll back to; kubectl get pver lists the versions");
    shop.annotate(ROLLBACK_TO, "v1");
    assert_eq!(told(ROLLBACK_TO, "v1"), "v1 serves again instead of v2");
    shop.until_served("v1");
    let status = shop.until_idle();
    assert_eq!(status.champion.as_ref().unwrap().origin, Origin::Requested);
    assert_eq!(status.quarantine[0].version, "v2");
    assert!(has(&status, "RolledBack", "True", "Requested"));
    assert_eq!(shop.until_version("shop-v2", "RolledBack").reasons, ["requested by annotation"]);

    // A cycle that finds the same prompt again does not bring it back: it asks nobody either.
    shop.annotate(RUN_AT, "again");
    let status = shop.until("another cycle has ended", |status| status.cycles == 2 && status.cycle.is_none());
    assert_eq!(status.history[0].kind, CycleKind::Search);
    if status.history[0].challenger.as_deref() == Some("v2") {
        assert_eq!((status.history[0].verdict.as_str(), status.challenger), ("Kept", None));
    }
    assert_eq!(shop.target().unwrap()["version"], "v1");

    // A person may bring it back by name.
    shop.annotate(ROLLBACK_TO, "v2");
    shop.until_served("v2");
    let status = shop.until("it serves", |status| has(status, "Ready", "True", "Serving"));
    assert!(status.quarantine.iter().all(|it| it.version != "v2"), "{:?}", status.quarantine);
}

#[test]
fn warnings_about_the_spec_are_a_condition_until_they_are_heeded() {
    let shop = Shop::open("warned");
    let _operator = shop.operator();
    shop.apply(&json!({"spec": {"suspend": true, "probe": {}}}));
    let status = shop.until("the warning is said", |status| has(status, "SpecWarnings", "True", "Warnings"));
    let warning = condition(&status, "SpecWarnings").unwrap();
    assert_eq!(warning.message, "spec.probe: not implemented yet; the setting has no effect");
    shop.until("the champion serves all the same", |status| has(status, "Ready", "True", "Serving"));
    shop.apply(&json!({"spec": {"suspend": true}}));
    shop.until("the warning is gone", |status| condition(status, "SpecWarnings").is_none());
}
