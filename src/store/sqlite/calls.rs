//! Rows of the ledger: how a call is written and an answer read back.

use serde::Serialize;
use sqlx::SqliteConnection;

use super::error::Place;
use super::finder::Found;
use super::rows::write_json;
use whetstone_domain::call::{Answer, CallKey};
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::{ModelName, ScenarioId};
use whetstone_domain::money::Money;
use whetstone_engine::ports::{LedgerEntry, Recorded, StoreError, StoreErrorKind};

#[derive(Serialize)]
struct Row<'a> {
    /// `None` for an answer that must not be found again: the row gets a random key.
    key: Option<ContentHash>,
    cycle: ContentHash,
    phase: &'a str,
    purpose: &'a str,
    scenario: Option<&'a ScenarioId>,
    model: &'a ModelName,
    input: i64,
    cached: i64,
    output: i64,
    cost: Option<Money>,
    latency: i64,
    provider: &'a str,
    endpoint: &'a str,
    provider_model: &'a str,
    answer: String,
}

/// Serializes a call as a JSON object, in the task of the caller rather than that of the writer.
pub(super) fn encode(place: &Place, entry: &LedgerEntry) -> Result<String, StoreError> {
    let LedgerEntry { key, identity, model, answer, cost, latency, tags } = entry;
    // JSON has no NaN and no infinity: such a vector would be written as nulls, and could not be read again.
    if let Answer::Embeddings(embeddings) = answer
        && embeddings.vectors.iter().flatten().any(|number| !number.is_finite())
    {
        let why = format!("model {:?} returned a vector with a number that is not finite", model.as_str());
        return Err(place.error(StoreErrorKind::Other, "record a call", why));
    }
    let usage = answer.usage();
    Ok(write_json(&Row {
        key: (!matches!(answer, Answer::Unusable(_))).then_some(key.0),
        cycle: tags.cycle,
        phase: tags.phase.as_str(),
        purpose: tags.purpose.as_str(),
        scenario: tags.scenario.as_ref(),
        model,
        input: usage.input.cast_signed(),
        cached: usage.cached_input.cast_signed(),
        output: usage.output.cast_signed(),
        cost: *cost,
        latency: i64::try_from(latency.as_micros()).unwrap_or(i64::MAX),
        provider: &identity.provider,
        endpoint: &identity.endpoint,
        provider_model: &identity.model,
        answer: write_json(answer),
    }))
}

/// Parses a row.
pub(super) fn decode(place: &Place, key: CallKey, found: &Found) -> Result<Recorded, StoreError> {
    let damaged = |what: &str, why: &dyn std::fmt::Display| {
        place.damaged("look up a call", format_args!("the {what} under key {} cannot be read: {why}", key.0))
    };
    let cycle: [u8; 32] = found.cycle.as_slice().try_into().map_err(|_| damaged("cycle", &"not a hash"))?;
    Ok(Recorded {
        answer: serde_json::from_str(&found.answer).map_err(|error| damaged("answer", &error))?,
        cycle: ContentHash::from_bytes(cycle),
    })
}

/// Writes the calls of a JSON array of rows, except those whose key exists. A single statement, because separate statements would
/// spend most of their time in the communication with the thread of the connection.
pub(super) async fn insert(connection: &mut SqliteConnection, rows: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO calls (key, cycle, phase, purpose, scenario, model, input_tokens, cached_tokens, output_tokens,
                            cost, latency_us, provider, endpoint, provider_model, answer)
         SELECT coalesce(unhex(value ->> 'key'), randomblob(32)), unhex(value ->> 'cycle'), value ->> 'phase', value ->> 'purpose',
                value ->> 'scenario', value ->> 'model', value ->> 'input', value ->> 'cached', value ->> 'output',
                value ->> 'cost', value ->> 'latency', value ->> 'provider', value ->> 'endpoint',
                value ->> 'provider_model', value ->> 'answer'
         FROM json_each(?)
         WHERE true
         ON CONFLICT (key) DO NOTHING",
        rows,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Replaces the keys of calls, so that their answers are not found anymore.
pub(super) async fn discard(connection: &mut SqliteConnection, keys: &[CallKey]) -> Result<(), sqlx::Error> {
    let keys = write_json(&keys);
    sqlx::query!("UPDATE calls SET key = randomblob(32) WHERE key IN (SELECT unhex(value) FROM json_each(?))", keys,)
        .execute(connection)
        .await?;
    Ok(())
}
