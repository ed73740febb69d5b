//! The wire protocol of OpenAI for embeddings.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::simulator::request::Refusal;

/// A request for embeddings.
#[derive(Debug)]
pub(crate) struct Request {
    /// The model asked for.
    pub model: String,
    /// The texts.
    pub texts: Vec<String>,
    /// The requested length of the vectors, if any.
    pub dimensions: Option<usize>,
    /// Whether the vectors are sent as little-endian bytes in base64 instead of numbers.
    pub base64: bool,
}

#[derive(Deserialize)]
struct Wire {
    model: Option<String>,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    dimensions: Option<usize>,
    #[serde(default)]
    encoding_format: Option<String>,
}

/// Reads the body of a request for embeddings.
pub(crate) fn read(body: &[u8]) -> Result<Request, Refusal> {
    let body: Wire = serde_json::from_slice(body).map_err(|error| Refusal {
        status: 400,
        message: format!("We could not parse the JSON body of your request: {error}"),
        param: None,
        code: None,
    })?;
    let model = body.model.ok_or_else(|| Refusal::invalid("model", "you must provide a model parameter"))?;
    let texts: Option<Vec<String>> = match body.input {
        Value::String(text) => Some(vec![text]),
        Value::Array(texts) => texts.into_iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    let texts = texts
        .filter(|texts| !texts.is_empty() && texts.iter().all(|text| !text.is_empty()))
        .ok_or_else(|| Refusal::invalid("input", "'input' must be a text or a list of texts, none of them empty."))?;
    if body.dimensions.is_some_and(|dimensions| !(1..=8192).contains(&dimensions)) {
        return Err(Refusal::invalid("dimensions", "Invalid 'dimensions': expected a number from 1 to 8192."));
    }
    let base64 = match body.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message = format!("Invalid value: '{other}'. Supported values are: 'float' and 'base64'.");
            return Err(Refusal::invalid("encoding_format", message));
        }
    };
    Ok(Request { model, texts, dimensions: body.dimensions, base64 })
}

/// The body of an answer with embeddings.
pub(crate) fn write(request: &Request, vectors: &[Vec<f32>], tokens: u64) -> Vec<u8> {
    let data: Vec<Value> = vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| {
            let embedding = if request.base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                json!(base64(&bytes))
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    json!({"object": "list", "data": data, "model": request.model, "usage": usage}).to_string().into_bytes()
}

/// Base64 as in RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().enumerate().fold(0_u32, |group, (index, byte)| group | u32::from(*byte) << (16 - 8 * index));
        for place in 0..4 {
            let digit = ALPHABET[(group >> (18 - 6 * place)) as usize & 63];
            text.push(if place > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (bytes, text) in cases {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
