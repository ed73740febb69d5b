//! The simulated world: an OpenAI- and Anthropic-compatible server whose answers come from a world file.
//!
//! It stands in for every paid provider: for a newcomer without a key, for the tests, and for measuring how often the
//! gate errs. A [`World`](world::World) says which skills the agent shows only when its prompt asks for them, how the
//! judge errs, how good the patch writer is, and what goes wrong on the way. The [`Server`] answers over real HTTP and sees
//! nothing but the request: every answer is a function of the world and of what was sent, so neither order
//! nor concurrency changes one. What it must not know: scenarios, tags, expectations, or anything else of the engine.

mod agent;
mod anthropic;
mod counts;
mod dice;
mod embeddings;
mod judge;
mod mishaps;
mod openai;
mod patch_writer;
mod request;
mod sample;
mod server;
mod template;
#[cfg(test)]
mod testing;
mod transcript;
mod user;
pub mod world;

pub use counts::Counts;
pub use server::Server;
