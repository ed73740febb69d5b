//! Writes each event as one line, whatever untrusted text it contains: no text can forge another event or control the terminal.

use std::fmt::Write as _;
use std::io::{self, Write};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::LogFormat;
use whetstone_domain::presentable::is_obeyed;

/// Creates writers that write each event as one line.
pub(super) struct Lines<W> {
    pub(super) inner: W,
    pub(super) format: LogFormat,
    /// Whether the formatter uses colors.
    pub(super) colour: bool,
}

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for Lines<W> {
    type Writer = Line<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        Line { inner: self.inner.make_writer(), format: self.format, colour: self.colour }
    }

    fn make_writer_for(&'w self, meta: &Metadata<'_>) -> Self::Writer {
        Line { inner: self.inner.make_writer_for(meta), format: self.format, colour: self.colour }
    }
}

/// Writes one event. The formatter passes it as a whole, with a line break at its end.
pub(super) struct Line<W> {
    inner: W,
    format: LogFormat,
    colour: bool,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = String::from_utf8_lossy(bytes);
        let (event, end) = match written.strip_suffix('\n') {
            Some(event) => (event, "\n"),
            None => (&*written, ""),
        };
        if event.chars().any(is_obeyed) {
            let mut line = escaped(event, self.format, self.colour);
            line.push_str(end);
            self.inner.write_all(line.as_bytes())?;
        } else {
            self.inner.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The event with control characters escaped: as in JSON if it is JSON, otherwise as in Rust.
fn escaped(event: &str, format: LogFormat, colour: bool) -> String {
    let mut line = String::with_capacity(event.len() + 32);
    let mut rest = event;
    while let Some(letter) = rest.chars().next() {
        let painted = if colour { paint(rest) } else { 0 };
        if painted > 0 {
            line.push_str(&rest[..painted]);
            rest = &rest[painted..];
            continue;
        }
        match (is_obeyed(letter), format) {
            (false, _) => line.push(letter),
            // Four digits suffice for all of them.
            (true, LogFormat::Json) => {
                let _ = write!(line, "\\u{:04x}", u32::from(letter));
            }
            (true, LogFormat::Text) => line.extend(letter.escape_default()),
        }
        rest = &rest[letter.len_utf8()..];
    }
    line
}

/// The length of the color code at the beginning of a text, or 0. The formatter escapes color codes in untrusted text itself.
fn paint(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\x1b[") else { return 0 };
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(parameters.len());
    if parameters[end..].starts_with('m') { "\x1b[".len() + end + 1 } else { 0 }
}
