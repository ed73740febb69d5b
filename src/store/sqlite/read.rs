//! Queries for people: lists, reports, totals.

use std::time::Duration;

use futures::TryStreamExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use rust_decimal::Decimal;

use super::Sqlite;
use super::error::Place;
use super::rows::hash;
use super::writer::Job;
use crate::store::{CallRow, CycleSummary, ScoreRow, Store, Total, VersionRow};
use whetstone_domain::call::{CallKey, ModelIdentity};
use whetstone_domain::hash::ContentHash;
use whetstone_domain::money::{Money, Usage};
use whetstone_domain::version::{Version, VersionPhase};
use whetstone_engine::ports::StoreError;

/// The maximum number of cycles returned for a prefix.
const MATCHES: i64 = 16;

struct CycleColumns {
    object: String,
    hash: Vec<u8>,
    champion: Vec<u8>,
    started_at: i64,
    ended_at: Option<i64>,
    verdict: Option<String>,
}

impl CycleColumns {
    fn read(self, place: &Place) -> Result<CycleSummary, StoreError> {
        Ok(CycleSummary {
            cycle: hash(place, &self.hash)?,
            object: self.object,
            champion: hash(place, &self.champion)?,
            started_at: timestamp(place, self.started_at)?,
            ended_at: self.ended_at.map(|at| timestamp(place, at)).transpose()?,
            verdict: self.verdict,
        })
    }
}

fn timestamp(place: &Place, microseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(microseconds).map_err(|error| place.damaged("read a time", error))
}

fn money(place: &Place, text: &str) -> Result<Money, StoreError> {
    let amount: Decimal = text.parse().map_err(|error| place.damaged("read a cost", error))?;
    Ok(amount.into())
}

fn usage(input: i64, cached_input: i64, output: i64) -> Usage {
    Usage { input: input.cast_unsigned(), cached_input: cached_input.cast_unsigned(), output: output.cast_unsigned() }
}

/// The lowest and highest hash that begin with these hexadecimal digits.
fn bounds(prefix: &str) -> Option<(ContentHash, ContentHash)> {
    let prefix = prefix.to_ascii_lowercase();
    Some((format!("{prefix:0<64}").parse().ok()?, format!("{prefix:f<64}").parse().ok()?))
}

impl Store for Sqlite {
    fn cycles<'a>(
        &'a self,
        object: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<CycleSummary>, StoreError>> {
        Box::pin(async move {
            let rows = sqlx::query_as!(
                CycleColumns,
                "SELECT object, hash, champion, started_at, ended_at, verdict FROM cycles
                 WHERE ?1 IS NULL OR object = ?1
                 ORDER BY coalesce(ended_at, started_at) DESC, id DESC LIMIT ?2",
                object,
                limit,
            )
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.place.failed("list cycles", &error))?;
            rows.into_iter().map(|row| row.read(&self.place)).collect()
        })
    }

    fn cycles_by_prefix<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<CycleSummary>, StoreError>> {
        Box::pin(async move {
            let Some((low, high)) = bounds(prefix) else { return Ok(Vec::new()) };
            let (low, high) = (low.as_bytes().as_slice(), high.as_bytes().as_slice());
            let rows = sqlx::query_as!(
                CycleColumns,
                "SELECT object, hash, champion, started_at, ended_at, verdict FROM cycles
                 WHERE hash BETWEEN ? AND ?
                 ORDER BY coalesce(ended_at, started_at) DESC, id DESC LIMIT ?",
                low,
                high,
                MATCHES,
            )
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.place.failed("look up a cycle", &error))?;
            rows.into_iter().map(|row| row.read(&self.place)).collect()
        })
    }

    fn report<'a>(
        &'a self,
        object: &'a str,
        cycle: ContentHash,
    ) -> BoxFuture<'a, Result<Option<serde_json::Value>, StoreError>> {
        Box::pin(async move {
            let cycle = cycle.as_bytes().as_slice();
            let report = sqlx::query_scalar!("SELECT report FROM cycles WHERE object = ? AND hash = ?", object, cycle)
                .fetch_optional(&self.readers)
                .await
                .map_err(|error| self.place.failed("read a report", &error))?;
            let Some(text) = report.flatten() else { return Ok(None) };
            serde_json::from_str(&text).map(Some).map_err(|error| self.place.damaged("read a report", error))
        })
    }

    fn scores<'a>(&'a self, object: &'a str, cycle: ContentHash) -> BoxFuture<'a, Result<Vec<ScoreRow>, StoreError>> {
        Box::pin(async move {
            let cycle = cycle.as_bytes().as_slice();
            let rows = sqlx::query!(
                "SELECT scores.prompt, scores.dimension, scores.scenario, scores.mean, scores.samples
                 FROM cycles JOIN scores ON scores.cycle = cycles.id
                 WHERE cycles.object = ? AND cycles.hash = ?
                 ORDER BY scores.prompt, scores.dimension, scores.scenario",
                object,
                cycle,
            )
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.place.failed("read scores", &error))?;
            rows.into_iter()
                .map(|row| {
                    Ok(ScoreRow {
                        prompt: hash(&self.place, &row.prompt)?,
                        dimension: row.dimension.into(),
                        scenario: row.scenario.into(),
                        mean: row.mean,
                        samples: row.samples.cast_unsigned(),
                    })
                })
                .collect()
        })
    }

    fn remember<'a>(
        &'a self,
        object: &'a str,
        versions: Vec<Version>,
        at: Timestamp,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let object = object.to_owned();
        Box::pin(self.ask(&self.jobs, "remember versions", move |reply| Job::Remember { object, versions, at, reply }))
    }

    fn versions<'a>(&'a self, object: &'a str) -> BoxFuture<'a, Result<Vec<VersionRow>, StoreError>> {
        Box::pin(async move {
            let rows = sqlx::query!(
                "SELECT name, hash, parent, phase, created_at, addresses, diff, text FROM versions
                 WHERE object = ? ORDER BY id DESC",
                object,
            )
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.place.failed("list versions", &error))?;
            let damaged = |error| self.place.damaged("list versions", error);
            rows.into_iter()
                .map(|row| {
                    Ok(VersionRow {
                        version: Version {
                            name: row.name.into(),
                            hash: hash(&self.place, &row.hash)?,
                            text: row.text,
                            parent: row.parent.map(Into::into),
                            diff: row.diff,
                            addresses: serde_json::from_str(&row.addresses).map_err(damaged)?,
                            phase: serde_json::from_value::<VersionPhase>(row.phase.into()).map_err(damaged)?,
                        },
                        created_at: timestamp(&self.place, row.created_at)?,
                    })
                })
                .collect()
        })
    }

    fn totals(&self, cycle: Option<ContentHash>) -> BoxFuture<'_, Result<Vec<Total>, StoreError>> {
        Box::pin(async move {
            // A range, because SQLite would not use the index for "one or all".
            let (low, high) = cycle
                .map_or((ContentHash::from_bytes([0; 32]), ContentHash::from_bytes([0xff; 32])), |only| (only, only));
            let (low, high) = (low.as_bytes().as_slice(), high.as_bytes().as_slice());
            // SQLite can only add binary fractions, so equal prices are counted here and multiplied exactly below.
            let mut rows = sqlx::query!(
                r#"SELECT cycle AS "cycle!", phase AS "phase!", model AS "model!", cost, count(*) AS "calls!: i64",
                          sum(input_tokens) AS "input!: i64", sum(cached_tokens) AS "cached!: i64",
                          sum(output_tokens) AS "output!: i64"
                   FROM calls WHERE cycle BETWEEN ? AND ?
                   GROUP BY cycle, phase, model, cost ORDER BY min(id)"#,
                low,
                high,
            )
            .fetch(&self.readers);
            let mut totals: Vec<Total> = Vec::new();
            let failed = |error| self.place.failed("add up the calls", &error);
            while let Some(row) = rows.try_next().await.map_err(failed)? {
                let (cycle, calls) = (hash(&self.place, &row.cycle)?, row.calls.cast_unsigned());
                let same = |total: &Total| {
                    total.cycle == cycle && total.phase == row.phase && total.model.as_str() == row.model
                };
                let index = totals.iter().position(same).unwrap_or_else(|| {
                    totals.push(Total {
                        cycle,
                        phase: row.phase.clone(),
                        model: row.model.as_str().into(),
                        calls: 0,
                        usage: Usage::default(),
                        cost: Money::ZERO,
                        unpriced: 0,
                    });
                    totals.len() - 1
                });
                let total = &mut totals[index];
                total.calls += calls;
                total.usage += usage(row.input, row.cached, row.output);
                if let Some(text) = row.cost {
                    let each = money(&self.place, &text)?.amount();
                    total.cost += Money::from(each * Decimal::from(calls));
                } else {
                    total.unpriced += calls;
                }
            }
            Ok(totals)
        })
    }

    fn calls(&self, cycle: ContentHash) -> BoxFuture<'_, Result<Vec<CallRow>, StoreError>> {
        Box::pin(async move {
            let cycle = cycle.as_bytes().as_slice();
            let rows = sqlx::query!(
                "SELECT key, phase, purpose, scenario, model, input_tokens, cached_tokens, output_tokens, cost, latency_us,
                        recorded_at, provider, endpoint, provider_model
                 FROM calls WHERE cycle = ? ORDER BY id",
                cycle,
            )
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.place.failed("list calls", &error))?;
            rows.into_iter()
                .map(|row| {
                    Ok(CallRow {
                        key: CallKey(hash(&self.place, &row.key)?),
                        identity: ModelIdentity {
                            provider: row.provider,
                            endpoint: row.endpoint,
                            model: row.provider_model,
                        },
                        model: row.model.into(),
                        phase: row.phase,
                        purpose: row.purpose,
                        scenario: row.scenario.map(Into::into),
                        usage: usage(row.input_tokens, row.cached_tokens, row.output_tokens),
                        cost: row.cost.map(|text| money(&self.place, &text)).transpose()?,
                        latency: Duration::from_micros(row.latency_us.cast_unsigned()),
                        recorded_at: timestamp(&self.place, row.recorded_at)?,
                    })
                })
                .collect()
        })
    }
}
