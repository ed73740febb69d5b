//! Parses answers of Prometheus (<https://prometheus.io/docs/prometheus/latest/querying/api/>).

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use whetstone_decide::watch::{Answer, Gap};

/// The result of a query.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    /// The number, or the reason why there is none.
    pub answer: Answer,
    /// Whether the query returns a scalar rather than a vector.
    pub is_scalar: bool,
}

/// Why a body has no result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Prometheus returned an error.
    Refused {
        /// `errorType`, such as `bad_data`.
        kind: String,
        /// `error`.
        words: String,
    },
    /// The query does not return a number: the problem with its remedy.
    Unfit(String),
    /// It is not an answer of this API.
    Foreign,
}

/// The top-level fields. `warnings` and `infos` do not affect the result.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    status: String,
    #[serde(borrow)]
    data: Option<Data<'a>>,
    error_type: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    result_type: String,
    #[serde(borrow)]
    result: &'a RawValue,
}

/// A time in seconds, and a number as a string.
type Point = (f64, String);

#[derive(Deserialize)]
struct Series {
    value: Option<Point>,
    histogram: Option<IgnoredAny>,
}

/// Parses a body.
pub(super) fn read(body: &[u8]) -> Result<Found, Unanswered> {
    let body: Body<'_> = serde_json::from_slice(body).map_err(|_| Unanswered::Foreign)?;
    match (body.status.as_str(), body.data) {
        ("success", Some(data)) => result(&data.result_type, data.result.get()),
        ("error", _) => Err(Unanswered::Refused {
            kind: body.error_type.unwrap_or_default(),
            words: body.error.unwrap_or_default(),
        }),
        _ => Err(Unanswered::Foreign),
    }
}

fn result(kind: &str, text: &str) -> Result<Found, Unanswered> {
    let unfit = |what: &str| Err(Unanswered::Unfit(what.to_owned()));
    match kind {
        "scalar" => {
            let point = serde_json::from_str(text).map_err(|_| Unanswered::Foreign)?;
            Ok(Found { answer: number(point)?, is_scalar: true })
        }
        "vector" => {
            let mut series: Vec<Series> = serde_json::from_str(text).map_err(|_| Unanswered::Foreign)?;
            let answer = match (series.len(), series.pop()) {
                (1, Some(Series { value: Some(point), .. })) => number(point)?,
                (1, Some(Series { histogram: Some(_), .. })) => {
                    return unfit("it returns a histogram; reduce it to a number, for example with histogram_quantile");
                }
                (1, _) => return Err(Unanswered::Foreign),
                (0, _) => Err(Gap::NoData),
                (count, _) => Err(Gap::SeveralSeries(count)),
            };
            Ok(Found { answer, is_scalar: false })
        }
        "matrix" => unfit("it returns a range of values; reduce it to one, for example with rate or avg_over_time"),
        "string" => unfit("it returns a string; write a query that returns a number"),
        _ => Err(Unanswered::Foreign),
    }
}

fn number((_, text): Point) -> Result<Answer, Unanswered> {
    let number: f64 = text.parse().map_err(|_| Unanswered::Foreign)?;
    Ok(if number.is_finite() { Ok(number) } else { Err(Gap::NotANumber(text)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(body: &str) -> Answer {
        let found = read(body.as_bytes()).unwrap_or_else(|why| panic!("{body}: {why:?}"));
        assert!(!found.is_scalar);
        found.answer
    }

    #[test]
    fn one_series_is_a_number() {
        let body = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"job":"agent"},"value":[1764000000.781,"0.132"]}]}}"#;
        assert_eq!(vector(body), Ok(0.132));
        let body = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1764000000,"1e-07"]}]},"warnings":["partial response"],"infos":["metric might not be a counter"]}"#;
        assert_eq!(vector(body), Ok(1e-7));
    }

    #[test]
    fn a_scalar_is_a_number_and_known_as_one() {
        let body = br#"{"status":"success","data":{"resultType":"scalar","result":[1764000000.781,"42"]}}"#;
        assert_eq!(read(body), Ok(Found { answer: Ok(42.0), is_scalar: true }));
        let body = br#"{"status":"success","data":{"resultType":"scalar","result":[1764000000.781,"NaN"]}}"#;
        assert_eq!(read(body), Ok(Found { answer: Err(Gap::NotANumber("NaN".to_owned())), is_scalar: true }));
    }

    #[test]
    fn no_series_several_and_no_number_are_gaps() {
        assert_eq!(vector(r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#), Err(Gap::NoData));
        let body = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"1"},"value":[1,"1"]},{"metric":{"a":"2"},"value":[1,"2"]}]}}"#;
        assert_eq!(vector(body), Err(Gap::SeveralSeries(2)));
        for text in ["NaN", "+Inf", "-Inf", "Inf", "nan", "1e999"] {
            let body = format!(
                r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[1,"{text}"]}}]}}}}"#
            );
            assert_eq!(vector(&body), Err(Gap::NotANumber(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn an_error_is_reported_in_its_own_words() {
        let body = br#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:4: parse error: unexpected end of input"}"#;
        let words = "invalid parameter \"query\": 1:4: parse error: unexpected end of input".to_owned();
        assert_eq!(read(body), Err(Unanswered::Refused { kind: "bad_data".to_owned(), words }));
        let body = br#"{"status":"error","errorType":"execution","error":"found duplicate series","data":{"resultType":"vector","result":[]}}"#;
        assert!(matches!(read(body), Err(Unanswered::Refused { .. })), "an error with data is an error");
    }

    #[test]
    fn a_result_that_is_not_a_number_is_reported() {
        for body in [
            r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
            r#"{"status":"success","data":{"resultType":"string","result":[1,"5"]}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{"count":"3"}]}]}}"#,
        ] {
            assert!(matches!(read(body.as_bytes()), Err(Unanswered::Unfit(_))), "{body}");
        }
    }

    #[test]
    fn anything_else_is_not_an_answer() {
        for body in [
            "",
            "<html></html>",
            "null",
            "[]",
            "{}",
            r#"{"status":"success"}"#,
            r#"{"status":"success","data":null}"#,
            r#"{"status":"ok","data":{"resultType":"vector","result":[]}}"#,
            r#"{"status":"success","data":{"resultType":"vector"}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":{}}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{}}]}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,1]}]}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1","2"]}]}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"soon"]}]}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,""]}]}}"#,
            r#"{"status":"success","data":{"resultType":"scalar","result":"1"}}"#,
            r#"{"status":"success","data":{"resultType":"tensor","result":[]}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[]}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[]}} and more"#,
        ] {
            assert_eq!(read(body.as_bytes()), Err(Unanswered::Foreign), "{body}");
        }
    }
}
