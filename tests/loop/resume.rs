//! What is paid is paid once: kills at any moment, Ctrl-C, two processes at once.

use std::time::Duration;

use super::support::{Ended, LedgerSums, RUN, Running, Shop, Simulator, decision, eventually};

/// Calls in flight at once, at most: what a kill may lose.
const CONCURRENCY: u64 = 8;

/// Everything that goes wrong between a request and its answer, with answers that take a while.
const FAULTS: &str = "\
faults:
  latency: {normal: {mean: 20ms, sd: 5ms}}
  rateLimited: {chance: 0.015, retryAfter: 30ms}
  serverError: 0.015
  truncatedJson: 0.015
  hangUp: 0.015
";

/// A shop behind a simulator of its own, with faults, and at most [`CONCURRENCY`] calls at once.
fn flaky_shop() -> (Shop, Simulator) {
    let shop = Shop::new();
    shop.write("world.yaml", &format!("{}{FAULTS}", shop.read("world.yaml")));
    shop.edit(
        "optimization.yaml",
        "  profile: Prototype\n",
        &format!("  profile: Prototype\n  execution: {{concurrency: {CONCURRENCY}}}\n"),
    );
    let simulator = Simulator::start(&shop);
    shop.send_models_to(&simulator.origin());
    (shop, simulator)
}

fn promoted(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{ended}");
}

/// When a run is killed: once the simulator has given so many answers more, and so many milliseconds after its start.
const KILLS: [(u64, u64); 10] =
    [(0, 15), (0, 60), (3, 0), (41, 0), (17, 0), (1, 150), (58, 0), (29, 0), (0, 110), (47, 0)];

#[test]
fn a_run_that_is_killed_ten_times_pays_nothing_twice_and_decides_as_if_nothing_had_happened() {
    let (calm, calm_simulator) = flaky_shop();
    promoted(&calm.run_for_real());
    assert_eq!(
        calm_simulator.answered(),
        calm.ledger().calls,
        "every answer is recorded, and none was asked for twice"
    );

    let (shop, simulator) = flaky_shop();
    let mut kills = 0;
    for (answers, millis) in KILLS {
        let before = simulator.answered();
        let run = Running::start(shop.command(&RUN));
        eventually("an answer", || (simulator.answered() >= before + answers).then_some(()));
        let killed = run.wait_or_kill(Duration::from_millis(millis));
        assert_eq!(killed.code, None, "it ended before it could be killed: {killed}");
        kills += 1;
    }
    promoted(&shop.run_for_real());

    let (answered, recorded) = (simulator.answered(), shop.ledger().calls);
    println!("{kills} kills: {answered} calls answered, {recorded} in the ledger, {} lost", answered - recorded);
    assert!(answered - recorded <= CONCURRENCY * kills, "{answered} answered, {recorded} recorded");
    assert_eq!(recorded, calm.ledger().calls, "the same calls are in both ledgers");
    assert_eq!(shop.ledger().cost, calm.ledger().cost);
    let (report, undisturbed) = (shop.report(), calm.report());
    assert_eq!(decision(&report), decision(&undisturbed));
    assert_eq!(report["cost"]["cycle"], undisturbed["cost"]["cycle"], "the cycle's cost is that of all its runs");
    assert_eq!(
        shop.read("out/manifests/configmap-shop-prompt-live.yaml"),
        calm.read("out/manifests/configmap-shop-prompt-live.yaml")
    );

    let again = shop.run_for_real();
    promoted(&again);
    assert_eq!(simulator.answered(), answered, "a second run pays nothing");
}

#[test]
fn ctrl_c_in_any_phase_records_what_is_under_way_says_how_to_go_on_and_the_next_run_goes_on() {
    let (shop, simulator) = flaky_shop();
    for (phase, answers) in [("agent", 10), ("patch", 1), ("judge", 60)] {
        let run = Running::start(shop.command(&RUN));
        let so_far = || simulator.stats()["answered"][phase].as_u64().unwrap();
        eventually("an answer", || (so_far() >= answers).then_some(()));
        run.interrupt();
        let ended = run.wait();
        ended.says(
            130,
            &["stopping after the running calls are answered and recorded", "press Ctrl-C again to stop at once"],
        );
        ended.says(
            130,
            &["error: stopped; everything that was paid for is in the ledger, and the same command continues from here"],
        );
        assert_eq!(simulator.answered(), shop.ledger().calls, "stopped in phase {phase}");
        assert!(!shop.path("out/report.json").exists(), "there is no verdict yet");
    }
    let stopped_at = shop.ledger().calls;
    promoted(&shop.run_for_real());
    assert_eq!(simulator.answered(), shop.ledger().calls);
    assert!(shop.ledger().calls > stopped_at);
}

#[test]
fn a_second_ctrl_c_stops_at_once() {
    let shop = Shop::new();
    let world = shop.read("world.yaml");
    shop.write("world.yaml", &format!("{world}faults: {{stall: {{chance: 1, for: 5m}}}}\n"));
    let simulator = Simulator::start(&shop);
    shop.send_models_to(&simulator.origin());
    let run = Running::start(shop.command(&RUN));
    eventually("a call", || (simulator.stats()["faults"]["stalled"].as_u64().unwrap() > 0).then_some(()));
    run.interrupt();
    run.said("press Ctrl-C again to stop at once");
    run.interrupt();
    run.wait().says(130, &[]);
}

#[test]
fn two_identical_runs_at_once_come_to_the_same_verdict_and_pay_nothing_twice() {
    let (shop, simulator) = flaky_shop();
    let runs = [(); 2].map(|()| Running::start(shop.command(&RUN)));
    for ended in runs.map(Running::wait) {
        promoted(&ended);
    }
    assert_eq!(simulator.answered(), shop.ledger().calls);
}

#[test]
fn an_answer_that_was_recorded_is_never_bought_again_whatever_the_command() {
    let shop = Shop::new();
    let simulator = Simulator::start(&shop);
    shop.send_models_to(&simulator.origin());
    promoted(&shop.run_for_real());
    let compare = ["compare", "-f", "optimization.yaml", "--store", "store.db", "--challenger"];
    let challenge = |prompt: &str| shop.whetstone(&[&compare[..], &[prompt]].concat());
    promoted(&challenge("better.md"));
    let before: LedgerSums = shop.ledger();
    promoted(&challenge("better.md"));
    assert_eq!(challenge("prompt.md").code, Some(10));
    assert_eq!(shop.ledger(), before);
    assert_eq!(simulator.answered(), before.calls);
}
