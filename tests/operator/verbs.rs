//! The verbs of the command line against a real API server. The operator's part is played by the test: it writes the
//! status that the operator would write.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use whetstone::api::intent::annotations;
use whetstone::api::{AgentOptimization, PromptVersion};

use super::cluster::{Cluster, Ended, Namespace, block_on, eventually};

/// Nothing here takes longer, unless it hangs.
const DEADLINE: Duration = Duration::from_mins(1);

/// A namespace with the AgentOptimization `support` in it, and somebody at a command line.
struct Shop {
    namespace: Namespace,
}

impl Shop {
    fn new() -> Self {
        let shop = Self { namespace: Namespace::new("verbs") };
        shop.create("support");
        shop
    }

    fn api(&self) -> Api<AgentOptimization> {
        self.namespace.api()
    }

    fn create(&self, name: &str) {
        let object: AgentOptimization = serde_json::from_value(json!({
            "apiVersion": "whetstone.dev/v1alpha1", "kind": "AgentOptimization",
            "metadata": {"name": name},
            "spec": {
                "agent": {
                    "prompt": {"configMapKeyRef": {"name": "prompt", "key": "system-prompt"}},
                    "runtime": {"model": {"ref": "worker"}},
                },
                "models": [{"name": "worker", "openAI": {"baseURL": "http://simulator:8080/v1", "model": "m"},
                    "price": {"inputPerMillion": "1", "outputPerMillion": "1"}}],
                "scenarios": [{"configMapRef": {"name": "scenarios"}}],
                "scoring": {"judge": {"ref": "worker"}},
                "promotion": {"approval": "Manual", "target": {"configMap": "prompt-live"}},
            },
        }))
        .unwrap();
        block_on(self.api().create(&PostParams::default(), &object)).unwrap();
    }

    /// Creates a version in a phase.
    fn version(&self, version: &str, phase: &str, prompt: &str) {
        let name = format!("support-{version}");
        let object: PromptVersion = serde_json::from_value(json!({
            "apiVersion": "whetstone.dev/v1alpha1", "kind": "PromptVersion",
            "metadata": {"name": name},
            "spec": {"optimizationRef": {"name": "support"}, "version": version, "prompt": prompt},
        }))
        .unwrap();
        let api: Api<PromptVersion> = self.namespace.api();
        let status = json!({"status": {"version": version, "phase": phase, "reasons": [format!("why {version}")]}});
        block_on(async {
            api.create(&PostParams::default(), &object).await.unwrap();
            api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
        });
    }

    fn read(&self) -> AgentOptimization {
        block_on(self.api().get("support")).unwrap()
    }

    /// The value of an annotation.
    fn asked(&self, key: &str) -> Option<String> {
        self.read().annotations().get(key).cloned()
    }

    /// Merges into the status, as the operator would.
    fn operator_says(&self, status: &Value) {
        let patch = json!({"status": status});
        block_on(self.api().patch_status("support", &PatchParams::default(), &Patch::Merge(&patch))).unwrap();
    }

    /// The status of an operator that has seen the spec, with a condition besides others.
    fn conditions(&self, conditions: &[(&str, &str)]) -> Value {
        let condition = |(kind, status): &(&str, &str)| {
            json!({"type": kind, "status": status, "reason": "Test", "message": format!("{kind} is {status}"),
                "lastTransitionTime": "2026-11-23T12:00:00Z"})
        };
        let conditions: Vec<Value> = conditions.iter().map(condition).collect();
        json!({"observedGeneration": self.read().metadata.generation, "conditions": conditions})
    }

    /// v2 serves, v1 was before it, and v3 waits for approval.
    fn awaits_approval(&self) {
        self.version("v1", "Superseded", "be kind\n");
        self.version("v2", "Champion", "be kind\nbe exact\n");
        self.version("v3", "Challenger", "be kind\nbe very exact\n");
        self.operator_says(&self.conditions(&[("Ready", "True")]));
        self.operator_says(&json!({
            "phase": "AwaitingApproval",
            "champion": serving("v2", "Gate"),
            "predecessor": {"version": "v1", "hash": "1"},
            "challenger": {"version": "v3", "hash": "3", "awaitsApproval": true},
        }));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_whetstone"));
        command.args(arguments).args(["--namespace", self.namespace.name()]);
        command.env_clear().env("KUBECONFIG", Cluster::shared().kubeconfig());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self, arguments: &[&str]) -> Verb {
        Verb { child: Some(self.command(arguments).spawn().unwrap()) }
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).wait()
    }
}

fn serving(version: &str, origin: &str) -> Value {
    json!({"version": version, "hash": version, "origin": origin, "since": "2026-11-23T12:00:00Z", "score": "0.9"})
}

fn running() -> Value {
    json!({"kind": "Search", "cause": "Requested", "inputs": "x", "attempt": 0, "startedAt": "2026-11-23T12:00:00Z",
        "progress": {"phase": "shadow", "done": 1, "total": 40, "cost": "0.1"}})
}

/// A command that is under way. Killed when it is dropped.
struct Verb {
    child: Option<Child>,
}

impl Verb {
    fn wait(mut self) -> Ended {
        let mut child = self.child.take().unwrap();
        eventually("the command ends", DEADLINE, || child.try_wait().unwrap().map(|_| ()));
        let output = child.wait_with_output().unwrap();
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Ctrl-C.
    fn interrupt(&self) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    }
}

impl Drop for Verb {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Asserts the exit code, and that all of these words were said on either side.
#[track_caller]
fn says(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended}");
    for word in words {
        assert!(ended.stdout.contains(word) || ended.stderr.contains(word), "{word:?} is not said:\n{ended}");
    }
    assert!(!ended.stderr.contains("panicked"), "{ended}");
}

#[test]
fn status_tells_a_script_by_its_exit_code_how_things_stand() {
    let shop = Shop::new();
    says(&shop.run(&["status", "support"]), 3, &["no status yet", "check that the operator is running"]);
    shop.operator_says(&shop.conditions(&[("Ready", "True")]));
    shop.operator_says(&json!({"phase": "Idle", "champion": serving("v2", "Gate")}));
    says(&shop.run(&["status", "support"]), 0, &["Idle, ready", "v2, score 0.9, promoted by the gate"]);
    says(&shop.run(&["status"]), 0, &["NAME", "support"]);
    shop.create("other");
    says(&shop.run(&["status"]), 3, &["other"]);
    shop.operator_says(&shop.conditions(&[("Ready", "False"), ("Stalled", "True")]));
    says(&shop.run(&["status", "support"]), 4, &["Ready is False", "Stalled is True"]);
    says(&shop.run(&["status"]), 4, &[]);
    let json = shop.run(&["status", "support", "-o", "json"]);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["kind"], &json["status"]["phase"]), (&"AgentOptimization".into(), &"Idle".into()));
    assert!(json["metadata"]["managedFields"].is_null());
}

#[test]
fn a_name_that_is_not_there_is_told_with_the_one_that_may_have_been_meant() {
    let shop = Shop::new();
    let missing = format!("no AgentOptimization {}/suport; did you mean \"support\"?", shop.namespace.name());
    for verb in ["status", "run", "approve", "rollback", "suspend", "resume", "history"] {
        says(&shop.run(&[verb, "suport"]), 1, &[&missing]);
    }
}

#[test]
fn status_that_watches_writes_a_line_for_each_change_until_ctrl_c() {
    let shop = Shop::new();
    let mut watch = shop.start(&["status", "support", "--watch", "-o", "json"]);
    let mut lines = BufReader::new(watch.child.as_mut().unwrap().stdout.take().unwrap()).lines();
    let mut phase = || -> Value {
        let object: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        object["status"]["phase"].clone()
    };
    assert!(phase().is_null());
    for next in ["Running", "Watching", "Idle"] {
        shop.operator_says(&json!({"phase": next}));
        assert_eq!(phase(), next);
    }
    watch.interrupt();
    assert_eq!(watch.wait().code, Some(130));
}

#[test]
fn approve_promotes_what_waits_and_nothing_else() {
    let shop = Shop::new();
    says(&shop.run(&["approve", "support"]), 1, &["no challenger waits for approval"]);
    shop.awaits_approval();
    says(&shop.run(&["approve", "support", "v1"]), 1, &["v1 is not waiting for approval, but v3 is"]);
    assert_eq!(shop.asked(annotations::APPROVE), None, "what is refused is not asked");

    says(&shop.run(&["approve", "support"]), 2, &["+be very exact", "pass --yes"]);
    assert_eq!(shop.asked(annotations::APPROVE), None, "nobody has said yes");

    let approve = shop.start(&["approve", "support", "--yes", "--wait"]);
    eventually("the approval is asked for", DEADLINE, || shop.asked(annotations::APPROVE).filter(|it| it == "v3"));
    shop.operator_says(&json!({
        "challenger": null, "champion": serving("v3", "Approval"),
        "handled": {"approve": "v3", "message": "v3 was approved and serves"},
    }));
    let ended = approve.wait();
    says(&ended, 0, &["-be exact", "+be very exact", "why v3", "v3 was approved and serves"]);
    let manager = shop.read().managed_fields().iter().any(|entry| entry.manager.as_deref() == Some("whetstone-cli"));
    assert!(manager, "the annotation is whetstone-cli's");
    says(&shop.run(&["approve", "support", "v3"]), 0, &["v3 already serves"]);
}

#[test]
fn rollback_goes_back_to_the_predecessor_and_may_be_asked_for_twice() {
    let shop = Shop::new();
    says(&shop.run(&["rollback", "support"]), 1, &["no predecessor"]);
    shop.awaits_approval();
    says(&shop.run(&["rollback", "support", "--to", "v9"]), 1, &["there is no version \"v9\"; known: v3, v2, v1"]);
    says(&shop.run(&["rollback", "support"]), 2, &["Roll back to v1?", "pass --yes to confirm"]);
    says(&shop.run(&["rollback", "support", "--to", "v2"]), 2, &["Keep v2, and reject v3?", "pass --yes"]);
    assert_eq!(shop.asked(annotations::ROLLBACK_TO), None, "nobody has said yes");
    let asked = shop.run(&["rollback", "support", "--yes", "-o", "json"]);
    says(&asked, 0, &["-be exact"]);
    let answer: Value = serde_json::from_str(&asked.stdout).unwrap();
    assert_eq!(
        (&answer["asked"], &answer["value"], &answer["answered"]),
        (&"rollback".into(), &"v1".into(), &false.into())
    );
    assert_eq!(shop.asked(annotations::ROLLBACK_TO).as_deref(), Some("v1"));

    shop.operator_says(&json!({"handled": {"rollbackTo": "v1", "message": "v1 cannot be read"}}));
    let again = shop.start(&["rollback", "support", "--yes", "--wait"]);
    eventually("the annotation goes away first", DEADLINE, || {
        shop.asked(annotations::ROLLBACK_TO).is_none().then_some(())
    });
    shop.operator_says(&json!({"handled": {"rollbackTo": null}}));
    eventually("it is set anew", DEADLINE, || shop.asked(annotations::ROLLBACK_TO));
    shop.operator_says(&json!({"handled": {"rollbackTo": "v1", "message": "v1 is not restored"}}));
    says(&again.wait(), 1, &["not done: v1 is not restored"]);
}

#[test]
fn a_pinned_version_is_not_rolled_back_by_hand() {
    let shop = Shop::new();
    shop.awaits_approval();
    let pin = Patch::Merge(json!({"spec": {"pin": "v2"}}));
    block_on(shop.api().patch("support", &PatchParams::default(), &pin)).unwrap();
    says(&shop.run(&["rollback", "support"]), 1, &["spec.pin is v2, which overrides a rollback"]);
    says(&shop.run(&["approve", "support", "--yes"]), 1, &["spec.pin is v2, which overrides an approval"]);
    assert_eq!(shop.asked(annotations::APPROVE), None, "what is refused is not asked");
}

#[test]
fn run_ends_as_the_cycle_ends_that_it_asked_for() {
    for (verdict, code) in [("Promoted", 0), ("Kept", 10), ("Inconclusive", 12), ("Failed", 1)] {
        let shop = Shop::new();
        let run = shop.start(&["run", "support", "--wait"]);
        let value = eventually("the cycle is asked for", DEADLINE, || shop.asked(annotations::RUN_AT));
        shop.operator_says(&json!({
            "phase": "Running", "handled": {"runAt": value, "message": "a cycle was started"},
            "cycle": running(),
        }));
        shop.operator_says(&json!({
            "phase": "Idle", "cycle": null,
            "history": [{"id": "aa", "kind": "Search", "cause": "Requested", "startedAt": "2026-11-23T12:00:00Z",
                "endedAt": "2026-11-23T12:01:00Z", "verdict": verdict, "message": "because", "champion": "v1", "cost": "0.2"}],
        }));
        says(&run.wait(), code, &["because"]);
    }
}

#[test]
fn waiting_ends_at_the_timeout_and_the_request_stays_pending() {
    let shop = Shop::new();
    let ended = shop.run(&["run", "support", "--wait", "--timeout", "500ms"]);
    says(
        &ended,
        1,
        &[
            "timed out after 500ms (last status: no answer from an operator)",
            "the request is still pending",
            "whetstone status support --watch",
        ],
    );
    assert!(shop.asked(annotations::RUN_AT).is_some());
    let before = shop.asked(annotations::RUN_AT);
    let mut waiting = shop.start(&["run", "support", "--wait"]);
    let value = eventually("another cycle is asked for", DEADLINE, || {
        shop.asked(annotations::RUN_AT).filter(|value| Some(value) != before.as_ref())
    });
    shop.operator_says(&json!({"handled": {"runAt": value}, "cycle": running()}));
    let mut said = BufReader::new(waiting.child.as_mut().unwrap().stderr.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "shadow 1/40, cost 0.1", "it follows the cycle");
    shop.operator_says(&json!({"cycle": {"progress": {"done": 2}}}));
    shop.operator_says(&json!({"cycle": {"progress": {"phase": "gate", "done": 3}}}));
    assert_eq!(said.next().unwrap().unwrap(), "gate 3/40, cost 0.1", "a line for each phase, not for each step");
    waiting.interrupt();
    assert_eq!(waiting.wait().code, Some(130));
}

#[test]
fn a_request_that_needs_a_person_is_reported_at_once() {
    let shop = Shop::new();
    shop.operator_says(&shop.conditions(&[("Ready", "False"), ("Stalled", "True")]));
    let ended = shop.run(&["run", "support", "--wait"]);
    says(&ended, 1, &["no cycle was started: Stalled is True; the request is kept and runs once this is fixed"]);
    assert!(shop.asked(annotations::RUN_AT).is_some());
}

#[test]
fn the_last_status_is_reported_at_the_timeout() {
    let shop = Shop::new();
    shop.operator_says(&json!({"phase": "Running", "cycle": running()}));
    let ended = shop.run(&["run", "support", "--wait", "--timeout", "2s"]);
    let seen = "waiting for the previous cycle (shadow, 1/40)";
    says(&ended, 1, &[&format!("(last status: {seen}); the request is still pending")]);
    assert_eq!(ended.stderr.lines().filter(|line| *line == seen).count(), 1, "{ended}");
}

#[test]
fn where_nothing_is_listed_the_hint_can_be_typed() {
    let namespace = Namespace::new("verbs");
    let mut command = Command::new(env!("CARGO_BIN_EXE_whetstone"));
    command.args(["status", "--namespace", namespace.name()]);
    command.env_clear().env("KUBECONFIG", Cluster::shared().kubeconfig());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let hint = said.split('`').nth(1).unwrap_or_else(|| panic!("{said}"));
    let mut words = hint.split(' ');
    assert_eq!(words.next(), Some("whetstone"), "{said}");
    let typed = Command::new(env!("CARGO_BIN_EXE_whetstone"))
        .args(words)
        .env_clear()
        .env("KUBECONFIG", Cluster::shared().kubeconfig())
        .output()
        .unwrap();
    assert_ne!(typed.status.code(), Some(2), "{hint}: {}", String::from_utf8_lossy(&typed.stderr));
}

#[test]
fn where_no_operator_answers_kubectl_takes_the_commands_that_look_for_it() {
    let shop = Shop::new();
    let page = shop.run(&["status", "support"]).stdout;
    let commands: Vec<&str> = page.lines().filter_map(|line| Some(&line[line.find("kubectl ")? + 8..])).collect();
    assert_eq!(commands.len(), 2, "{page}");
    for command in commands {
        Cluster::shared().kubectl(&command.split(' ').collect::<Vec<_>>()).printed();
    }
}

#[test]
fn suspend_and_resume_are_what_they_say_however_often() {
    let shop = Shop::new();
    says(&shop.run(&["suspend", "support"]), 0, &["suspended; start cycles again with `whetstone resume support"]);
    assert!(shop.read().spec.suspend);
    let generation = shop.read().metadata.generation;
    says(&shop.run(&["suspend", "support"]), 0, &["already suspended"]);
    assert_eq!(shop.read().metadata.generation, generation);
    says(&shop.run(&["run", "support"]), 1, &["is suspended", "resume support"]);
    says(&shop.run(&["resume", "support"]), 0, &["resumed"]);
    assert!(!shop.read().spec.suspend);
}

#[test]
fn what_git_keeps_is_told_before_it_undoes_a_suspension() {
    let shop = Shop::new();
    let name = shop.namespace.name();
    let manifest = |suspend: bool| {
        let mut object = serde_json::to_value(shop.read()).unwrap();
        object["metadata"] = json!({"name": "support", "namespace": name});
        object.as_object_mut().unwrap().remove("status");
        object["spec"]["suspend"] = suspend.into();
        object.to_string()
    };
    let apply = |suspend: bool| {
        let arguments =
            ["apply", "--server-side", "--force-conflicts", "--field-manager", "argocd-controller", "-f", "-"];
        Cluster::shared().kubectl_with(&arguments, &manifest(suspend)).printed()
    };
    apply(false);
    says(&shop.run(&["suspend", "support"]), 0, &["Argo CD manages spec.suspend and will revert it"]);
}

#[test]
fn history_of_the_cluster_has_every_version_with_why() {
    let shop = Shop::new();
    shop.awaits_approval();
    says(&shop.run(&["history", "support"]), 0, &["v1", "Superseded", "why v1", "v3", "why v3"]);
    let json = shop.run(&["history", "support", "-o", "json"]);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["versions"].as_array().unwrap().len(), 3, "those of other optimizations are not among them");
    assert_eq!(json["versions"][0]["version"]["name"], "v3", "the newest comes first");
}

#[test]
fn who_may_not_is_told_which_permission_is_missing() {
    let shop = Shop::new();
    let kubeconfig = shop.kubeconfig_of_a_reader();
    let as_reader = |arguments: &[&str]| {
        let mut command = shop.command(arguments);
        command.env("KUBECONFIG", kubeconfig.path());
        Verb { child: Some(command.spawn().unwrap()) }.wait()
    };
    says(&as_reader(&["status", "support"]), 3, &["no status yet", "resources: [promptversions], verbs: [list]"]);
    for verb in ["suspend", "run"] {
        says(&as_reader(&[verb, "support"]), 1, &["not allowed", "resources: [agentoptimizations], verbs: [patch]"]);
    }
    says(&as_reader(&["status", "support", "--watch"]), 1, &["resources: [agentoptimizations], verbs: [watch]"]);
}

impl Shop {
    /// The kubeconfig of somebody who may read AgentOptimizations of this namespace, and nothing else.
    fn kubeconfig_of_a_reader(&self) -> tempfile::NamedTempFile {
        let namespace = self.namespace.name();
        self.namespace.kubectl(&["create", "serviceaccount", "reader"]).printed();
        let role = ["create", "role", "reader", "--verb=get,list", "--resource=agentoptimizations.whetstone.dev"];
        self.namespace.kubectl(&role).printed();
        let account = format!("--serviceaccount={namespace}:reader");
        self.namespace.kubectl(&["create", "rolebinding", "reader", "--role=reader", &account]).printed();
        let token = self.namespace.kubectl(&["create", "token", "reader"]).printed();
        let config = Cluster::shared().kubectl(&["config", "view", "--raw", "--minify", "-o", "json"]).printed();
        let mut config: Value = serde_json::from_str(&config).unwrap();
        config["users"][0]["user"] = json!({"token": token.trim()});
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config.to_string()).unwrap();
        file
    }
}
