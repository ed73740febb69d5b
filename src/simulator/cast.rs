//! Dispatches a chat to the role that answers it.

use std::sync::Arc;

use super::dice::Dice;
use super::request::{Chat, Form, Reply, Role};
use super::world::World;
use super::{agent, judge, patch_writer, user};

/// An answer and its role.
pub(super) struct Answer {
    /// The role.
    pub role: Role,
    /// The answer.
    pub reply: Reply,
    /// Whether it is prose although JSON was requested.
    pub is_prose: bool,
}

/// Answers a chat. `dice` are those of the whole request; `chances` gives those of the skills under a system prompt.
pub(super) fn answer(world: &World, chat: &Chat<'_>, dice: Dice, chances: impl FnOnce(&str) -> Arc<[f64]>) -> Answer {
    let role = chat.role();
    let is_prose = is_prose(world, chat, role, dice);
    let mut reply = match role {
        _ if is_prose => prose(role),
        Role::Agent => agent::reply(world, chat, &chances(&chat.system)),
        Role::Judge => judge::reply(world, chat),
        Role::Patch => patch_writer::reply(world, chat),
        Role::User => user::reply(world, chat),
    };
    reply.limit(chat.max_tokens);
    Answer { role, reply, is_prose }
}

fn is_prose(world: &World, chat: &Chat<'_>, role: Role, dice: Dice) -> bool {
    let own = match role {
        Role::Judge => world.judge.prose_chance.0,
        Role::Patch => world.patch_writer.prose_chance.0,
        Role::Agent | Role::User => 0.0,
    };
    matches!(chat.form, Form::Schema(_)) && dice.happens(world.faults.prose.0 + own, "prose", "")
}

/// The answer of a model that ignores a request for JSON.
fn prose(role: Role) -> Reply {
    Reply::text(match role {
        Role::Judge => "Overall the assistant did a good job here, though there is room for improvement.",
        Role::Patch => "I would suggest making the prompt clearer about what the agent should do in such cases.",
        Role::Agent | Role::User => "Certainly! Here is what I found for you.",
    })
}
