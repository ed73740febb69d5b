//! Parses a transcript from the text that a judge gets: messages, tool calls and their results.
//!
//! The parser is lenient: turns begin with `user:`, `assistant:`, `assistant calls NAME(JSON)` or `tool NAME returned:` at
//! the start of a line, and all other lines continue the previous turn.

use serde_json::Value;

/// A message of the user and everything up to the next one.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Exchange {
    /// What the user said.
    pub user: String,
    /// The tools called, with their arguments (`Null` if they are not JSON).
    pub calls: Vec<(String, Value)>,
    /// What the tools returned.
    pub results: Vec<String>,
    /// What the assistant said.
    pub answer: String,
}

/// The transcript in a request: inside `<transcript …>`, or the whole text if there is no such tag.
pub(super) fn fenced(text: &str) -> &str {
    let Some(open) = text.find("<transcript") else { return text };
    let inside = text[open..].find('>').map_or(open, |end| open + end + 1);
    let close = text[inside..].rfind("</transcript").map_or(text.len(), |at| inside + at);
    &text[inside..close]
}

/// The exchanges of a transcript, in order.
pub(super) fn exchanges(transcript: &str) -> Vec<Exchange> {
    let mut exchanges: Vec<Exchange> = Vec::new();
    for turn in turns(transcript) {
        let (who, text) = (turn.who, turn.text.trim().to_owned());
        if matches!(who, Who::User) {
            exchanges.push(Exchange { user: text, ..Exchange::default() });
            continue;
        }
        if exchanges.is_empty() {
            exchanges.push(Exchange::default());
        }
        let Some(exchange) = exchanges.last_mut() else { continue };
        match who {
            Who::User => {}
            Who::Assistant if exchange.answer.is_empty() => exchange.answer = text,
            Who::Assistant => exchange.answer = format!("{}\n{text}", exchange.answer),
            Who::Call => {
                let (name, arguments) = text.split_once('(').unwrap_or((&text, ""));
                let arguments = arguments.trim_end().trim_end_matches(')');
                let arguments = serde_json::from_str(arguments).unwrap_or_default();
                exchange.calls.push((name.trim().to_owned(), arguments));
            }
            Who::Result => exchange.results.push(text),
        }
    }
    exchanges
}

#[derive(Clone, Copy)]
enum Who {
    User,
    Assistant,
    Call,
    Result,
}

struct SpokenTurn {
    who: Who,
    text: String,
}

fn turns(transcript: &str) -> Vec<SpokenTurn> {
    let mut turns: Vec<SpokenTurn> = Vec::new();
    for line in transcript.lines() {
        if let Some((who, text)) = opening(line) {
            turns.push(SpokenTurn { who, text: text.to_owned() });
        } else if let Some(turn) = turns.last_mut() {
            turn.text.push('\n');
            turn.text.push_str(line.strip_prefix("  ").unwrap_or(line));
        }
    }
    turns
}

/// The speaker whose turn begins on this line, and the text on it.
fn opening(line: &str) -> Option<(Who, &str)> {
    if let Some(text) = line.strip_prefix("user:") {
        return Some((Who::User, text));
    }
    if let Some(text) = line.strip_prefix("assistant:") {
        return Some((Who::Assistant, text));
    }
    if let Some(call) = line.strip_prefix("assistant calls ") {
        return Some((Who::Call, call));
    }
    let (name, rest) = line.strip_prefix("tool ")?.split_once(' ')?;
    let text = rest.strip_prefix("returned:").or_else(|| rest.strip_prefix("failed:"))?;
    (!name.is_empty()).then_some((Who::Result, text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_transcript_is_read_back_as_it_is_shown_to_a_judge() {
        let text = "# The conversation\n\n<transcript id=\"abc\">\nuser: Refund A-1,\n  please.\nassistant calls \
                    find({\"q\":\"a)\\nb\"})\ntool find returned: {\"ok\":\n  true}\nassistant: Done.\nuser: \
                    Thanks\nassistant: You are welcome.\n</transcript id=\"abc\">\n\nGrade it.";
        let exchanges = exchanges(fenced(text));
        assert_eq!(exchanges.len(), 2);
        assert_eq!(
            exchanges[0],
            Exchange {
                user: "Refund A-1,\nplease.".to_owned(),
                calls: vec![("find".to_owned(), json!({"q": "a)\nb"}))],
                results: vec!["{\"ok\":\ntrue}".to_owned()],
                answer: "Done.".to_owned(),
            }
        );
        assert_eq!(exchanges[1].answer, "You are welcome.");
    }
}
