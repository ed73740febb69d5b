//! The one task that looks calls up: it takes all that waits and asks once.

use std::collections::HashMap;
use std::fmt::Write as _;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::mpsc;

use super::error::Place;
use super::writer::Reply;
use crate::domain::call::CallKey;
use crate::domain::hash::ContentHash;

/// The most keys in one query.
const BATCH: usize = 256;

/// Something to find, and whom to tell.
#[derive(Debug)]
pub(super) enum Lookup {
    /// What is recorded under a key.
    Find { key: CallKey, reply: Reply<Option<Found>> },
    /// No more lookups.
    Finish { reply: Reply<()> },
}

/// A call as its row has it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The answer, as JSON.
    pub(super) answer: String,
    /// The hash of the cycle that paid it.
    pub(super) cycle: Vec<u8>,
}

/// Looks up until everybody who could ask is gone, or the store is closed.
pub(super) async fn run(mut connection: SqliteConnection, place: Place, mut queue: mpsc::Receiver<Lookup>) {
    let mut lookups = Vec::with_capacity(BATCH);
    let mut finds = Vec::with_capacity(BATCH);
    let mut finished = None;
    while finished.is_none() && queue.recv_many(&mut lookups, BATCH).await > 0 {
        for lookup in lookups.drain(..) {
            match lookup {
                Lookup::Find { key, reply } => finds.push((key, reply)),
                Lookup::Finish { reply } => finished = Some(reply),
            }
        }
        find(&mut connection, &place, &mut finds).await;
    }
    let closed = connection.close().await.map_err(|error| place.failed("close it", &error));
    if let Some(reply) = finished {
        let _ = reply.send(closed);
    }
}

/// Finds answers with one query and tells everybody who waits for one. Whoever has stopped waiting is passed over.
async fn find(connection: &mut SqliteConnection, place: &Place, finds: &mut Vec<(CallKey, Reply<Option<Found>>)>) {
    if finds.is_empty() {
        return;
    }
    let outcome = select(connection, finds).await.map_err(|error| place.failed("look up a call", &error));
    for (key, reply) in finds.drain(..) {
        let answer = match &outcome {
            Ok(found) => Ok(found.get(key.0.as_bytes().as_slice()).cloned()),
            Err(error) => Err(error.clone()),
        };
        let _ = reply.send(answer);
    }
}

async fn select(
    connection: &mut SqliteConnection,
    finds: &[(CallKey, Reply<Option<Found>>)],
) -> Result<HashMap<Vec<u8>, Found>, sqlx::Error> {
    let keys = hex_list(finds.iter().map(|(key, _)| key.0));
    let rows = sqlx::query!(
        "SELECT key, answer, cycle FROM calls WHERE key IN (SELECT unhex(value) FROM json_each(?))",
        keys,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.key, Found { answer: row.answer, cycle: row.cycle })).collect())
}

/// Hashes as a JSON array of hexadecimal texts.
fn hex_list(hashes: impl ExactSizeIterator<Item = ContentHash>) -> String {
    let mut list = String::with_capacity(2 + hashes.len() * 67);
    for (index, hash) in hashes.enumerate() {
        let before = if index == 0 { '[' } else { ',' };
        write!(list, "{before}\"{hash}\"").expect("writing to memory cannot fail");
    }
    list.push(']');
    list
}
