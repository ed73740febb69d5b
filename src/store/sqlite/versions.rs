//! The names of prompt versions: one for each hash of an object, never assigned twice.

use sqlx::SqliteConnection;

use super::error::Place;
use super::rows::write_json;
use super::writer::{begin, end};
use whetstone_domain::ids::VersionName;
use whetstone_domain::version::{Version, VersionPhase};
use whetstone_engine::ports::StoreError;

/// Whether a version of the object has this number.
pub(super) async fn is_taken(
    connection: &mut SqliteConnection,
    object: &str,
    number: u32,
) -> Result<bool, sqlx::Error> {
    let name = format!("v{number}");
    let found = sqlx::query_scalar!("SELECT id FROM versions WHERE object = ? AND name = ?", object, name)
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}

/// One more than the highest number that a version of the object has.
pub(super) async fn next_version(connection: &mut SqliteConnection, object: &str) -> Result<u32, sqlx::Error> {
    let highest = sqlx::query_scalar!(
        r#"SELECT max(CAST(substr(name, 2) AS INTEGER)) AS "highest: i64" FROM versions
           WHERE object = ? AND name GLOB 'v[0-9]*'"#,
        object,
    )
    .fetch_one(connection)
    .await?;
    Ok(u32::try_from(highest.unwrap_or(0)).unwrap_or(u32::MAX).saturating_add(1))
}

/// Saves versions that no cycle of this store has created. See [`crate::store::Store::remember`].
pub(super) async fn remember(
    connection: &mut SqliteConnection,
    place: &Place,
    object: &str,
    versions: &[Version],
    at: jiff::Timestamp,
) -> Result<(), StoreError> {
    let saved = async {
        begin(connection).await?;
        let mut saved = Ok(());
        for version in versions {
            saved = save_version(connection, object, version, at).await.map(drop);
            if saved.is_err() {
                break;
            }
        }
        end(connection, saved).await
    };
    saved.await.map_err(|error| place.failed("remember versions", &error))
}

/// Saves a version and returns its name: a known hash keeps its name, and the name of another hash is not assigned again. The
/// parent is kept if the new record has none. At most one version of an object is the champion.
pub(super) async fn save_version(
    connection: &mut SqliteConnection,
    object: &str,
    version: &Version,
    at: jiff::Timestamp,
) -> Result<String, sqlx::Error> {
    let hash = version.hash.as_bytes().as_slice();
    let known = sqlx::query_scalar!("SELECT name FROM versions WHERE object = ? AND hash = ?", object, hash)
        .fetch_optional(&mut *connection)
        .await?;
    let mut name = known.unwrap_or_else(|| version.name.to_string());
    let holder =
        sqlx::query_scalar!("SELECT id FROM versions WHERE object = ? AND name = ? AND hash <> ?", object, name, hash,)
            .fetch_optional(&mut *connection)
            .await?;
    if holder.is_some() {
        name = format!("v{}", next_version(connection, object).await?);
    }
    let phase = version.phase.as_str();
    let parent = version.parent.as_ref().map(VersionName::as_str);
    let addresses = write_json(&version.addresses);
    let at = at.as_microsecond();
    if version.phase == VersionPhase::Champion {
        let superseded = VersionPhase::Superseded.as_str();
        sqlx::query!("UPDATE versions SET phase = ? WHERE object = ? AND phase = ?", superseded, object, phase)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query!(
        "INSERT INTO versions (object, name, hash, parent, phase, created_at, addresses, diff, text)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (object, hash) DO UPDATE SET
             phase = excluded.phase,
             parent = coalesce(excluded.parent, parent),
             addresses = CASE excluded.addresses WHEN '[]' THEN addresses ELSE excluded.addresses END,
             diff = CASE excluded.diff WHEN '' THEN diff ELSE excluded.diff END",
        object,
        name,
        hash,
        parent,
        phase,
        at,
        addresses,
        version.diff,
        version.text,
    )
    .execute(connection)
    .await?;
    Ok(name)
}
