//! Rows of the ledger: how a call is written and an answer read back.

use sqlx::SqliteConnection;

use super::error::Place;
use crate::domain::call::{Answer, CallKey};
use crate::domain::ids::ScenarioId;
use crate::engine::ports::{LedgerEntry, StoreError, StoreErrorKind};

/// A call, ready to be written. Made where the call is made, so that the writer has little to do.
#[derive(Debug)]
pub(super) struct Call {
    entry: LedgerEntry,
    answer: String,
}

/// Prepares a call for writing.
pub(super) fn encode(place: &Place, entry: LedgerEntry) -> Result<Call, StoreError> {
    // JSON has no NaN and no infinity: such a vector would be written as nulls, and the call could never be read again.
    if let Answer::Embeddings(embeddings) = &entry.answer
        && embeddings.vectors.iter().flatten().any(|number| !number.is_finite())
    {
        let why = format!("model {:?} answered a vector that has a number which is not finite", entry.model.as_str());
        return Err(place.error(StoreErrorKind::Other, "record a call", why));
    }
    let answer = serde_json::to_string(&entry.answer)
        .map_err(|error| place.error(StoreErrorKind::Other, "record a call", error))?;
    Ok(Call { entry, answer })
}

/// Reads an answer back.
pub(super) fn decode(place: &Place, key: CallKey, text: &str) -> Result<Answer, StoreError> {
    serde_json::from_str(text).map_err(|error| {
        place.damaged("look up a call", format_args!("the answer under key {} cannot be read: {error}", key.0))
    })
}

/// Writes a call, unless its key is known.
pub(super) async fn insert(connection: &mut SqliteConnection, call: &Call) -> Result<(), sqlx::Error> {
    let LedgerEntry { key, identity, model, answer, cost, latency, tags } = &call.entry;
    let usage = answer.usage();
    let (key, cycle) = (key.0.as_bytes().as_slice(), tags.cycle.as_bytes().as_slice());
    let (phase, purpose) = (tags.phase.as_str(), tags.purpose.as_str());
    let (model, scenario) = (model.as_str(), tags.scenario.as_ref().map(ScenarioId::as_str));
    let (input, cached, output) =
        (usage.input.cast_signed(), usage.cached_input.cast_signed(), usage.output.cast_signed());
    let cost = cost.map(|cost| cost.to_string());
    let latency = i64::try_from(latency.as_micros()).unwrap_or(i64::MAX);
    sqlx::query!(
        "INSERT INTO calls (key, cycle, phase, purpose, scenario, model, input_tokens, cached_tokens, output_tokens,
                            cost, latency_us, provider, endpoint, provider_model, answer)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (key) DO NOTHING",
        key,
        cycle,
        phase,
        purpose,
        scenario,
        model,
        input,
        cached,
        output,
        cost,
        latency,
        identity.provider,
        identity.endpoint,
        identity.model,
        call.answer,
    )
    .execute(connection)
    .await?;
    Ok(())
}
