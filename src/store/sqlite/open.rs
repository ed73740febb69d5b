//! Opening the file: settings of a connection, the identification of the file, and the schema.

use std::time::Duration;

use sqlx::migrate::{Migrate, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::time::Instant;

use super::error::{Place, is_busy};
use whetstone_engine::ports::{StoreError, StoreErrorKind};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// `whst`, as `0001_store.sql` writes it into the header of the file.
const APPLICATION_ID: i64 = 0x7768_7374;

/// Pages of the write-ahead log (4 KiB each) after which it is merged into the file: 64 MB. Keys are random, so each record
/// changes a different page of their index. With a long log a page is changed many times before it is copied once: a log of 4 MB,
/// the default, halves the speed.
const CHECKPOINT_PAGES: &str = "16000";

/// The size to which the write-ahead log is truncated after it has grown.
const LOG_LIMIT: &str = "67108864";

/// The page cache of the writing connection, in KiB, negative as SQLite requires.
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

/// The connection that writes. Creates or identifies the file, and migrates its schema.
pub(super) async fn writing(place: &Place) -> Result<SqliteConnection, StoreError> {
    if let Some(folder) = place.path.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(|error| {
            place.error(
                StoreErrorKind::Other,
                "create its directory",
                format_args!("{error}; name another with --store"),
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

/// Connects. Retries, because SQLite does not wait for a lock when it enables the write-ahead log for the first time.
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

/// Whether the file has the complete schema. Takes no lock, so that a busy store can be read.
async fn is_current(place: &Place, connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    // A single statement, so that a schema that another process creates at the same time is seen completely or not at all.
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

/// Migrates the schema, atomically and in one process at a time.
async fn migrate(place: &Place, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let failed = |error: sqlx::Error| place.failed("open it", &error);
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    MIGRATIONS.run(&mut *transaction).await.map_err(|error| place.not_migrated(&error))?;
    transaction.commit().await.map_err(failed)
}
