//! PromptVersions: those of a person, those of the operator, and those that go.

use kube::ResourceExt as _;
use serde_json::json;
use whetstone::api::PromptVersion;
use whetstone::api::status::{Cause, CycleKind, Origin, Phase};

use super::cluster::{block_on, eventually};
use super::operator::{DEADLINE, Shop, fixture, hash};

/// A prompt that teaches less than the shop's.
const WORSE: &str = "# Role\nYou are the support assistant of a shop.\n\n# Safety\n- Never share data of others.\n";

#[test]
fn a_version_applied_by_hand_is_gated_like_any_other_and_none_is_gated_twice() {
    let shop = Shop::open("byhand");
    let better = fixture("better.md");
    shop.apply_version("better", &better, &json!({}));
    let operator = shop.operator();
    shop.apply(&json!({}));
    let status =
        shop.until("it is promoted", |status| status.champion.as_ref().is_some_and(|it| it.version == "better"));
    assert_eq!(status.champion.unwrap().origin, Origin::Gate);
    let gated = status.history.last().unwrap();
    assert_eq!((gated.kind, gated.cause), (CycleKind::Gate, Cause::VersionApplied));
    assert_eq!(gated.challenger.as_deref(), Some("better"));
    assert_eq!(shop.until_served("better")["system-prompt"], better);
    let told = shop.until_version("better", "Champion");
    assert_eq!(told.reasons[0], gated.message);
    assert!(told.score.is_some());
    assert_eq!(told.hash, Some(hash(&better)));
    shop.until_idle();
    let calls = shop.world.answered();

    // What needs no gate is refused without one.
    shop.apply_version("twin", &better, &json!({}));
    let told = shop.until_version("twin", "Rejected");
    assert_eq!(told.reasons, ["its prompt is that of better, the champion"]);
    shop.apply_version("forged", "You lie about your hash.", &json!({"spec": {"hash": hash(&better)}}));
    let told = shop.until_version("forged", "Rejected");
    let expected = format!(
        "spec.hash is {}, but the prompt has the hash {}; remove spec.hash, or apply the matching prompt",
        hash(&better),
        hash("You lie about your hash.")
    );
    assert_eq!(told.reasons, [expected]);
    shop.apply_version("v1-again", "You are another v1.", &json!({"spec": {"version": "v1"}}));
    let told = shop.until_version("v1-again", "Rejected");
    assert_eq!(
        told.reasons,
        ["shop-v1 already has the version v1; apply a new PromptVersion with another spec.version"]
    );
    assert_eq!(shop.world.answered(), calls, "none of these has cost anything");

    // A worse one is gated, rejected, and not tried again under another name.
    shop.apply_version("worse", WORSE, &json!({"spec": {"parent": "better"}}));
    let told = shop.until_version("worse", "Rejected");
    let status = shop.until_idle();
    let gated = &status.history[0];
    assert_eq!((gated.kind, gated.challenger.as_deref()), (CycleKind::Gate, Some("worse")));
    assert_eq!(told.reasons[0], gated.message);
    assert_eq!(status.champion.as_ref().unwrap().version, "better");
    let (calls, cycles) = (shop.world.answered(), status.cycles);
    shop.apply_version("worse-again", WORSE, &json!({}));
    let told = shop.until_version("worse-again", "Rejected");
    assert_eq!(told.reasons, ["its prompt is that of worse, which was rejected"]);
    assert_eq!((shop.world.answered(), shop.status().cycles), (calls, cycles));
    assert!(shop.until_event("VersionRefused").contains("is not gated"));

    // Not by another operator either.
    operator.stop();
    let _operator = shop.operator();
    shop.apply_version("forged-again", "You lie again.", &json!({"spec": {"hash": hash(&better)}}));
    shop.until_version("forged-again", "Rejected");
    assert_eq!((shop.world.answered(), shop.status().cycles), (calls, cycles));
    assert_eq!(shop.target().unwrap()["version"], "better");
}

#[test]
fn a_changed_base_prompt_is_gated_and_of_rapid_edits_only_the_last() {
    let shop = Shop::in_world("basegate", "faults: {latency: {fixed: 100ms}}\n");
    let _operator = shop.operator();
    shop.apply(&json!({"spec": {"suspend": true}}));
    shop.until_served("v1");
    for (version, edit) in [("shop-v2", "- Be brief."), ("shop-v3", "- Be kind.")] {
        shop.write_base(&fixture("prompt.md").replace("- Be polite.", edit));
        shop.until_version(version, "Candidate");
    }
    shop.apply(&json!({}));
    let status = shop.until("the gate of the last is under way", |status| status.cycle.is_some());
    let cycle = status.cycle.unwrap();
    assert_eq!(
        (cycle.kind, cycle.cause, cycle.challenger.as_deref()),
        (CycleKind::Gate, Cause::BaseChanged, Some("v3"))
    );
    assert_eq!(shop.target().unwrap()["version"], "v1", "the champion serves meanwhile");
    eventually("something is paid for", DEADLINE, || (shop.world.answered() > 0).then_some(()));
    shop.write_base(&fixture("better.md"));
    let data = shop.until_served("v4");
    assert_eq!(data["system-prompt"], fixture("better.md"));
    let status = shop.status();
    let gates: Vec<_> = status.history.iter().map(|it| (it.kind, it.cause, it.challenger.as_deref())).collect();
    assert_eq!(gates, [(CycleKind::Gate, Cause::BaseChanged, Some("v4"))]);
    for earlier in ["shop-v2", "shop-v3"] {
        let told = shop.until_version(earlier, "Superseded");
        assert_eq!(told.reasons, ["the base prompt was changed again before this version was gated"]);
    }
    shop.until_event("BasePromptChanged");
    // A gate that was given up has lost nothing.
    shop.until("the search has ended", |status| status.cycles == 2 && status.phase == Some(Phase::Idle));
    eventually("every answer is in the ledger", DEADLINE, || {
        (shop.world.answered() == shop.ledger_calls()).then_some(())
    });
}

#[test]
fn adopted_base_prompts_serve_at_once_and_old_versions_go_but_never_champion_and_predecessor() {
    let shop = Shop::open("adopt");
    let _operator = shop.operator();
    shop.apply(&json!({"spec": {"suspend": true, "promotion": {"onBaseChange": "Adopt", "maxVersionsRetained": 1}}}));
    shop.until_served("v1");
    shop.apply_version("theirs", "You were applied by hand.", &json!({}));
    for number in 2..=5 {
        let prompt = format!("{}\n- Rule {number}.", fixture("prompt.md"));
        shop.write_base(&prompt);
        assert_eq!(shop.until_served(&format!("v{number}"))["system-prompt"], prompt);
    }
    eventually("the old ones are gone", DEADLINE, || {
        (shop.versions() == ["shop-v3", "shop-v4", "shop-v5", "theirs"]).then_some(())
    });
    let status = shop.status();
    let champion = status.champion.unwrap();
    assert_eq!((champion.version.as_str(), champion.origin), ("v5", Origin::Adopted));
    assert_eq!(status.predecessor.unwrap().version, "v4");
    assert_eq!(shop.until_version("shop-v5", "Champion").reasons, ["it serves: adopted from a changed base prompt"]);

    // The one that serves is made again when somebody deletes it.
    let before = shop.version("shop-v5");
    shop.delete::<PromptVersion>("shop-v5");
    let after = eventually("it is there again", DEADLINE, || {
        let found = block_on(shop.namespace.api::<PromptVersion>().get_opt("shop-v5")).unwrap();
        found.filter(|found| found.uid() != before.uid())
    });
    assert_eq!(after.spec.prompt, before.spec.prompt);
    shop.until_version("shop-v5", "Champion");
    assert_eq!(shop.target().unwrap()["version"], "v5");
}
