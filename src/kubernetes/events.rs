//! Events about decisions. The name of an Event is derived from its content, so that it is published once even if publishing
//! is retried.

use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::events::{self as recorder, EventType, Recorder, Reporter};
use kube::{Client, Resource as _, ResourceExt as _};

use super::lease::Fence;
use super::refusal::is_refusal;
use crate::api::AgentOptimization;
use crate::api::status::Notice;
use whetstone_decide::lifecycle::Note;
use whetstone_domain::hash::ContentHash;

/// The most bytes of an Event's note (events.k8s.io/v1).
const NOTE_BYTES: usize = 1024;

/// An Event that no record keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// Somebody should look.
    pub is_warning: bool,
    /// In one word, for programs.
    pub reason: &'static str,
    /// In words, for people.
    pub message: String,
}

impl From<&Note> for Said {
    fn from(note: &Note) -> Self {
        Self { is_warning: note.is_warning, reason: note.reason.as_str(), message: note.message.clone() }
    }
}

/// Publishes Events, as long as we hold the Lease.
#[derive(Clone)]
pub(crate) struct Publisher {
    client: Client,
    reporter: Reporter,
    recorder: Recorder,
    fence: Fence,
}

impl Publisher {
    /// Publishes in the name of a reporter.
    #[must_use]
    pub(crate) fn new(client: Client, reporter: Reporter, fence: Fence) -> Self {
        Self { recorder: Recorder::new(client.clone(), reporter.clone()), client, reporter, fence }
    }

    /// Publishes what the record says was decided, each thing once, even if another operator was killed while it did. What the API
    /// server refuses is logged and done with. Returns what is new, and whether all of it is done with; the rest is to be tried again.
    pub(crate) async fn publish(&self, object: &AgentOptimization, notices: &[Notice]) -> (Vec<Notice>, bool) {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
        let mut new = Vec::new();
        for notice in notices {
            if !self.fence.is_open() {
                return (new, false);
            }
            let Notice { reason, message, .. } = notice;
            match api.create(&PostParams::default(), &event(object, &self.reporter, notice)).await {
                Ok(_) => tracing::info!(reason, "{message}"),
                // It was published before.
                Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => continue,
                Err(error) if is_refusal(&error) => {
                    tracing::warn!(%error, reason, "cannot publish an Event: {message}");
                }
                Err(error) => {
                    tracing::warn!(%error, reason, "cannot publish an Event; trying again later");
                    return (new, false);
                }
            }
            new.push(notice.clone());
        }
        (new, true)
    }

    /// Publishes Events that no record keeps. One that cannot be published is logged; nothing depends on it.
    pub(crate) async fn say(&self, object: &AgentOptimization, said: Vec<Said>) {
        let reference = object.object_ref(&());
        for Said { is_warning, reason, message } in said {
            tracing::info!(reason, "{message}");
            let event = recorder::Event {
                type_: if is_warning { EventType::Warning } else { EventType::Normal },
                reason: reason.to_owned(),
                note: Some(cut(&message)),
                // Events that differ in their action are not counted as one.
                action: format!("{reason}-{}", ContentHash::of_bytes(message.as_bytes()).short()),
                secondary: None,
            };
            if let Err(error) = self.recorder.publish(&event, &reference).await {
                tracing::warn!(%error, reason, "cannot publish an Event");
            }
        }
    }
}

fn event(object: &AgentOptimization, reporter: &Reporter, notice: &Notice) -> Event {
    let Notice { at, reason, message, warning, .. } = notice;
    let identity = ContentHash::of_json(&(object.uid(), at, reason, message)).short();
    // The name of an object may have 253 characters, and that of an Event no more.
    let name: String = object.name_any().chars().take(200).collect();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{identity}", name.trim_end_matches(['-', '.']))),
            namespace: object.namespace(),
            ..ObjectMeta::default()
        },
        action: Some(reason.clone()),
        event_time: Some(MicroTime(*at)),
        note: Some(cut(message)),
        reason: Some(reason.clone()),
        regarding: Some(object.object_ref(&())),
        reporting_controller: Some(reporter.controller.clone()),
        reporting_instance: reporter.instance.clone(),
        type_: Some(if *warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    }
}

/// A text that fits into an Event.
fn cut(text: &str) -> String {
    if text.len() <= NOTE_BYTES {
        return text.to_owned();
    }
    let mut end = NOTE_BYTES - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, uid: &str) -> AgentOptimization {
        serde_saphyr::from_str(&format!(
            "apiVersion: whetstone.dev/v1alpha1\nkind: AgentOptimization\nmetadata: {{name: {name}, namespace: n, uid: {uid}}}\nspec: {{agent: {{prompt: {{text: x}}, runtime: {{model: {{ref: worker}}}}}}, scenarios: [{{configMapRef: {{name: s}}}}]}}\n"
        ))
        .unwrap()
    }

    #[test]
    fn the_same_is_one_event_and_anything_else_another() {
        let reporter = Reporter { controller: "whetstone.dev/operator".to_owned(), instance: Some("a".to_owned()) };
        let notice = Notice {
            at: "2026-11-28T10:00:00Z".parse().unwrap(),
            reason: "Promoted".to_owned(),
            message: "v2 serves".to_owned(),
            warning: false,
            origin: None,
        };
        let name =
            |object: &AgentOptimization, notice: &Notice| event(object, &reporter, notice).metadata.name.unwrap();
        let first = name(&object("shop", "one"), &notice);
        assert_eq!(first, name(&object("shop", "one"), &notice));
        let later = Notice { at: "2026-11-28T10:00:01Z".parse().unwrap(), ..notice.clone() };
        let other = Notice { message: "v3 serves".to_owned(), ..notice.clone() };
        for another in [
            name(&object("shop", "two"), &notice),
            name(&object("shop", "one"), &later),
            name(&object("shop", "one"), &other),
        ] {
            assert_ne!(first, another);
        }
        let long = name(&object(&format!("{}-{}", "a".repeat(199), "b".repeat(50)), "one"), &notice);
        assert!(long.len() <= 253 && !long.contains("-."), "{long}");
    }

    #[test]
    fn a_note_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = cut(&"ä".repeat(1000));
        assert!(long.len() <= NOTE_BYTES && long.ends_with("ä…"));
    }
}
