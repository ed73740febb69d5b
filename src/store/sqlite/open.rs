//! Opening the file: settings of a connection, whose file it is, and the schema.

use std::time::Duration;

use sqlx::migrate::{Migrate, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::time::Instant;

use super::error::{Place, is_busy};
use crate::engine::ports::{StoreError, StoreErrorKind};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// `whst`, as `0001_store.sql` writes it into the header of the file.
const APPLICATION_ID: i64 = 0x7768_7374;

/// Pages of the write-ahead log (4 KiB each) after which it is folded into the file: 64 MB. Keys are random, so each record
/// touches its own page of their index. A long log lets a page be touched many times before it is copied once: a log of 4 MB, the
/// default, halves the speed.
const CHECKPOINT_PAGES: &str = "16000";

/// Bytes to which the write-ahead log is cut back after it had to grow.
const LOG_LIMIT: &str = "67108864";

/// Memory of the writing connection for pages of the file, in KiB, negative as SQLite wants it.
const WRITER_CACHE: &str = "-16000";

fn options(place: &Place) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(&*place.path).busy_timeout(place.patience).disable_statement_logging()
}

/// Settings of a connection that only reads.
pub(super) fn read_options(place: &Place) -> SqliteConnectOptions {
    options(place).pragma("query_only", "ON")
}

/// A connection that only reads.
pub(super) async fn reading(place: &Place) -> Result<SqliteConnection, StoreError> {
    read_options(place).connect().await.map_err(|error| place.failed("open it", &error))
}

/// The connection that writes, on a file that is there, is ours, and has the schema of this version.
pub(super) async fn writing(place: &Place) -> Result<SqliteConnection, StoreError> {
    if let Some(folder) = place.path.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(|error| {
            place.error(
                StoreErrorKind::Other,
                "create its folder",
                format_args!("{error}; choose another with --store"),
            )
        })?;
    }
    let options = options(place)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("journal_size_limit", LOG_LIMIT)
        .pragma("cache_size", WRITER_CACHE);
    let mut connection = connect(place, &options).await?;
    if !is_current(place, &mut connection).await? {
        migrate(place, &mut connection).await?;
    }
    Ok(connection)
}

/// Connects. SQLite does not wait for a lock when it turns the write-ahead log on, as it does the first time, so we do.
async fn connect(place: &Place, options: &SqliteConnectOptions) -> Result<SqliteConnection, StoreError> {
    let deadline = Instant::now() + place.patience;
    loop {
        match options.connect().await {
            Ok(connection) => return Ok(connection),
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(place.failed("open it", &error)),
        }
    }
}

/// Whether the file has our schema, all of it. Takes no lock, so that a busy store can be read.
async fn is_current(place: &Place, connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    // One statement, so that what another process creates at the same time is seen whole or not at all.
    let (application, tables): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT application_id FROM pragma_application_id), (SELECT count(*) FROM sqlite_schema)",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(|error| place.failed("open it", &error))?;
    match (application, tables) {
        (APPLICATION_ID, _) => {}
        (0, 0) => return Ok(false),
        _ => return Err(place.damaged("open it", "it is a database of another program")),
    }
    let applied =
        connection.list_applied_migrations(&MIGRATIONS.table_name).await.map_err(|error| place.not_migrated(&error))?;
    if applied.iter().any(|migration| !MIGRATIONS.version_exists(migration.version)) {
        return Err(place.newer());
    }
    Ok(MIGRATIONS
        .iter()
        .all(|ours| applied.iter().any(|theirs| theirs.version == ours.version && theirs.checksum == ours.checksum)))
}

/// Brings the schema up to date, all or nothing, and one process at a time.
async fn migrate(place: &Place, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let failed = |error: sqlx::Error| place.failed("open it", &error);
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    MIGRATIONS.run(&mut *transaction).await.map_err(|error| place.not_migrated(&error))?;
    transaction.commit().await.map_err(failed)
}
