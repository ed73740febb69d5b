//! Decodes bytes to text, or reports why they are not text.

use super::super::error::ImportError;

/// The magic bytes of binary files, with a description and a remedy.
const NO_TEXT: [(&[u8], &str, &str); 6] = [
    (
        b"PK\x03\x04",
        "is a zip archive",
        "unpack it; convert an Inspect log (.eval) with `inspect log dump`, and a workbook (.xlsx) to CSV",
    ),
    (b"PK\x05\x06", "is an empty zip archive", "import the files that it should contain"),
    (b"\x1f\x8b", "is compressed with gzip", "unpack it with gunzip"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd", "unpack it with unzstd"),
    (b"PAR1", "is a Parquet file", "write it as JSONL, such as with duckdb or pandas"),
    (b"SQLite format 3\0", "is an SQLite database", "export what is in it as JSON or CSV"),
];

/// The text of a file: UTF-8, or UTF-16 with a byte order mark.
///
/// # Errors
/// [`ImportError`], with a remedy, for another encoding, an archive, or a Git LFS pointer.
pub(crate) fn decode(file: &str, bytes: Vec<u8>) -> Result<String, ImportError> {
    for (start, what, fix) in NO_TEXT {
        if bytes.starts_with(start) {
            return Err(ImportError::of_file(file, what, fix));
        }
    }
    let text = match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => utf_16(file, rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => utf_16(file, rest, u16::from_be_bytes)?,
        [_, 0, _, 0, ..] | [0, _, 0, _, ..] => {
            let fix = "save it as UTF-8, such as with iconv -f UTF-16 -t UTF-8";
            return Err(ImportError::of_file(file, "looks like UTF-16 without a byte order mark", fix));
        }
        _ => String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let line = 1 + error.as_bytes()[..at].split(|byte| *byte == b'\n').count() - 1;
            ImportError {
                item: format!("line {line}"),
                ..ImportError::of_file(
                    file,
                    format!(
                        "is not UTF-8: found byte {:#04x}; it may be Latin-1 or Windows-1252",
                        error.as_bytes()[at]
                    ),
                    "save it as UTF-8, such as with iconv -f WINDOWS-1252 -t UTF-8",
                )
            }
        })?,
    };
    if text.starts_with("version https://git-lfs.github.com/") {
        return Err(ImportError::of_file(
            file,
            "is a Git LFS pointer, not the file itself",
            "fetch the file with git lfs pull",
        ));
    }
    Ok(text)
}

fn utf_16(file: &str, bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, ImportError> {
    let units = bytes.chunks(2).map(|pair| match pair {
        [a, b] => unit([*a, *b]),
        // Half a unit is not text.
        _ => 0xd800,
    });
    char::decode_utf16(units)
        .collect::<Result<String, _>>()
        .map_err(|_| ImportError::of_file(file, "has a UTF-16 byte order mark but is not UTF-16", "save it as UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf_16_of(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(unit).collect()
    }

    #[test]
    fn texts_of_windows_are_read() {
        assert_eq!(decode("a", utf_16_of("\u{feff}Zürich 🙂", u16::to_le_bytes)).unwrap(), "Zürich 🙂");
        assert_eq!(decode("a", utf_16_of("\u{feff}Zürich 🙂", u16::to_be_bytes)).unwrap(), "Zürich 🙂");
        assert_eq!(decode("a", "\u{feff}Zürich".into()).unwrap(), "\u{feff}Zürich", "readers take the mark off");
    }

    #[test]
    fn a_binary_file_is_refused_with_a_remedy() {
        let refused = |bytes: &[u8]| decode("data/x.csv", bytes.to_vec()).unwrap_err().to_string();
        let errors = [
            refused(b"PK\x03\x04rest"),
            refused(b"\x1f\x8b\x08"),
            refused(b"PAR1"),
            refused(b"question\nWo ist Z\xfcrich?"),
            refused(&utf_16_of("abc", u16::to_le_bytes)),
            refused(&[0xff, 0xfe, 0x41]),
            refused(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
        ];
        insta::assert_snapshot!(errors.join("\n"));
    }
}
