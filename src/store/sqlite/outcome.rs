//! Closing a cycle: writes its results and prunes old ones, in one transaction.

use sqlx::SqliteConnection;

use super::error::Place;
use super::rows::{Failure, write_json};
use super::versions::save_version;
use super::writer::{begin, end};
use crate::store::CYCLES_KEPT;
use whetstone_domain::score::Sample;
use whetstone_engine::ports::{CycleRecord, StoreError, StoreErrorKind};

/// Closes a cycle. See [`whetstone_engine::ports::History::close`].
pub(super) async fn close(
    connection: &mut SqliteConnection,
    place: &Place,
    record: &CycleRecord,
) -> Result<(), StoreError> {
    let closed = async {
        begin(connection).await?;
        let closed = close_inside(connection, place, record).await;
        end(connection, closed).await
    };
    closed.await.map_err(|failure: Failure| failure.of(place, "close a cycle"))
}

async fn close_inside(connection: &mut SqliteConnection, place: &Place, record: &CycleRecord) -> Result<(), Failure> {
    let hash = record.cycle.as_bytes().as_slice();
    let at = record.at.as_microsecond();
    let report = write_json(&record.report);
    // NULL rather than an empty map, because only cycles that measured their champion are part of its history.
    let verdict = record.verdict.as_str();
    let scores = (!record.champion_scores.is_empty()).then(|| write_json(&record.champion_scores));
    let cycle = sqlx::query_scalar!(
        r#"UPDATE cycles SET ended_at = ?, verdict = ?, report = ?, champion_scores = ?
           WHERE object = ? AND hash = ? RETURNING id AS "id!""#,
        at,
        verdict,
        report,
        scores,
        record.object,
        hash,
    )
    .fetch_optional(&mut *connection)
    .await?
    .ok_or_else(|| {
        let why = format!("cycle {} of {} was never opened", record.cycle.short(), record.object);
        place.error(StoreErrorKind::Other, "close a cycle", why)
    })?;
    forget(connection, cycle).await?;
    for version in &record.versions {
        save_version(connection, &record.object, version, record.at).await?;
    }
    save_scores(connection, cycle, record).await?;
    save_rejected(connection, cycle, record).await?;
    prune(connection, &record.object, CYCLES_KEPT).await?;
    Ok(())
}

/// Deletes what a cycle recorded when it was closed before.
async fn forget(connection: &mut SqliteConnection, cycle: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM scores WHERE cycle = ?", cycle).execute(&mut *connection).await?;
    sqlx::query!("DELETE FROM rejected_patches WHERE cycle = ?", cycle).execute(&mut *connection).await?;
    Ok(())
}

/// Saves the mean scores: one statement for each prompt and dimension, not one for each of thousands of scenarios.
async fn save_scores(connection: &mut SqliteConnection, cycle: i64, record: &CycleRecord) -> Result<(), sqlx::Error> {
    for evaluation in &record.evaluations {
        let prompt = evaluation.prompt.as_bytes().as_slice();
        for (index, dimension) in record.dimensions.iter().enumerate() {
            let means: Vec<(&str, f64, usize)> = evaluation
                .results
                .iter()
                .filter_map(|result| {
                    let scored = |sample: &&Sample| sample.dimensions.get(index).is_some_and(Option::is_some);
                    Some((result.scenario.as_str(), result.mean(index)?, result.samples.iter().filter(scored).count()))
                })
                .collect();
            let (dimension, means) = (dimension.as_str(), write_json(&means));
            sqlx::query!(
                "INSERT INTO scores (cycle, prompt, dimension, scenario, mean, samples)
                 SELECT ?, ?, ?, value ->> 0, CAST(value ->> 1 AS REAL), value ->> 2 FROM json_each(?)
                 WHERE true
                 ON CONFLICT (cycle, prompt, dimension, scenario)
                 DO UPDATE SET mean = excluded.mean, samples = excluded.samples",
                cycle,
                prompt,
                dimension,
                means,
            )
            .execute(&mut *connection)
            .await?;
        }
    }
    Ok(())
}

async fn save_rejected(connection: &mut SqliteConnection, cycle: i64, record: &CycleRecord) -> Result<(), sqlx::Error> {
    for (position, rejected) in (0_i64..).zip(&record.kept.rejected) {
        let (prompt, patch) = (rejected.prompt.as_bytes().as_slice(), write_json(&rejected.patch));
        sqlx::query!(
            "INSERT INTO rejected_patches (cycle, position, prompt, patch, reason) VALUES (?, ?, ?, ?, ?)",
            cycle,
            position,
            prompt,
            patch,
            rejected.reason,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Deletes report, scores and pinned memory of all but the newest finished cycles of an object. Keeps one row of each
/// cycle, and all calls, versions and rejected patches.
async fn prune(connection: &mut SqliteConnection, object: &str, keep: u32) -> Result<(), sqlx::Error> {
    let old = sqlx::query_scalar!(
        r#"SELECT id AS "id!" FROM cycles
           WHERE object = ?1 AND ended_at IS NOT NULL AND report IS NOT NULL AND id NOT IN (
               SELECT id FROM cycles WHERE object = ?1 AND ended_at IS NOT NULL
               ORDER BY ended_at DESC, id DESC LIMIT ?2
           )"#,
        object,
        keep,
    )
    .fetch_all(&mut *connection)
    .await?;
    for cycle in old {
        sqlx::query!("DELETE FROM scores WHERE cycle = ?", cycle).execute(&mut *connection).await?;
        sqlx::query!("UPDATE cycles SET report = NULL, memory = NULL WHERE id = ?", cycle)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
