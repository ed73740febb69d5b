//! The life of a prompt: what is measured again, what it is called, and what is said of it, whatever is deleted or killed meanwhile.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use whetstone::api::AgentOptimization;
use whetstone::api::status::{AgentOptimizationStatus, CycleKind, Phase};

use super::cluster::{Cluster, block_on, eventually};
use super::operator::{DEADLINE, SHOP, Shop, TARGET, condition, fixture, has, now};

/// Changes the status of an object, as nobody but the operator does.
fn patch_status(shop: &Shop, name: &str, status: &Value) {
    let api = shop.namespace.api::<AgentOptimization>();
    block_on(api.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({"status": status})))).unwrap();
}

/// The spec of a shop whose agent gets everything right, so that cycles are short, and whose champion is measured every hour.
fn measured_hourly() -> Value {
    json!({"spec": {"watch": {"reevaluation": {"every": "1h"}}, "execution": {"concurrency": 8}}})
}

/// An hour passes: the champion of this object is to be measured again.
fn let_an_hour_pass(shop: &Shop, name: &str) {
    let long_ago = now().checked_sub(Duration::from_hours(2)).unwrap();
    let api = shop.namespace.api::<AgentOptimization>();
    let status = block_on(api.get(name)).unwrap().status.unwrap();
    let again = status.reevaluated_at.map(|_| long_ago);
    patch_status(shop, name, &json!({"champion": {"since": long_ago}, "reevaluatedAt": again}));
}

/// Waits until an object has been measured again so often in its life, and is at rest.
fn until_measured(shop: &Shop, name: &str, times: u32) {
    let api = shop.namespace.api::<AgentOptimization>();
    eventually(&format!("{name} is measured again, {times} times"), DEADLINE, || {
        let status = block_on(api.get(name)).unwrap().status?;
        (status.reevaluations == times && status.cycle.is_none()).then_some(())
    });
    let last = block_on(api.get(name)).unwrap().status.unwrap().history[0].clone();
    assert_eq!((last.kind, last.verdict.as_str()), (CycleKind::Reevaluate, "Measured"), "{last:?}");
}

#[test]
fn a_reevaluation_asks_anew_in_another_life_of_the_object_and_beside_a_twin() {
    let shop = Shop::open("anew");
    shop.write_base(&fixture("better.md"));
    let operator = shop.operator();
    shop.apply(&measured_hourly());
    shop.until_idle();
    operator.stop();
    let_an_hour_pass(&shop, SHOP);
    let before = shop.world.answered();
    let operator = shop.operator();
    until_measured(&shop, SHOP, 1);
    // What it is compared with had not been measured before: from now on that is in the ledger.
    let once = (shop.world.answered() - before) / 2;
    assert!(once > 0, "nothing was asked");
    assert_eq!(shop.world.answered(), shop.ledger_calls(), "nothing was paid twice");

    // Deleted and created again: its cycle finds everything in the ledger, its re-evaluation nothing.
    shop.delete::<AgentOptimization>(SHOP);
    eventually("its versions are gone", DEADLINE, || shop.versions().is_empty().then_some(()));
    let before = shop.world.answered();
    shop.apply(&measured_hourly());
    shop.until_idle();
    assert_eq!(shop.world.answered(), before, "what was answered is in the ledger");
    operator.stop();
    let_an_hour_pass(&shop, SHOP);
    let operator = shop.operator();
    until_measured(&shop, SHOP, 1);
    assert_eq!(shop.world.answered() - before, once, "every call was made anew, and once");

    // A twin with the same spec, in the same namespace.
    let mut twin = shop.resource(&measured_hourly());
    twin["metadata"]["name"] = json!("shop-two");
    twin["spec"]["promotion"]["target"]["configMap"] = json!("shop-two-live");
    shop.apply_object::<AgentOptimization>(&twin);
    eventually("the twin is at rest", DEADLINE, || {
        let status = block_on(shop.namespace.api::<AgentOptimization>().get("shop-two")).unwrap().status?;
        (status.phase == Some(Phase::Idle) && status.cycles == 1).then_some(())
    });
    operator.stop();
    let_an_hour_pass(&shop, "shop-two");
    let before = shop.world.answered();
    let operator = shop.operator();
    until_measured(&shop, "shop-two", 1);
    assert_eq!(shop.world.answered() - before, once, "the twin asks for itself");

    // Another time, of the same object; and once more after its record was set back.
    operator.stop();
    for set_back in [json!({}), json!({"reevaluations": 1})] {
        let_an_hour_pass(&shop, SHOP);
        patch_status(&shop, SHOP, &set_back);
        let before = shop.world.answered();
        let operator = shop.operator();
        until_measured(&shop, SHOP, 2);
        assert_eq!(shop.world.answered() - before, once);
        operator.stop();
        // A series is known by the second in which it began: the next one begins in another.
        std::thread::sleep(std::time::Duration::from_millis(1_100));
    }
    assert_eq!(shop.world.answered(), shop.ledger_calls(), "nothing was paid twice");
}

#[test]
fn a_reevaluation_that_is_stopped_in_the_middle_goes_on_and_pays_nothing_twice() {
    let shop = Shop::in_world("middle", "faults: {latency: {fixed: 200ms}}\n");
    shop.write_base(&fixture("better.md"));
    let operator = shop.operator();
    shop.apply(&measured_hourly());
    shop.until_idle();
    operator.stop();
    let_an_hour_pass(&shop, SHOP);
    let before = shop.world.answered();
    let operator = shop.operator();
    eventually("it is under way", DEADLINE, || (shop.world.answered() > before + 8).then_some(()));
    let cycle = shop.status().cycle.expect("it is under way still");
    operator.stop();
    let _operator = shop.operator();
    until_measured(&shop, SHOP, 1);
    assert_eq!(shop.status().history[0].started_at, cycle.started_at, "the same one");
    assert_eq!(shop.world.answered(), shop.ledger_calls(), "nothing was paid twice");
}

#[test]
fn a_version_that_is_applied_under_a_taken_name_is_refused_on_its_own_object() {
    let shop = Shop::open("taken");
    let operator = shop.operator();
    shop.apply(&json!({"spec": {"suspend": true}}));
    shop.until_served("v1");
    shop.until_version("shop-v1", "Champion");
    shop.apply(&json!({}));
    shop.until_served("v2");
    shop.until_idle();
    operator.stop();
    let _operator = shop.operator();
    let serving = shop.until_version("shop-v2", "Champion");
    for (object, prompt) in [("theirs", "You are somebody else."), ("copy", &shop.version("shop-v2").spec.prompt)] {
        shop.apply_version(object, prompt, &json!({"spec": {"version": "v2"}}));
        let told = shop.until_version(object, "Rejected");
        let reason = &told.reasons[0];
        let expected = ["shop-v2 already has the version v2", "its prompt is that of v2, the champion"];
        assert!(expected.iter().any(|words| reason.contains(words)), "{reason}");
        eventually("an Event names it", DEADLINE, || {
            let said = format!("PromptVersion {object} is not gated: {reason}");
            shop.events().into_iter().find(|(its, note)| its == "VersionRefused" && *note == said)
        });
    }
    assert_eq!(shop.until_version("shop-v2", "Champion"), serving, "nothing is said of the champion");
    shop.until_version("shop-v1", "Superseded");
    assert_eq!(shop.target().unwrap()["version"], "v2");
    let status = shop.until_idle();
    assert_eq!(status.history.iter().filter(|it| it.kind == CycleKind::Gate).count(), 0, "none of them was gated");
}

#[test]
fn names_of_an_earlier_life_go_to_no_other_prompt() {
    let shop = Shop::open("lives");
    let _operator = shop.operator();
    shop.apply(&json!({}));
    shop.until_served("v2");
    shop.until_idle();
    shop.delete::<AgentOptimization>(SHOP);
    eventually("its versions are gone", DEADLINE, || shop.versions().is_empty().then_some(()));
    shop.delete::<ConfigMap>(TARGET);
    shop.write_base(&fixture("prompt.md").replace("polite", "very polite"));
    shop.apply(&json!({"spec": {"suspend": true}}));
    let data = shop.until_served("v3");
    assert!(data["system-prompt"].contains("very polite"));
    assert_eq!(shop.versions(), ["shop-v3"]);
    let status = shop.until("it is told", |status| has(status, "Ready", "True", "Serving"));
    assert_eq!(status.last_number, Some(3));
    // The prompt that had a name has it again.
    shop.write_base(&fixture("prompt.md"));
    eventually("it is a candidate", DEADLINE, || (shop.versions() == ["shop-v1", "shop-v3"]).then_some(()));
}

/// Nothing may be written into the target of a shop while this is there.
struct Sealed<'a>(&'a Shop);

impl<'a> Sealed<'a> {
    fn seal(shop: &'a Shop) -> Self {
        let namespace = shop.namespace.name();
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": namespace},
            "spec": {
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                    "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["UPDATE"]}],
                },
                "matchConditions": [{"name": "target", "expression": format!("object.metadata.name == '{TARGET}'")}],
                "validations": [{"expression": "false", "message": "sealed"}],
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": namespace},
            "spec": {"policyName": namespace, "validationActions": ["Deny"]},
        });
        for object in [policy, binding] {
            Cluster::shared().kubectl_with(&["apply", "-f", "-"], &object.to_string()).printed();
        }
        let sealed = Self(shop);
        eventually("the target is sealed", DEADLINE, || sealed.refuses().then_some(()));
        sealed
    }

    fn refuses(&self) -> bool {
        let maps = self.0.namespace.api::<ConfigMap>();
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let edit = Patch::Merge(json!({"metadata": {"annotations": {"example.com/sealed": "no"}}}));
        block_on(maps.patch(TARGET, &dry, &edit)).is_err_and(|error| error.to_string().contains("sealed"))
    }

    fn open(self) {
        self.remove();
        eventually("the target is open", DEADLINE, || (!self.refuses()).then_some(()));
    }

    fn remove(&self) {
        for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
            Cluster::shared().kubectl(&["delete", "--ignore-not-found", kind, self.0.namespace.name()]);
        }
    }
}

impl Drop for Sealed<'_> {
    fn drop(&mut self) {
        self.remove();
    }
}

#[test]
fn killed_between_the_record_and_its_target_an_operator_leaves_nothing_unsaid_and_nothing_false() {
    let shop = Shop::open("killed");
    let operator = shop.operator();
    shop.apply(&json!({"spec": {"suspend": true}}));
    shop.until_served("v1");
    shop.until("it serves", |status| has(status, "Ready", "True", "Serving"));
    let sealed = Sealed::seal(&shop);
    shop.apply(&json!({}));
    // The promotion is committed, and the target cannot be written.
    let status = shop.until("it is promoted", |status| status.champion.as_ref().is_some_and(|it| it.version == "v2"));
    assert!(has(&status, "Ready", "True", "Applying"), "{:?}", status.conditions);
    assert!(status.notices.iter().any(|notice| notice.reason == "Promoted"), "{:?}", status.notices);
    assert_eq!(shop.target().unwrap()["version"], "v1");
    let said = shop.until_event("Promoted");
    drop(operator); // kill -9
    // It was killed before it had said so.
    let events = shop.namespace.kubectl(&["delete", "events.events.k8s.io", "--all"]);
    events.printed();
    sealed.open();

    let operator = shop.operator();
    shop.until_served("v2");
    let status = shop.until_idle();
    assert_eq!(status.notices, [], "all of it is said");
    assert_eq!(shop.until_event("Promoted"), said);
    let promotions = format!(
        "whetstone_promotions_total{{namespace=\"{}\",optimization=\"shop\",origin=\"Gate\"}}",
        shop.namespace.name()
    );
    assert_eq!(operator.metric(&promotions) as u64, 1, "it is counted by whoever says it");
    // Killed after it had said so: it is not said again.
    drop(operator);
    patch_status(&shop, SHOP, &json!({"notices": notices_of(&status, &said)}));
    let operator = shop.operator();
    shop.until("it has looked", |status| status.notices.is_empty());
    let told: Vec<_> = shop.events().into_iter().filter(|(reason, _)| reason == "Promoted").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(operator.metric(&promotions) as u64, 0);
    assert!(shop.events().iter().all(|(reason, _)| reason != "TargetPutBack"), "nobody has edited it");
}

/// The notice of a promotion, as it was in the record.
fn notices_of(status: &AgentOptimizationStatus, message: &str) -> Value {
    let since = status.champion.as_ref().unwrap().since;
    json!([{"at": since, "reason": "Promoted", "message": message, "origin": "Gate"}])
}

#[test]
fn what_a_person_does_is_counted_as_theirs_and_what_served_before_has_its_score_again() {
    let shop = Shop::open("theirs");
    let operator = shop.operator();
    shop.apply(&json!({}));
    shop.until_served("v2");
    let status = shop.until_idle();
    let measured = status.history[0].score.clone();
    assert!(measured.is_some());
    shop.annotate("whetstone.dev/rollback-to", "v1");
    shop.until_served("v1");
    let status = shop.until("it serves", |status| has(status, "Ready", "True", "Serving") && status.notices.is_empty());
    assert_eq!(status.champion.as_ref().unwrap().score, measured);
    assert!(condition(&status, "Ready").unwrap().message.contains("score"));
    let rollbacks = |reason: &str| {
        operator.metric(&format!(
            "whetstone_rollbacks_total{{namespace=\"{}\",optimization=\"shop\",reason=\"{reason}\"}}",
            shop.namespace.name()
        )) as u64
    };
    assert_eq!((rollbacks("Requested"), rollbacks("Breach")), (1, 0));

    // Pinned, what was rolled back is in quarantine no longer.
    shop.patch(&json!({"spec": {"pin": "v2"}}));
    shop.until_served("v2");
    let status = shop.until("it serves", |status| has(status, "Ready", "True", "Serving") && status.pinned);
    assert_eq!(status.quarantine, []);
    shop.until_version("shop-v2", "Champion");
}
