//! A conversation from the side of the model that plays the user: the assistant's messages have the role `user`, its own
//! the role `assistant`.

use whetstone_domain::transcript::Message;

/// The first message of the assistant, before the simulated user has written.
const GREETING: &str = "Hello! How can I help you today?";

/// The message for a turn of the assistant without text.
const SILENCE: &str = "(The assistant says nothing.)";

/// The conversation from the user's side. It begins with the assistant, and the two strictly take turns with one message
/// each: the Anthropic API refuses any other beginning, and the chat templates of many open models (Gemma, Mistral) refuse
/// two consecutive messages of one side. Everything that the assistant says in one turn is one message; tools are omitted.
pub(super) fn from_the_other_side(messages: &[Message]) -> Vec<Message> {
    let mut seen = Vec::new();
    let mut said = vec![GREETING];
    for message in messages {
        match message {
            Message::User { text } => {
                seen.push(heard(&said));
                said.clear();
                seen.push(Message::said(text.clone()));
            }
            Message::Assistant { text, .. } if !text.trim().is_empty() => said.push(text),
            Message::Assistant { .. } | Message::Tool { .. } => {}
        }
    }
    seen.push(heard(&said));
    seen
}

fn heard(said: &[&str]) -> Message {
    let text = if said.is_empty() { SILENCE.to_owned() } else { said.join("\n\n") };
    Message::User { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use whetstone_domain::tool::ToolCall;
    use whetstone_domain::transcript::Opaque;

    fn user(text: &str) -> Message {
        Message::User { text: text.to_owned() }
    }

    fn calling(text: &str) -> Message {
        let calls = vec![ToolCall { id: "a".to_owned(), name: "look".into(), arguments: json!({}) }];
        Message::Assistant { text: text.to_owned(), calls, opaque: Opaque::default() }
    }

    fn answered() -> Message {
        Message::Tool { id: "a".to_owned(), name: "look".into(), content: "secret".to_owned(), failed: false }
    }

    #[test]
    fn before_anybody_has_spoken_the_assistant_greets() {
        assert_eq!(from_the_other_side(&[]), [user(GREETING)]);
    }

    #[test]
    fn what_is_said_around_tool_calls_is_one_message() {
        let conversation = [
            user("Where is it?"),
            calling("Let me look."),
            answered(),
            Message::said("On its way."),
            user("Thanks."),
            calling(""),
            answered(),
        ];
        let seen = [
            user(GREETING),
            Message::said("Where is it?"),
            user("Let me look.\n\nOn its way."),
            Message::said("Thanks."),
            user(SILENCE),
        ];
        assert_eq!(from_the_other_side(&conversation), seen);
    }

    fn any_message() -> impl Strategy<Value = Message> {
        prop_oneof![
            Just(user("hm")),
            prop_oneof![Just("yes"), Just(""), Just(" \n")].prop_map(Message::said),
            prop_oneof![Just("wait"), Just("")].prop_map(calling),
            Just(answered()),
        ]
    }

    proptest! {
        /// No conversation results in one that a provider refuses, including those with a silent agent, or an endpoint that
        /// shows its calls and says nothing.
        #[test]
        fn the_sides_take_turns_and_nobody_is_quoted_with_nothing(
            conversation in proptest::collection::vec(any_message(), 0..12),
        ) {
            let seen = from_the_other_side(&conversation);
            for (index, message) in seen.iter().enumerate() {
                let text = match message {
                    Message::User { text } if index % 2 == 0 => text,
                    Message::Assistant { text, calls, .. } if index % 2 == 1 && calls.is_empty() => text,
                    other => panic!("{other:?} at {index} in {seen:?}"),
                };
                prop_assert!(!text.trim().is_empty());
            }
            prop_assert_eq!(seen.len() % 2, 1, "the assistant had the last word");
        }
    }
}
