//! What both protocols extract from an answer, before its tokens are counted or estimated.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use whetstone_domain::call::{ChatAnswer, ChatRequest, Finish};
use whetstone_domain::money::Usage;
use whetstone_domain::tool::ToolCall;
use whetstone_domain::transcript::{Message, Opaque};

/// The tokens that a provider counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Input tokens in total, including cached ones.
    pub input: Option<u64>,
    /// The input tokens from the provider's cache.
    pub cached_input: u64,
    /// Output tokens, including reasoning.
    pub output: Option<u64>,
}

/// A parsed answer.
#[derive(Debug)]
pub(super) struct Read {
    /// The text.
    pub text: String,
    /// The tool calls.
    pub calls: Vec<ToolCall>,
    /// Parts that must be returned with the next request.
    pub opaque: Opaque,
    /// Why the model stopped.
    pub finish: Finish,
    /// The tokens that the provider counted.
    pub counted: Counted,
    /// The bytes of reasoning in plain text, which costs tokens too.
    pub reasoning: u64,
    /// Whether the model reasoned and then said nothing.
    pub only_reasoned: bool,
}

impl Read {
    /// The final answer. Tokens that the provider did not count are estimated.
    pub(super) fn settle(self, input: impl FnOnce() -> u64) -> ChatAnswer {
        let output = self.counted.output.unwrap_or_else(|| self.estimated_output());
        let Self { text, calls, opaque, finish, counted, .. } = self;
        let usage = Usage { input: counted.input.unwrap_or_else(input), cached_input: counted.cached_input, output };
        let estimated = counted.input.is_none() || counted.output.is_none();
        ChatAnswer { text, calls, opaque, finish, usage, estimated }
    }

    /// The estimated number of tokens of the answer.
    fn estimated_output(&self) -> u64 {
        let mut text = self.text.clone();
        push_calls(&mut text, &self.calls);
        estimate(&text) + self.reasoning / super::BYTES_PER_TOKEN
    }
}

/// The maximum length of a text whose tokens are counted exactly, in bytes. The rest of a longer one is assumed to have the
/// same density.
const LONGEST_COUNTED: usize = 16 << 10;

/// The estimated number of tokens of a text.
pub(super) fn estimate(text: &str) -> u64 {
    let mut end = text.len().min(LONGEST_COUNTED);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let counted = tiktoken_rs::o200k_base_singleton().count_ordinary(&text[..end]) as u64;
    match end {
        0 => 0,
        _ => (counted * text.len() as u64).div_ceil(end as u64),
    }
}

/// Tokens that frame a message: its role and delimiters.
const FRAME: u64 = 4;

/// The estimated number of tokens of a request.
pub(super) fn estimate_request(request: &ChatRequest) -> u64 {
    let mut text = request.system.to_string();
    for message in &request.messages {
        match message {
            Message::User { text: said } | Message::Tool { content: said, .. } => text.push_str(said),
            Message::Assistant { text: said, calls, .. } => {
                text.push_str(said);
                push_calls(&mut text, calls);
            }
        }
        text.push('\n');
    }
    for tool in request.tools.iter() {
        text.push_str(&serde_json::to_string(tool).unwrap_or_default());
    }
    if let Some(schema) = &request.answer_schema {
        text.push_str(&schema.schema.to_string());
    }
    estimate(&text) + FRAME * (1 + request.messages.len() as u64)
}

fn push_calls(text: &mut String, calls: &[ToolCall]) {
    for call in calls {
        text.push_str(call.name.as_str());
        text.push_str(&call.arguments.to_string());
    }
}

/// An object of optional fields; anything else is read as the default. Parsed in one pass, because an intermediate `Value`
/// would build maps for every answer.
#[derive(Debug, Default)]
pub(super) struct Lenient<T>(pub T);

impl<'de, T: Default + Deserialize<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectOrDefault<T>(PhantomData<T>);

        impl<'de, T: Default + Deserialize<'de>> Visitor<'de> for ObjectOrDefault<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<T, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(T::default())
            }

            fn visit_unit<E: de::Error>(self) -> Result<T, E> {
                Ok(T::default())
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<T, E> {
                Ok(T::default())
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<T, E> {
                Ok(T::default())
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<T, E> {
                Ok(T::default())
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<T, E> {
                Ok(T::default())
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<T, E> {
                Ok(T::default())
            }
        }

        deserializer.deserialize_any(ObjectOrDefault(PhantomData)).map(Self)
    }
}

/// A number of tokens, as an integer, a float or a string; `None` if it is impossibly large.
pub(super) fn tokens(value: &Value) -> Option<u64> {
    const MOST: f64 = 1e12;
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (0.0..=MOST).contains(&number).then(|| number.ceil() as u64)
}

/// An id, as a string or a number; `None` if there is none.
pub(super) fn identifier(value: &Value) -> Option<String> {
    match value {
        Value::String(id) if !id.is_empty() => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::samples;
    use super::*;

    #[test]
    fn a_text_is_estimated_by_its_tokens_and_a_long_one_by_its_beginning() {
        assert_eq!(estimate(""), 0);
        let sentence = "Where is my order? It was sent three days ago. ";
        let few = estimate(sentence);
        assert!((8..=14).contains(&few), "{few}");
        let many = estimate(&sentence.repeat(100_000));
        assert!((800_000..=1_400_000).contains(&many), "{many}");
        assert!(estimate(&"ä".repeat(100_000)) > 0, "no character is cut in two");
    }

    #[test]
    fn all_of_a_request_is_estimated() {
        let (small, large) = (samples::question(), samples::conversation());
        assert!(estimate_request(&small) < estimate_request(&large));
        assert!((10..40).contains(&estimate_request(&small)), "{}", estimate_request(&small));
    }

    #[test]
    fn anything_but_an_object_is_read_as_the_default() {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct Fields {
            count: Value,
            rest: Value,
        }
        let read = |text: &str| serde_json::from_str::<(Lenient<Fields>, u8)>(&format!("[{text}, 7]")).unwrap().0.0;
        for other in ["null", "true", "-1", "1", "1.5", "\"text\"", "[]", "[[1], {\"count\": 2}]", "{}"] {
            assert!(read(other).count.is_null(), "{other}");
        }
        let fields = read(r#"{"more": [{}], "count": 3, "rest": {"a": 1}}"#);
        assert_eq!((fields.count, fields.rest), (json!(3), json!({"a": 1})));
    }

    #[test]
    fn counts_and_ids_are_read_leniently() {
        assert_eq!(tokens(&json!(5)), Some(5));
        assert_eq!(tokens(&json!(5.0)), Some(5));
        assert_eq!(tokens(&json!("5")), Some(5));
        for nonsense in [json!(-1), json!(1e300), json!(null), json!("many"), json!([1])] {
            assert_eq!(tokens(&nonsense), None, "{nonsense}");
        }
        assert_eq!(identifier(&json!(7)).as_deref(), Some("7"));
        assert_eq!(identifier(&json!("")), None);
    }
}
