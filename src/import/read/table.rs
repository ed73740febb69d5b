//! Tables: CSV files with a header.

use serde_json::{Map, Value};

use super::super::error::ImportError;
use super::super::note::Notes;
use super::{base, without_bom};
use whetstone_domain::words;

/// The rows of a CSV file with a header, each as an object of strings with its place. Cells are separated by commas, or by
/// semicolons or tabs if the header has those and no comma. A row with another length than the header is left out and
/// reported.
pub(crate) fn csv(file: &str, text: &str, notes: &mut Notes) -> Result<Vec<(String, Value)>, ImportError> {
    let text = without_bom(text);
    let mut reader = csv::ReaderBuilder::new().flexible(true).delimiter(delimiter(text)).from_reader(text.as_bytes());
    let failed = |error: &csv::Error| ImportError {
        file: file.to_owned(),
        item: error.position().map(|place| format!("line {}", place.line())).unwrap_or_default(),
        field: String::new(),
        problem: format!("is not CSV: {error}"),
        fix: "quote cells that contain commas or line breaks, and close every quotation mark".to_owned(),
    };
    let header = reader.headers().map_err(|error| failed(&error))?.clone();
    let columns: Vec<&str> = header.iter().map(str::trim).collect();
    for (index, column) in columns.iter().enumerate() {
        if columns[..index].contains(column) {
            notes.add(base(file), format!("duplicate column `{column}`"), "only the last column of a name is read");
        }
    }
    let mut rows = Vec::new();
    let (mut counted, mut line) = (0, 1);
    for row in reader.records() {
        let row = row.map_err(|error| failed(&error))?;
        // The reader's line number is that of the previous line while a line break has not been consumed.
        let at = row.position().map_or(0, |place| usize::try_from(place.byte()).unwrap_or(0));
        let begins = at + text.as_bytes()[at..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        line += text.as_bytes()[counted..begins].split(|byte| *byte == b'\n').count() - 1;
        counted = begins;
        if row.iter().all(str::is_empty) {
            continue;
        }
        if row.len() != columns.len() {
            notes.leave_out(ImportError {
                file: file.to_owned(),
                item: format!("line {line}"),
                field: String::new(),
                problem: format!("has {} where the header has {}", words::counted(row.len(), "cell"), columns.len()),
                fix: "give every row as many cells as the header, and quote cells that contain commas or line breaks"
                    .to_owned(),
            });
            continue;
        }
        let cells: Map<String, Value> =
            columns.iter().zip(&row).map(|(key, cell)| ((*key).to_owned(), Value::from(cell))).collect();
        rows.push((format!("line {line}"), Value::Object(cells)));
    }
    Ok(rows)
}

/// The separator of the header. Spreadsheets in many countries use semicolons.
pub(crate) fn delimiter(text: &str) -> u8 {
    let header = without_bom(text).lines().next().unwrap_or_default();
    let has = |c: char| header.contains(c);
    match (has(','), has(';'), has('\t')) {
        (false, true, _) => b';',
        (false, false, true) => b'\t',
        _ => b',',
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_read_whatever_divides_their_cells() {
        for text in ["\u{feff}a,b\r\n1,\"2\r\n3\"\r\n", "a;b\n1;\"2\r\n3\"\n", "a\tb\n1\t\"2\r\n3\"\n"] {
            let rows = csv("t.csv", text, &mut Notes::default()).unwrap();
            assert_eq!(rows, [("line 2".to_owned(), json!({"a": "1", "b": "2\r\n3"}))], "{text:?}");
        }
    }

    #[test]
    fn a_row_of_another_length_is_left_out_and_noted() {
        let mut notes = Notes::default();
        let rows = csv("t.csv", "a,b\n1,2,3\n1,2\n,\n1\n", &mut notes).unwrap();
        assert_eq!(rows.len(), 1);
        let (notes, refused) = notes.finish();
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(refused.unwrap().to_string().contains("has 3 cells where the header has 2"));
    }
}
