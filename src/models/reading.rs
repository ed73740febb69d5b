//! Reads a body, within limits on its length, on the memory of all answers, and on time.

use std::time::Duration;

use reqwest::Response;
use tokio::time::{Instant, timeout};

use super::attempt::root_cause;
use super::room::{SHORT, Share};

/// The time-out for the rest of a long answer, which meanwhile takes memory from others.
const LONG_ANSWER: Duration = Duration::from_mins(1);

/// The remaining time of an attempt. Waits in our own queues do not count.
#[derive(Debug)]
pub(super) struct Patience {
    left: Duration,
}

/// The time is used up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Over;

impl Patience {
    /// The full time.
    pub(super) fn new(left: Duration) -> Self {
        Self { left }
    }

    /// Waits for the provider.
    pub(super) async fn wait<F: Future>(&mut self, provider: F) -> Result<F::Output, Over> {
        let began = Instant::now();
        let outcome = timeout(self.left, provider).await;
        self.left = self.left.saturating_sub(began.elapsed());
        outcome.map_err(|_| Over)
    }
}

/// Why a body could not be read completely.
#[derive(Debug)]
pub(super) enum Unread {
    /// The time is used up.
    Over,
    /// It is longer than this many bytes.
    TooLong(usize),
    /// It was cut off, for this reason.
    Cut(String),
}

impl From<Over> for Unread {
    fn from(Over: Over) -> Self {
        Self::Over
    }
}

/// Reads the whole body of an answer.
pub(super) async fn whole(
    response: &mut Response,
    share: &mut Share,
    patience: &mut Patience,
) -> Result<Vec<u8>, Unread> {
    if response.content_length().is_some_and(|length| length > share.most() as u64) {
        return Err(Unread::TooLong(share.most()));
    }
    // An announced length is only trusted up to the size of a short answer.
    let promised = response.content_length().unwrap_or(0).min(SHORT as u64);
    let mut body = Vec::with_capacity(promised as usize);
    loop {
        let chunk = match patience.wait(response.chunk()).await? {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(body),
            Err(error) => return Err(Unread::Cut(root_cause(&error))),
        };
        let length = body.len() + chunk.len();
        if length > share.most() {
            return Err(Unread::TooLong(share.most()));
        }
        if !share.has_room_for(length) {
            share.widen().await;
            patience.left = patience.left.min(LONG_ANSWER);
        }
        body.extend_from_slice(&chunk);
    }
}

/// Reads the beginning of the body of an error.
pub(super) async fn beginning(response: &mut Response, most: usize, patience: &mut Patience) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Ok(Some(chunk))) = patience.wait(response.chunk()).await {
        let room = most - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == most {
            break;
        }
    }
    body
}
