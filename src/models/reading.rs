//! Reading a body: no longer than it may be, no faster than there is room for it, and in time.

use std::time::Duration;

use reqwest::Response;
use tokio::time::{Instant, timeout};

use super::attempt::root_cause;
use super::room::{SHORT, Share};

/// How long the rest of a long answer may take. It takes room from others meanwhile.
const LONG_ANSWER: Duration = Duration::from_mins(1);

/// The time that an attempt has left. What is waited for in our own queues is not taken off it.
#[derive(Debug)]
pub(super) struct Patience {
    left: Duration,
}

/// The time is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Over;

impl Patience {
    /// So much.
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

/// Why there is no whole body.
#[derive(Debug)]
pub(super) enum Unread {
    /// The time is over.
    Over,
    /// It has more bytes than this.
    TooLong(usize),
    /// It ended before its end, and why.
    Cut(String),
}

impl From<Over> for Unread {
    fn from(Over: Over) -> Self {
        Self::Over
    }
}

/// The whole body of an answer.
pub(super) async fn whole(
    response: &mut Response,
    share: &mut Share,
    patience: &mut Patience,
) -> Result<Vec<u8>, Unread> {
    if response.content_length().is_some_and(|length| length > share.most() as u64) {
        return Err(Unread::TooLong(share.most()));
    }
    // A promised length is not believed beyond what a short answer has.
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

/// As much of the body of an error as is looked at.
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
