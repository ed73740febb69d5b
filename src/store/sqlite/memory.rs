//! Opening a cycle: what it knows of earlier cycles is pinned, so that a resumed cycle knows the same.

use std::collections::{BTreeMap, HashSet};

use sqlx::SqliteConnection;

use super::error::Place;
use super::rows::{Failure, hash, read_json, write_json};
use super::versions::{is_taken, next_version, save_version};
use super::writer::{begin, end};
use crate::store::{REJECTED_REMEMBERED, SCORES_REMEMBERED};
use whetstone_domain::ids::DimensionName;
use whetstone_domain::patch::RejectedPatch;
use whetstone_domain::version::{Version, VersionPhase};
use whetstone_engine::ports::{CycleStart, Memory, StoreError};

/// Opens a cycle, or opens it again. See [`whetstone_engine::ports::History::open`].
pub(super) async fn open(
    connection: &mut SqliteConnection,
    place: &Place,
    start: &CycleStart,
) -> Result<Memory, StoreError> {
    let opened = async {
        begin(connection).await?;
        let opened = open_inside(connection, place, start).await;
        end(connection, opened).await
    };
    opened.await.map_err(|failure: Failure| failure.of(place, "open a cycle"))
}

async fn open_inside(connection: &mut SqliteConnection, place: &Place, start: &CycleStart) -> Result<Memory, Failure> {
    let hash = start.cycle.as_bytes().as_slice();
    let known = sqlx::query!("SELECT memory, ended_at FROM cycles WHERE object = ? AND hash = ?", start.object, hash)
        .fetch_optional(&mut *connection)
        .await?;
    let (pinned, ended) = known.map_or((None, false), |row| (row.memory, row.ended_at.is_some()));
    let memory = match pinned {
        Some(text) => {
            let mut memory: Memory = read_json(place, "the memory of a cycle", &text)?;
            if ended || !is_taken(connection, &start.object, memory.next_version).await? {
                return Ok(memory);
            }
            // Another cycle ended in between and used the number. No decision depends on it.
            memory.next_version = next_version(connection, &start.object).await?;
            memory
        }
        None => remember(connection, place, start).await?,
    };
    let text = write_json(&memory);
    let champion = start.champion.as_bytes().as_slice();
    let at = start.at.as_microsecond();
    sqlx::query!(
        "INSERT INTO cycles (object, hash, champion, started_at, memory) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (object, hash) DO UPDATE SET memory = excluded.memory",
        start.object,
        hash,
        champion,
        at,
        text,
    )
    .execute(connection)
    .await?;
    Ok(memory)
}

/// What the object's other finished cycles have recorded. The champion becomes a version if it is not one yet.
async fn remember(connection: &mut SqliteConnection, place: &Place, start: &CycleStart) -> Result<Memory, Failure> {
    let champion = Version {
        name: format!("v{}", next_version(connection, &start.object).await?).into(),
        hash: start.champion,
        text: start.champion_text.clone(),
        parent: None,
        diff: String::new(),
        addresses: Vec::new(),
        phase: VersionPhase::Champion,
    };
    let champion_version = save_version(connection, &start.object, &champion, start.at).await?;
    Ok(Memory {
        champion_version,
        next_version: next_version(connection, &start.object).await?,
        rejected: rejected(connection, place, start).await?,
        champion_scores: champion_scores(connection, place, start).await?,
    })
}

/// The patches that cycles of the champion and of its ancestors rejected, newest first, each prompt once.
async fn rejected(
    connection: &mut SqliteConnection,
    place: &Place,
    start: &CycleStart,
) -> Result<Vec<RejectedPatch>, Failure> {
    let (cycle, champion) = (start.cycle.as_bytes().as_slice(), start.champion.as_bytes().as_slice());
    let rows = sqlx::query!(
        r#"WITH RECURSIVE lineage (hash, parent) AS (
               SELECT hash, parent FROM versions WHERE object = ?1 AND hash = ?2
               UNION
               SELECT versions.hash, versions.parent
               FROM versions JOIN lineage ON versions.object = ?1 AND versions.name = lineage.parent
           )
           SELECT rejected_patches.prompt, rejected_patches.patch, rejected_patches.reason
           FROM cycles JOIN rejected_patches ON rejected_patches.cycle = cycles.id
           WHERE cycles.object = ?1 AND cycles.hash <> ?3 AND cycles.ended_at IS NOT NULL
             AND cycles.champion IN (SELECT hash FROM lineage)
           ORDER BY cycles.ended_at DESC, cycles.id DESC, rejected_patches.position
           LIMIT ?4"#,
        start.object,
        champion,
        cycle,
        REJECTED_REMEMBERED,
    )
    .fetch_all(connection)
    .await?;
    let mut seen = HashSet::new();
    let mut patches = Vec::with_capacity(rows.len());
    for row in rows {
        let prompt = hash(place, &row.prompt)?;
        if seen.insert(prompt) {
            patches.push(RejectedPatch {
                prompt,
                patch: read_json(place, "a rejected patch", &row.patch)?,
                reason: row.reason,
            });
        }
    }
    Ok(patches)
}

/// The held-out scores of the champions of finished cycles, oldest first. Older versions of this program recorded scores of other
/// parts as well; the report has the part.
async fn champion_scores(
    connection: &mut SqliteConnection,
    place: &Place,
    start: &CycleStart,
) -> Result<Vec<BTreeMap<DimensionName, f64>>, Failure> {
    let cycle = start.cycle.as_bytes().as_slice();
    let newest_first = sqlx::query_scalar!(
        r#"SELECT champion_scores AS "scores!" FROM cycles
           WHERE object = ? AND hash <> ? AND ended_at IS NOT NULL AND champion_scores IS NOT NULL
             AND coalesce(report ->> '$.champion.measuredOn', 'heldOut') = 'heldOut'
           ORDER BY ended_at DESC, id DESC LIMIT ?"#,
        start.object,
        cycle,
        SCORES_REMEMBERED,
    )
    .fetch_all(connection)
    .await?;
    newest_first.iter().rev().map(|text| Ok(read_json(place, "the champion's scores", text)?)).collect()
}
