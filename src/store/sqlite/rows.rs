//! Conversion of values to and from columns.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Place;
use whetstone_domain::hash::ContentHash;
use whetstone_engine::ports::StoreError;

/// Why a transaction on the history failed.
pub(super) enum Failure {
    Sql(sqlx::Error),
    Store(StoreError),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Failure {
    /// The error for the caller.
    pub(super) fn of(self, place: &Place, doing: &str) -> StoreError {
        match self {
            Self::Sql(error) => place.failed(doing, &error),
            Self::Store(error) => error,
        }
    }
}

/// A value as JSON.
pub(super) fn write_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("domain values serialise to JSON")
}

/// Parses a value.
pub(super) fn read_json<T: DeserializeOwned>(place: &Place, what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| place.damaged("read the history", format_args!("{what}: {error}")))
}

/// Parses a hash.
pub(super) fn hash(place: &Place, bytes: &[u8]) -> Result<ContentHash, StoreError> {
    let bytes = bytes.try_into().map_err(|_| place.damaged("read the history", "a hash does not have 32 bytes"))?;
    Ok(ContentHash::from_bytes(bytes))
}
