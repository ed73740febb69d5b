//! Rows of the ledger: how a call is written and an answer read back.

use sqlx::SqliteConnection;

use super::error::Place;
use super::rows::write_json;
use crate::domain::call::{Answer, CallKey};
use crate::engine::ports::{LedgerEntry, StoreError, StoreErrorKind};

/// Prepares a call for writing: its row as a JSON array. Done where the call is made, so that the writer has little to do.
pub(super) fn encode(place: &Place, entry: &LedgerEntry) -> Result<String, StoreError> {
    let LedgerEntry { key, identity, model, answer, cost, latency, tags } = entry;
    // JSON has no NaN and no infinity: such a vector would be written as nulls, and the call could never be read again.
    if let Answer::Embeddings(embeddings) = answer
        && embeddings.vectors.iter().flatten().any(|number| !number.is_finite())
    {
        let why = format!("model {:?} answered a vector that has a number which is not finite", model.as_str());
        return Err(place.error(StoreErrorKind::Other, "record a call", why));
    }
    let usage = answer.usage();
    let tokens = [usage.input, usage.cached_input, usage.output].map(u64::cast_signed);
    let latency = i64::try_from(latency.as_micros()).unwrap_or(i64::MAX);
    let where_from = (key.0, tags.cycle, tags.phase.as_str(), tags.purpose.as_str(), &tags.scenario, model);
    let where_to = (&identity.provider, &identity.endpoint, &identity.model);
    Ok(write_json(&(where_from, tokens, cost, latency, where_to, write_json(answer))))
}

/// Reads an answer back.
pub(super) fn decode(place: &Place, key: CallKey, text: &str) -> Result<Answer, StoreError> {
    serde_json::from_str(text).map_err(|error| {
        place.damaged("look up a call", format_args!("the answer under key {} cannot be read: {error}", key.0))
    })
}

/// Writes the calls of a JSON array of rows, except those whose key is known. One statement for all: a statement for each
/// would spend most of its time on the way to the thread of the connection and back.
pub(super) async fn insert(connection: &mut SqliteConnection, rows: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO calls (key, cycle, phase, purpose, scenario, model, input_tokens, cached_tokens, output_tokens,
                            cost, latency_us, provider, endpoint, provider_model, answer)
         SELECT unhex(value ->> '$[0][0]'), unhex(value ->> '$[0][1]'), value ->> '$[0][2]', value ->> '$[0][3]',
                value ->> '$[0][4]', value ->> '$[0][5]', value ->> '$[1][0]', value ->> '$[1][1]', value ->> '$[1][2]',
                value ->> '$[2]', value ->> '$[3]', value ->> '$[4][0]', value ->> '$[4][1]', value ->> '$[4][2]',
                value ->> '$[5]'
         FROM json_each(?)
         WHERE true
         ON CONFLICT (key) DO NOTHING",
        rows,
    )
    .execute(connection)
    .await?;
    Ok(())
}
