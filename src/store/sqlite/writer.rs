//! The task that writes: it commits all queued jobs together.

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::calls;
use super::error::Place;
use super::identity::Identity;
use super::{memory, outcome, versions};
use whetstone_domain::call::CallKey;
use whetstone_domain::version::Version;
use whetstone_engine::ports::{CycleRecord, CycleStart, Memory, StoreError};

/// The maximum number of calls in one transaction, which limits how long the first of them waits.
const BATCH: usize = 512;

/// The maximum size of a statement in bytes, unless a single call is larger.
const STATEMENT: usize = 4 << 20;

/// The channel for the result of a job.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// A job, and the channel for its result.
#[derive(Debug)]
pub(super) enum Job {
    /// A paid call, serialized by `calls::encode`.
    Record { row: String, reply: Reply<()> },
    /// Calls whose answers must not be found anymore.
    Discard { keys: Vec<CallKey>, reply: Reply<()> },
    /// A cycle begins.
    Open { start: Box<CycleStart>, reply: Reply<Memory> },
    /// A cycle ends.
    Close { record: Box<CycleRecord>, reply: Reply<()> },
    /// Versions that were not created by a cycle of this store.
    Remember { object: String, versions: Vec<Version>, at: jiff::Timestamp, reply: Reply<()> },
    /// No more jobs.
    Finish { reply: Reply<()> },
}

/// Runs jobs until all senders are dropped or the store is closed.
///
/// Replies of canceled callers are ignored; their jobs are done anyway.
pub(super) async fn run(
    mut connection: SqliteConnection,
    place: Place,
    identity: Identity,
    mut queue: mpsc::Receiver<Job>,
) {
    let mut jobs = Vec::with_capacity(BATCH);
    let mut waiting = Vec::with_capacity(BATCH);
    let mut finished = None;
    while finished.is_none() && queue.recv_many(&mut jobs, BATCH).await > 0 {
        for job in jobs.drain(..) {
            match job {
                Job::Record { row, reply } => waiting.push((row, reply)),
                Job::Discard { keys, reply } => {
                    record(&mut connection, &place, &identity, &mut waiting).await;
                    let discarded = calls::discard(&mut connection, &keys).await;
                    let _ = reply.send(discarded.map_err(|error| place.failed("discard answers", &error)));
                }
                Job::Open { start, reply } => {
                    record(&mut connection, &place, &identity, &mut waiting).await;
                    let opened = match identity.check(&place, "open a cycle") {
                        Ok(()) => memory::open(&mut connection, &place, &start).await,
                        Err(error) => Err(error),
                    };
                    let _ = reply.send(opened);
                }
                Job::Close { record: result, reply } => {
                    record(&mut connection, &place, &identity, &mut waiting).await;
                    let closed = outcome::close(&mut connection, &place, &result).await;
                    let _ = reply.send(closed.and_then(|()| identity.check(&place, "close a cycle")));
                }
                Job::Remember { object, versions, at, reply } => {
                    let _ = reply.send(versions::remember(&mut connection, &place, &object, &versions, at).await);
                }
                Job::Finish { reply } => finished = Some(reply),
            }
        }
        record(&mut connection, &place, &identity, &mut waiting).await;
    }
    // The last connection to close merges the write-ahead log into the file.
    let closed = connection.close().await.map_err(|error| place.failed("close it", &error));
    if let Some(reply) = finished {
        let _ = reply.send(closed);
    }
}

/// Writes calls in one transaction and replies to the callers.
async fn record(
    connection: &mut SqliteConnection,
    place: &Place,
    identity: &Identity,
    calls: &mut Vec<(String, Reply<()>)>,
) {
    if calls.is_empty() {
        return;
    }
    let outcome = insert(connection, calls).await;
    identity.note_log();
    // A write into a deleted file does not count as recorded.
    let outcome = match outcome {
        Ok(()) => identity.check(place, "record a call"),
        Err(error) => Err(place.failed("record a call", &error)),
    };
    for (_, reply) in calls.drain(..) {
        let _ = reply.send(outcome.clone());
    }
}

async fn insert(connection: &mut SqliteConnection, calls: &[(String, Reply<()>)]) -> Result<(), sqlx::Error> {
    begin(connection).await?;
    let mut inserted = Ok(());
    let mut rest = calls;
    while inserted.is_ok() && !rest.is_empty() {
        let (rows, taken) = json_array(rest.iter().map(|(row, _)| row.as_str()));
        inserted = calls::insert(connection, &rows).await;
        rest = &rest[taken..];
    }
    end(connection, inserted).await
}

/// The rows of the next statement, at least one, as a JSON array, and their number.
fn json_array<'a>(rows: impl Iterator<Item = &'a str>) -> (String, usize) {
    let mut array = String::with_capacity(64 << 10);
    let mut taken = 0;
    for row in rows {
        if taken > 0 && array.len() + row.len() > STATEMENT {
            break;
        }
        array.push(if taken == 0 { '[' } else { ',' });
        array.push_str(row);
        taken += 1;
    }
    array.push(']');
    (array, taken)
}

/// Begins a transaction that may write.
///
/// Does not use `Connection::begin`: SQLite ends a transaction by itself if the disk is full, and sqlx would consider it open
/// forever, so a full disk would make the connection unusable.
pub(super) async fn begin(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE").execute(connection).await.map(drop)
}

/// Ends a transaction: commits if all statements succeeded, otherwise rolls back.
pub(super) async fn end<T, E: From<sqlx::Error>>(
    connection: &mut SqliteConnection,
    outcome: Result<T, E>,
) -> Result<T, E> {
    let outcome = match outcome {
        Ok(value) => sqlx::query("COMMIT").execute(&mut *connection).await.map(|_| value).map_err(E::from),
        failed => failed,
    };
    if outcome.is_err() {
        // Fails if SQLite has ended it already, which is fine.
        let _ = sqlx::query("ROLLBACK").execute(connection).await;
    }
    outcome
}
