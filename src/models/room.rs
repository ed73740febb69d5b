//! Room for answers: how long one may be, and how much all that are under way may take together.
//!
//! An answer that is no longer than [`SHORT`] takes that much; a longer one also takes as much as its request may produce at
//! most, from a share for long ones, so that they are read a few at a time. Whoever waits for that share holds no part of it,
//! so that none waits for another one's. What is taken is kept until the answer is in the ledger.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::tool::ToolCall;

/// What every answer takes, in bytes. Nearly all are shorter.
pub(super) const SHORT: usize = 32 << 10;

/// What an answer may have beside its tokens: its frame, and what a provider adds to it.
const FRAME: usize = 256 << 10;
/// What a token may take at most: a few characters as a rule, each of them up to twelve bytes of JSON, and its probabilities.
const BYTES_A_TOKEN: u64 = 256;
/// What the vector of a text may take: thousands of numbers of up to twenty digits.
const BYTES_A_VECTOR: usize = 96 << 10;

/// How much memory answers may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerMemory {
    /// The longest answer of a chat model, in bytes. A request that limits its tokens may get less.
    pub longest: usize,
    /// All answers that are being read or recorded, in bytes as they came. In memory an answer takes several times that.
    pub together: usize,
}

impl Default for AnswerMemory {
    fn default() -> Self {
        Self { longest: 4 << 20, together: 32 << 20 }
    }
}

/// What an answer may have at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// An answer of so many tokens; without a number, of as many as the model likes.
    Tokens(Option<u64>),
    /// A vector for each of so many texts.
    Vectors(usize),
}

/// Room for the answers of a process. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Room {
    memory: AnswerMemory,
    short: Arc<Semaphore>,
    long: Arc<Semaphore>,
}

/// What one answer has of the room.
#[derive(Debug)]
pub(super) struct Share {
    room: Room,
    most: usize,
    _short: Option<OwnedSemaphorePermit>,
    long: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Half of it for short answers, half for long ones.
    pub(super) fn new(memory: AnswerMemory) -> Self {
        let half = (memory.together / 2).clamp(SHORT, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let semaphore = || Arc::new(Semaphore::new(half));
        Self { memory, short: semaphore(), long: semaphore() }
    }

    /// The longest body that a request may bring, in bytes.
    pub(super) fn most(&self, expected: Expected) -> usize {
        match expected {
            Expected::Tokens(None) => self.memory.longest,
            Expected::Tokens(Some(tokens)) => {
                let text = usize::try_from(tokens.saturating_mul(BYTES_A_TOKEN)).unwrap_or(usize::MAX);
                text.saturating_add(FRAME).min(self.memory.longest)
            }
            Expected::Vectors(texts) => texts.saturating_mul(BYTES_A_VECTOR).saturating_add(FRAME),
        }
    }

    /// Waits for the room of a short answer.
    pub(super) async fn enter(&self, expected: Expected) -> Share {
        let short = take(&self.short, SHORT, self.half()).await;
        Share { room: self.clone(), most: self.most(expected), _short: short, long: None }
    }

    fn half(&self) -> usize {
        (self.memory.together / 2).max(SHORT)
    }
}

impl Share {
    /// The longest body that may be read, in bytes.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Whether a body of this length may be read without waiting.
    pub(super) fn has_room_for(&self, length: usize) -> bool {
        length <= SHORT || self.long.is_some()
    }

    /// Waits for the room of a long answer.
    pub(super) async fn widen(&mut self) {
        if self.long.is_none() {
            self.long = take(&self.room.long, self.most, self.room.half()).await;
        }
    }
}

/// The most tool calls that an answer may have.
const MOST_CALLS: usize = 1_000;
/// The most values that the arguments of its calls may have together: in memory a value takes many times its bytes.
const MOST_VALUES: usize = 20_000;

/// Sees that the tool calls of an answer are no more than an agent can mean.
pub(super) fn check_calls(calls: &[ToolCall]) -> Result<(), String> {
    if calls.len() > MOST_CALLS {
        return Err(format!("it has {} tool calls, more than {MOST_CALLS}", calls.len()));
    }
    let values: usize = calls.iter().map(|call| values(&call.arguments)).sum();
    if values > MOST_VALUES {
        return Err(format!("the arguments of its tool calls have {values} values, more than {MOST_VALUES}"));
    }
    Ok(())
}

fn values(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(values).sum(),
        Value::Object(fields) => fields.values().map(values).sum(),
        _ => 0,
    }
}

/// Takes so many bytes, or all that there are.
async fn take(from: &Arc<Semaphore>, bytes: usize, all: usize) -> Option<OwnedSemaphorePermit> {
    let bytes = u32::try_from(bytes.min(all)).unwrap_or(u32::MAX);
    // Nobody closes the semaphore.
    Arc::clone(from).acquire_many_owned(bytes).await.ok()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const MIB: usize = 1 << 20;

    fn room() -> Room {
        Room::new(AnswerMemory { longest: 4 * MIB, together: 16 * MIB })
    }

    #[test]
    fn an_answer_is_as_long_as_its_request_may_make_it() {
        let room = room();
        assert_eq!(room.most(Expected::Tokens(None)), 4 * MIB);
        assert_eq!(room.most(Expected::Tokens(Some(1_024))), 256 * 1024 + 256 * 1024);
        assert_eq!(room.most(Expected::Tokens(Some(u64::MAX))), 4 * MIB);
        assert!(room.most(Expected::Vectors(256)) > 256 * 3_072 * 20);
    }

    #[tokio::test]
    async fn long_answers_are_read_a_few_at_a_time_and_short_ones_beside_them() {
        let room = room();
        let mut shares = Vec::new();
        for _ in 0..100 {
            shares.push(room.enter(Expected::Tokens(None)).now_or_never().expect("short answers have room"));
        }
        let wide: Vec<bool> = shares.iter_mut().map(|share| share.widen().now_or_never().is_some()).collect();
        assert_eq!(wide.iter().filter(|wide| **wide).count(), 2, "8 MiB for answers of 4");
        assert!(shares.iter().filter(|share| share.has_room_for(MIB)).count() == 2);
        shares.remove(0);
        assert!(shares[5].widen().now_or_never().is_some(), "a share that is given back is there for the next");
    }

    #[test]
    fn calls_without_number_are_no_answer() {
        let call = |arguments| ToolCall { id: String::new(), name: "t".into(), arguments };
        let one = call(serde_json::json!({"passengers": vec!["x"; 500]}));
        assert_eq!(check_calls(&vec![one.clone(); 30]), Ok(()));
        assert!(check_calls(&vec![one.clone(); 50]).unwrap_err().contains("values, more than 20000"));
        assert!(check_calls(&vec![call(Value::Null); 1_001]).unwrap_err().contains("1001 tool calls"));
    }

    #[tokio::test]
    async fn an_answer_that_is_longer_than_all_the_room_is_read_alone() {
        let room = room();
        let mut vectors = room.enter(Expected::Vectors(1_000)).await;
        vectors.widen().now_or_never().expect("it takes all that there is");
        let mut other = room.enter(Expected::Tokens(Some(1))).await;
        assert!(other.widen().now_or_never().is_none());
        drop(vectors);
        assert!(other.widen().now_or_never().is_some());
    }
}
