//! The task that looks up calls: it answers all queued lookups with one query.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use futures::TryStreamExt as _;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::error::Place;
use super::identity::Identity;
use super::writer::Reply;
use whetstone_domain::call::CallKey;

/// The maximum number of keys in one query.
const BATCH: usize = 256;

/// The maximum size of the answers that were found but not read yet, in bytes.
const UNREAD_BYTES: usize = 16 << 20;

/// A lookup, and the channel for its answer.
#[derive(Debug)]
pub(super) enum Lookup {
    /// The call under a key.
    Find { key: CallKey, reply: Reply<Option<Found>> },
    /// No more lookups.
    Finish { reply: Reply<()> },
}

/// A call as its row has it.
#[derive(Debug)]
pub(super) struct Found {
    /// The answer, as JSON.
    pub(super) answer: String,
    /// The hash of the cycle that paid it.
    pub(super) cycle: Vec<u8>,
    /// Its share of [`UNREAD_BYTES`], until it has been read.
    _held: Option<OwnedSemaphorePermit>,
}

/// Answers lookups until all senders are dropped or the store is closed.
pub(super) async fn run(
    mut connection: SqliteConnection,
    place: Place,
    identity: Identity,
    mut queue: mpsc::Receiver<Lookup>,
) {
    let mut lookups = Vec::with_capacity(BATCH);
    let mut finds = Vec::with_capacity(BATCH);
    let room = Arc::new(Semaphore::new(UNREAD_BYTES));
    let mut finished = None;
    while finished.is_none() && queue.recv_many(&mut lookups, BATCH).await > 0 {
        for lookup in lookups.drain(..) {
            match lookup {
                Lookup::Find { key, reply } => finds.push((key, reply)),
                Lookup::Finish { reply } => finished = Some(reply),
            }
        }
        find(&mut connection, &place, &identity, &room, &mut finds).await;
    }
    let closed = connection.close().await.map_err(|error| place.failed("close it", &error));
    if let Some(reply) = finished {
        let _ = reply.send(closed);
    }
}

/// The pending lookups by key.
type Waiting = HashMap<Vec<u8>, Vec<Reply<Option<Found>>>>;

/// Finds calls with one query and answers the lookups. Canceled lookups are skipped. Rows are sent one by one, because answers are
/// long and hundreds may be looked up together.
async fn find(
    connection: &mut SqliteConnection,
    place: &Place,
    identity: &Identity,
    room: &Arc<Semaphore>,
    finds: &mut Vec<(CallKey, Reply<Option<Found>>)>,
) {
    if finds.is_empty() {
        return;
    }
    let mut waiting = Waiting::with_capacity(finds.len());
    for (key, reply) in finds.drain(..) {
        waiting.entry(key.0.as_bytes().to_vec()).or_default().push(reply);
    }
    let outcome = match identity.check(place, "look up a call") {
        Ok(()) => {
            let answered = answer(connection, room, &mut waiting).await;
            answered.map_err(|error| place.failed("look up a call", &error))
        }
        Err(error) => Err(error),
    };
    for reply in waiting.into_values().flatten() {
        let _ = reply.send(outcome.clone().map(|()| None));
    }
}

/// Answers the lookups of recorded calls. The remaining ones have no record.
async fn answer(
    connection: &mut SqliteConnection,
    room: &Arc<Semaphore>,
    waiting: &mut Waiting,
) -> Result<(), sqlx::Error> {
    let keys = hex_list(waiting.keys());
    let query = sqlx::query!(
        "SELECT key, answer, cycle FROM calls WHERE key IN (SELECT unhex(value) FROM json_each(?))",
        keys,
    );
    let mut rows = query.fetch(connection);
    while let Some(row) = rows.try_next().await? {
        for reply in waiting.remove(&row.key).into_iter().flatten() {
            let size = u32::try_from(row.answer.len().min(UNREAD_BYTES)).unwrap_or(u32::MAX);
            let held = Arc::clone(room).acquire_many_owned(size).await.ok();
            let found = Found { answer: row.answer.clone(), cycle: row.cycle.clone(), _held: held };
            let _ = reply.send(Ok(Some(found)));
        }
    }
    Ok(())
}

/// Hashes as a JSON array of hexadecimal texts.
fn hex_list<'a>(hashes: impl ExactSizeIterator<Item = &'a Vec<u8>>) -> String {
    let mut list = String::with_capacity(2 + hashes.len() * 67);
    for (index, hash) in hashes.enumerate() {
        list.push_str(if index == 0 { "[\"" } else { ",\"" });
        for byte in hash {
            write!(list, "{byte:02x}").expect("writing to memory cannot fail");
        }
        list.push('"');
    }
    list.push(']');
    list
}
