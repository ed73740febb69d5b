//! Logs and spans: to standard error, as text or as JSON lines.
//!
//! `RUST_LOG` sets the log levels, in the syntax of
//! [`EnvFilter`](https://docs.rs/tracing-subscriber/latest/tracing_subscriber/filter/struct.EnvFilter.html), such as
//! `whetstone=debug`. By default, warnings and errors are logged. Standard output is reserved for the output of commands.

mod lines;
mod metered;
pub(crate) mod metrics;

pub(crate) use self::metered::{Metered, Timed};

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;

use self::lines::Lines;

/// The environment variable with the log levels.
const FILTER: &str = "RUST_LOG";

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Human-readable text, colored on a terminal unless `NO_COLOR` is set
    #[default]
    Text,
    /// One JSON object per line, with the fields of the event at its top level, and its spans
    Json,
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TelemetryError {
    /// `RUST_LOG` is invalid.
    #[error("invalid {FILTER}={value:?}: {error}; write it like info or whetstone=debug,warn")]
    Filter {
        /// Its value.
        value: String,
        /// What is wrong with it.
        #[source]
        error: ParseError,
    },
    /// It was set up already.
    #[error("logging was already set up in this process")]
    Twice,
}

/// Logs events and spans on standard error from now on. May be called once in a process. `default` is the filter if
/// `RUST_LOG` is not set.
///
/// # Errors
/// [`TelemetryError`] if `RUST_LOG` is invalid, and on the second call.
pub(crate) fn init(format: LogFormat, default: &str) -> Result<(), TelemetryError> {
    let set = std::env::var(FILTER).ok().filter(|value| !value.is_empty());
    let filter = filter(set.as_deref().unwrap_or(default))?;
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing::subscriber::set_global_default(subscriber(format, filter, colour, io::stderr))
        .map_err(|_| TelemetryError::Twice)
}

fn filter(value: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .with_default_directive(LevelFilter::WARN.into())
        .parse(value)
        // The client warns with the whole of an answer that it cannot read, and that may be a Secret.
        .map(|filter| filter.add_directive("kube_client::client=error".parse().expect("a directive")))
        .map_err(|error| TelemetryError::Filter { value: value.to_owned(), error })
}

fn subscriber<W>(format: LogFormat, filter: EnvFilter, colour: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let writer = Lines { inner: writer, format, colour };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(colour);
    match format {
        LogFormat::Text => Box::new(lines.finish()),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_current_span(false).finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged of a debug event and a warning inside a span.
    fn logged(format: LogFormat, rust_log: &str) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = subscriber(format, filter(rust_log).unwrap(), false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::error_span!("cycle", object = "default/bot").entered();
            tracing::debug!("details");
            tracing::warn!(model = "judge", "slow");
        });
        String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn warnings_are_logged_unless_rust_log_asks_for_more_or_less() {
        let count = |rust_log| logged(LogFormat::Text, rust_log).lines().count();
        assert_eq!([count(""), count("whetstone=debug"), count("off")], [1, 2, 0]);
    }

    #[test]
    fn a_json_line_has_its_fields_at_the_top_and_its_spans() {
        let line: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json, "")).unwrap();
        assert_eq!(
            (&line["level"], &line["message"], &line["model"]),
            (&"WARN".into(), &"slow".into(), &"judge".into())
        );
        assert_eq!(line["spans"][0]["object"], "default/bot");
    }

    #[test]
    fn an_event_is_one_line_whatever_a_stranger_writes_into_it() {
        let forged = "x\n2026-11-24T10:00:00Z ERROR whetstone: forged\r\u{1b}[2J\u{9b}1m\u{2028}\u{202e}end";
        for (format, colour) in [(LogFormat::Text, false), (LogFormat::Text, true), (LogFormat::Json, false)] {
            let buffer = Buffer::default();
            let writer = buffer.clone();
            let subscriber = subscriber(format, filter("").unwrap(), colour, move || writer.clone());
            tracing::subscriber::with_default(subscriber, || {
                let _span = tracing::error_span!("object", name = forged).entered();
                tracing::warn!(annotation = forged, shown = %forged, "{forged}");
            });
            let written = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
            assert_eq!(written.matches('\n').count(), 1, "{written:?}");
            assert!(written.ends_with('\n') && written.contains("end"), "{written:?}");
            let obeyed = |c: &char| whetstone_domain::presentable::is_obeyed(*c) && *c != '\n';
            let left: String = written.chars().filter(|c| obeyed(c) && !(colour && *c == '\u{1b}')).collect();
            assert_eq!(left, "", "{written:?}");
            assert!(!written.contains("\u{1b}[2J"), "{written:?}");
            if format == LogFormat::Json {
                let line: serde_json::Value = serde_json::from_str(&written).unwrap();
                assert_eq!((&line["message"], &line["annotation"]), (&forged.into(), &forged.into()));
            }
        }
    }

    #[test]
    fn an_invalid_filter_is_refused_with_an_example() {
        let error = filter("whetstone=loud").unwrap_err().to_string();
        assert!(error.starts_with("invalid RUST_LOG=\"whetstone=loud\": "), "{error}");
    }
}
