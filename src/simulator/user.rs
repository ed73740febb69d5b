//! The simulated user: answers the agent's questions according to its instructions and the world, then stops.

use super::request::{Chat, Reply, Turn};
use super::template::Captured;
use super::world::World;

/// The last message of the user.
const DONE: &str = "Thank you, that is all. ###STOP###";

/// The user's next message. In this request the agent's messages have the role `user`, and the user's the role `assistant`.
pub(super) fn reply(world: &World, chat: &Chat<'_>) -> Reply {
    let rules = &world.user;
    let system = chat.system.as_ref();
    let captured = Captured::from_texts(&rules.captures, &std::iter::once(system));
    let said: Vec<&str> = chat
        .turns
        .iter()
        .filter_map(|turn| match turn {
            Turn::Assistant { text, .. } => Some(text.as_ref()),
            _ => None,
        })
        .collect();
    if said.is_empty() {
        return Reply::text(match &rules.opening {
            Some(opening) => captured.fill(opening).into_owned(),
            None => last_paragraph(system).to_owned(),
        });
    }
    let asked = chat.user_texts().last().unwrap_or_default();
    let answer = rules
        .answers
        .iter()
        .filter(|answer| answer.asked.is_match(asked))
        .map(|answer| captured.fill(&answer.says))
        .find(|answer| !said.iter().any(|said| said.contains(answer.as_ref())));
    Reply::text(answer.map_or_else(|| DONE.to_owned(), std::borrow::Cow::into_owned))
}

/// The last paragraph that is not about stopping.
fn last_paragraph(text: &str) -> &str {
    let paragraphs = text.rsplit("\n\n").map(str::trim);
    paragraphs
        .filter(|paragraph| !paragraph.is_empty())
        .find(|it| !it.contains("###"))
        .unwrap_or("Hello, can you help me?")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::reply;
    use super::*;

    #[test]
    fn a_user_opens_answers_questions_and_stops() {
        let world = World::parse(
            r"
user:
  captures: ['order (?<order>A-\d+)']
  answers:
    - {asked: '(?i)order number', says: 'It is {order}.'}
    - {asked: '(?i)anything else', says: No.}
",
        )
        .unwrap();
        let system = "You are simulating a user. When done, say ###STOP###.\n\nYou want a refund for order A-12.";
        let mut messages =
            vec![json!({"role": "system", "content": system}), json!({"role": "user", "content": "Hello!"})];
        let mut said = Vec::new();
        for question in ["What is the order number?", "Your order number, please?"] {
            let text = reply(&world, &json!({"model": "m", "messages": messages})).text;
            messages.push(json!({"role": "assistant", "content": text}));
            messages.push(json!({"role": "user", "content": question}));
            said.push(text);
        }
        said.push(reply(&world, &json!({"model": "m", "messages": messages})).text);
        assert_eq!(said, ["You want a refund for order A-12.", "It is A-12.", DONE]);
    }
}
