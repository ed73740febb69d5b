//! Embedding requests and their answers.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::super::answered::Lenient;
use super::super::attempt::Unusable;
use super::super::wire::merged;
use super::answer::{Counts, counted};
use whetstone_domain::call::{EmbedRequest, Embeddings};
use whetstone_domain::money::Usage;
use whetstone_domain::words;

#[derive(Serialize)]
struct Embed<'a> {
    model: &'a str,
    input: &'a [String],
    encoding_format: &'static str,
}

/// The body of an embedding request. OpenAI itself is asked for base64, which is half as long; some other servers do not
/// support it.
pub(super) fn body(model: &str, request: &EmbedRequest, is_openai: bool) -> Vec<u8> {
    let encoding_format = if is_openai { "base64" } else { "float" };
    merged(&Embed { model, input: &request.texts, encoding_format }, request.extra.as_ref())
}

#[derive(Deserialize)]
struct EmbeddingList {
    #[serde(default)]
    data: Vec<Embedded>,
    #[serde(default)]
    usage: Lenient<Counts>,
}

#[derive(Deserialize)]
struct Embedded {
    index: Option<usize>,
    #[serde(deserialize_with = "vector")]
    embedding: Vec<f32>,
}

/// A vector as numbers, or as base64 of little-endian `f32`s. Not an untagged enum, which would store each number twice.
fn vector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    struct Numbers;

    impl<'de> Visitor<'de> for Numbers {
        type Value = Vec<f32>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("numbers, or base64 of them")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Self::Value, A::Error> {
            let mut vector = Vec::with_capacity(1536);
            while let Some(number) = numbers.next_element()? {
                vector.push(number);
            }
            Ok(vector)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let bytes = STANDARD.decode(text).map_err(E::custom)?;
            let (numbers, rest) = bytes.as_chunks::<4>();
            if rest.is_empty() {
                Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
            } else {
                Err(E::custom("base64 of a number that is cut off"))
            }
        }
    }

    deserializer.deserialize_any(Numbers)
}

/// Parses the answer to an embedding request for `texts` texts with about `estimate` tokens.
pub(super) fn read(body: &[u8], texts: usize, estimate: impl Fn() -> u64) -> Result<Embeddings, Unusable> {
    let list: EmbeddingList = serde_json::from_slice(body)?;
    let malformed = |why: String| Err(Unusable::Malformed(why));
    if list.data.len() != texts {
        return malformed(format!(
            "it has {} for {}",
            words::counted(list.data.len(), "vector"),
            words::counted(texts, "text")
        ));
    }
    let mut vectors = vec![Vec::new(); texts];
    for (position, embedded) in list.data.into_iter().enumerate() {
        match vectors.get_mut(embedded.index.unwrap_or(position)) {
            Some(vector) if vector.is_empty() => *vector = embedded.embedding,
            _ => return malformed("the indices of its vectors do not match the texts".to_owned()),
        }
    }
    let length = vectors.first().map_or(0, Vec::len);
    if vectors.iter().any(|vector| vector.is_empty() || vector.len() != length) {
        return malformed("its vectors are empty or of different lengths".to_owned());
    }
    if vectors.iter().flatten().any(|number| !number.is_finite()) {
        return malformed("its vectors have something in them that is no number".to_owned());
    }
    let input = counted(&list.usage.0).input;
    let usage = Usage { input: input.unwrap_or_else(estimate), cached_input: 0, output: 0 };
    Ok(Embeddings { vectors, usage, estimated: input.is_none() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use serde_json::Value;

    use super::*;

    #[test]
    fn vectors_are_read_as_numbers_and_as_base64_and_put_in_order() {
        let base64 = STANDARD.encode([0.5f32, -1.0].map(f32::to_le_bytes).concat());
        let body = json!({
            "object": "list",
            "data": [{"index": 1, "embedding": base64}, {"index": 0, "embedding": [1, 0.25]}],
            "usage": {"prompt_tokens": 8, "total_tokens": 8},
        });
        let embeddings = super::read(body.to_string().as_bytes(), 2, || 9).unwrap();
        assert_eq!(embeddings.vectors, [[1.0, 0.25], [0.5, -1.0]]);
        assert_eq!(embeddings.usage, Usage { input: 8, cached_input: 0, output: 0 });
    }

    #[test]
    fn vectors_that_do_not_match_the_texts_are_refused() {
        let usage = json!({"prompt_tokens": 1});
        for data in [
            json!([{"index": 0, "embedding": [1.0]}]),
            json!([{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]),
            json!([{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}]),
            json!([{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]),
            json!([{"index": 0, "embedding": []}, {"index": 1, "embedding": []}]),
            json!([{"index": 0, "embedding": "AAAA"}, {"index": 1, "embedding": [1.0]}]),
            json!([{"index": 0, "embedding": [1e300]}, {"index": 1, "embedding": [1.0]}]),
        ] {
            let body = json!({"data": data, "usage": usage}).to_string();
            assert!(matches!(super::read(body.as_bytes(), 2, || 9), Err(Unusable::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn embeddings_are_asked_for_in_a_form_that_the_server_knows() {
        let mut request = EmbedRequest::from(vec!["a".to_owned()]);
        let body: Value = serde_json::from_slice(&super::body("e", &request, false)).unwrap();
        assert_eq!(body, json!({"model": "e", "input": ["a"], "encoding_format": "float"}));
        let body: Value = serde_json::from_slice(&super::body("e", &request, true)).unwrap();
        assert_eq!(body["encoding_format"], "base64");
        request.extra = json!({"dimensions": 256}).as_object().cloned();
        let body: Value = serde_json::from_slice(&super::body("e", &request, false)).unwrap();
        assert_eq!(body, json!({"model": "e", "input": ["a"], "encoding_format": "float", "dimensions": 256}));
    }

    #[test]
    fn vectors_without_usage_are_used_and_their_tokens_estimated() {
        for usage in ["null", r#"{"total_tokens":"?"}"#] {
            let body = format!(r#"{{"data":[{{"embedding":[1.0]}}],"usage":{usage}}}"#);
            let embeddings = super::read(body.as_bytes(), 1, || 9).unwrap();
            assert_eq!((embeddings.usage.input, embeddings.estimated), (9, true), "{usage}");
        }
        let embeddings = super::read(br#"{"data":[{"embedding":[1.0]}]}"#, 1, || 9).unwrap();
        assert_eq!((embeddings.usage.input, embeddings.estimated), (9, true));
    }
}
