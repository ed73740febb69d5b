//! Memory for answers: limits the size of one answer, and of all concurrent ones together.
//!
//! Every answer reserves [`SHORT`] bytes. A longer one also reserves the most that its request can produce, from a separate
//! half for long ones, so that only a few of those are read concurrently. An answer that waits for that half holds no part
//! of it, so answers cannot deadlock. The reservation lasts until the answer is in the ledger.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use whetstone_domain::tool::ToolCall;

/// The reservation of every answer, in bytes. Nearly all answers are shorter.
pub(super) const SHORT: usize = 32 << 10;

/// The allowance for an answer beside its tokens, in bytes: its frame, and what a provider adds.
const FRAME: usize = 256 << 10;
/// The most bytes of a token: usually a few characters, each of up to twelve bytes of JSON, and its probabilities.
const BYTES_A_TOKEN: u64 = 256;
/// The most bytes of the vector of a text: thousands of numbers of up to twenty digits.
const BYTES_A_VECTOR: usize = 96 << 10;

/// The limits of the memory for answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerMemory {
    /// The longest answer of a chat model, in bytes. A request with a limit on its tokens may have a lower one.
    pub longest: usize,
    /// All answers that are being read or recorded, in bytes as received. In memory an answer takes several times that.
    pub together: usize,
}

impl Default for AnswerMemory {
    fn default() -> Self {
        Self { longest: 4 << 20, together: 32 << 20 }
    }
}

/// The expected maximum size of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// An answer of this many tokens; `None` if the number is not limited.
    Tokens(Option<u64>),
    /// A vector for each of this many texts.
    Vectors(usize),
}

/// The memory for the answers of a process. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Room {
    memory: AnswerMemory,
    short: Arc<Semaphore>,
    long: Arc<Semaphore>,
}

/// The reservation of one answer.
#[derive(Debug)]
pub(super) struct Share {
    room: Room,
    most: usize,
    _short: Option<OwnedSemaphorePermit>,
    long: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// One half is for short answers, the other for long ones.
    pub(super) fn new(memory: AnswerMemory) -> Self {
        let half = (memory.together / 2).clamp(SHORT, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let semaphore = || Arc::new(Semaphore::new(half));
        Self { memory, short: semaphore(), long: semaphore() }
    }

    /// The maximum length of the answer to a request, in bytes.
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

    /// Waits for the reservation of a short answer.
    pub(super) async fn enter(&self, expected: Expected) -> Share {
        let short = take(&self.short, SHORT, self.half()).await;
        Share { room: self.clone(), most: self.most(expected), _short: short, long: None }
    }

    fn half(&self) -> usize {
        (self.memory.together / 2).max(SHORT)
    }
}

impl Share {
    /// The maximum length of the body, in bytes.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Whether a body of this length fits into the current reservation.
    pub(super) fn has_room_for(&self, length: usize) -> bool {
        length <= SHORT || self.long.is_some()
    }

    /// Waits for the reservation of a long answer.
    pub(super) async fn widen(&mut self) {
        if self.long.is_none() {
            self.long = take(&self.room.long, self.most, self.room.half()).await;
        }
    }
}

/// The maximum number of tool calls in an answer.
const MOST_CALLS: usize = 1_000;
/// The maximum number of values in the arguments of all calls: in memory a value takes many times its bytes.
const MOST_VALUES: usize = 20_000;

/// Checks that an answer does not have absurdly many tool calls or arguments.
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

/// Reserves this many bytes, or all if there are fewer.
async fn take(from: &Arc<Semaphore>, bytes: usize, all: usize) -> Option<OwnedSemaphorePermit> {
    let bytes = u32::try_from(bytes.min(all)).unwrap_or(u32::MAX);
    // The semaphore is never closed.
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
