//! The report of a cycle as text: a summary for the terminal, and Markdown for a pull request or a job summary.

mod patches;

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, Table, TableStyle, presets};

use self::patches::{dropped_line, markdown_attempts, markdown_critical};
use crate::web::terminal::{harmless, line};
use whetstone_decide::conclude::{Reason, Verdict};
use whetstone_domain::cluster::{Grouped, Grouping, ThresholdFrom};
use whetstone_domain::words::counted;
use whetstone_engine::report::{AnswerCounts, ClusterReport, Kind, MeasuredOn, Report, RoundGrouping, Side};

/// Clusters that the summary lists.
const SUMMARY_CLUSTERS: usize = 12;

/// Scenario ids that a cluster lists in the Markdown report.
const LISTED_SCENARIOS: usize = 12;

/// A summary that fits on a screen.
#[must_use]
pub(crate) fn summary(report: &Report) -> String {
    let mut text = format!("{}\n\n", headline(report));
    let _ = writeln!(text, "{}", scores(report, presets::NOTHING));
    for unusual in answers(report) {
        let _ = writeln!(text, " {unusual}");
    }
    text.push_str("\nreasons\n");
    for reason in &report.reasons {
        let _ = writeln!(text, "  {} {}", mark(reason), line(&reason.message));
    }
    if !report.found.clusters.is_empty() {
        text.push_str("\nfailures of the champion\n");
        for cluster in report.found.clusters.iter().take(SUMMARY_CLUSTERS) {
            let _ = writeln!(text, "  {:>4} × {}{}", cluster.size, line(&cluster.label), round_of(report, cluster));
        }
        if let Some(more) = report.found.clusters.len().checked_sub(SUMMARY_CLUSTERS).filter(|more| *more > 0) {
            let _ = writeln!(text, "  and {}", counted(more, "more cluster"));
        }
    }
    if let Some(critical) = report.found.critical.as_ref().filter(|critical| !critical.dropped.is_empty()) {
        text.push_str("\nedits left out because they break critical scenarios\n");
        for dropped in &critical.dropped {
            let _ = writeln!(text, "  {}", line(&dropped_line(dropped)));
        }
    }
    if let Some(challenger) = &report.challenger
        && !challenger.failing.is_empty()
    {
        let _ = writeln!(text, "\nscenarios that the challenger still fails\n  {}", listed(&challenger.failing, line));
    }
    if let Some(challenger) = &report.challenger
        && !challenger.diff.is_empty()
    {
        text.push_str("\nchanges in the challenger\n");
        for changed in changed_lines(&challenger.diff) {
            let _ = writeln!(text, "  {}", harmless(changed));
        }
    }
    let _ = writeln!(text, "\n{}", bill(report));
    text
}

/// The whole report as Markdown.
#[must_use]
pub(crate) fn markdown(report: &Report) -> String {
    let mut text = format!("# {}\n\n", headline(report));
    let cycle: String = report.cycle.chars().take(12).collect();
    let _ = writeln!(text, "{}, cycle `{cycle}`\n", code(&report.object));
    text.push_str("## Reasons\n\n");
    for reason in &report.reasons {
        let _ = writeln!(text, "- {} **{}**: {}", mark(reason), reason.code, escaped(&reason.message));
    }
    let _ = writeln!(text, "\n## Scores\n\n{}", scores(report, presets::ASCII_MARKDOWN));
    let _ = writeln!(text, "\n{}", measured_on(&report.champion));
    for unusual in answers(report) {
        let _ = writeln!(text, "\n{unusual}");
    }
    if let Some(challenger) = &report.challenger {
        markdown_challenger(challenger, &mut text);
    }
    markdown_critical(report, &mut text);
    markdown_clusters(report, &mut text);
    markdown_attempts(report, &mut text);
    markdown_bill(report, &mut text);
    if !report.warnings.is_empty() {
        text.push_str("\n## Warnings\n\n");
        for warning in &report.warnings {
            let _ = writeln!(text, "- {}", escaped(warning));
        }
    }
    text
}

/// The first few ids, escaped by `fit`, and the number of others.
fn listed(ids: &[String], fit: impl Fn(&str) -> String) -> String {
    let first: Vec<String> = ids.iter().take(LISTED_SCENARIOS).map(|id| fit(id)).collect();
    let more = ids.len().saturating_sub(LISTED_SCENARIOS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", first.join(", "))
}

fn headline(report: &Report) -> String {
    let champion = &report.champion.version;
    match (report.verdict, &report.challenger) {
        // Reports of earlier versions have the verdict `promoted` for a comparison.
        (Verdict::Passed, _) => format!("Passed: the challenger is better than {champion}"),
        (Verdict::Promoted, _) if report.kind == Kind::Compare => {
            format!("Passed: the challenger is better than {champion}")
        }
        (Verdict::Promoted, Some(challenger)) => format!("Promoted: {} replaces {champion}", challenger.version),
        (Verdict::Promoted, None) => "Promoted".to_owned(),
        (Verdict::Kept, _) => format!("Kept: {champion} remains the champion"),
        (Verdict::BelowThreshold, _) => format!("Kept, below its threshold: {champion} remains the champion"),
        (Verdict::Inconclusive, _) => format!("Inconclusive: {champion} remains the champion for now"),
    }
}

fn mark(reason: &Reason) -> &'static str {
    match reason.holds {
        Some(true) => "✓",
        Some(false) => "✗",
        None => "·",
    }
}

/// A sentence about the scenarios behind the scores.
fn measured_on(side: &Side) -> String {
    let what = match side.measured_on {
        MeasuredOn::HeldOut => "held out, never seen by the optimizer",
        MeasuredOn::Training => "training and regression parts",
        MeasuredOn::All => "all of them",
    };
    let all = counted(side.scenarios, "scenario");
    match side.scenarios.saturating_sub(side.unscored) {
        0 => format!("None of {all} could be scored ({what})."),
        scored => {
            let of =
                if side.unscored == 0 { all } else { format!("{scored} of {all}, because the others have no score") };
            format!(
                "Measured on {of} ({what}); the scores are means from 0 to 1, weighted by `weight` of the scenarios."
            )
        }
    }
}

/// One row for the aggregate, the pass rate and each dimension; one column for champion and challenger each.
fn scores(report: &Report, style: TableStyle) -> Table {
    let sides: Vec<&Side> = std::iter::once(&report.champion).chain(&report.challenger).collect();
    let mut table = Table::new();
    table.load_style(style);
    let names = ["champion", "challenger"];
    let mut header = vec![Cell::new("")];
    header.extend(sides.iter().zip(names).map(|(side, name)| right(format!("{name} {}", side.version))));
    if sides.len() == 2 {
        header.push(right("difference".to_owned()));
    }
    table.set_header(header);
    let mut row = |name: &str, figure: &dyn Fn(&Side) -> Option<f64>| {
        let values: Vec<Option<f64>> = sides.iter().map(|side| figure(side)).collect();
        let mut cells = vec![Cell::new(name)];
        cells.extend(values.iter().map(|value| right(value.map_or("—".to_owned(), |value| format!("{value:.3}")))));
        if let [Some(before), Some(after)] = values[..] {
            cells.push(right(format!("{:+.3}", after - before)));
        }
        table.add_row(cells);
    };
    row("score", &|side| side.score);
    row("pass rate", &|side| side.pass_rate);
    for dimension in report.champion.dimensions.keys() {
        row(&line(dimension).replace('|', "\\|"), &|side| side.dimensions.get(dimension).copied());
    }
    table
}

/// For each side, the number of runs with unusual answers. They are scored like all others, and may explain a score.
fn answers(report: &Report) -> Vec<String> {
    let sides = [("champion", Some(&report.champion)), ("challenger", report.challenger.as_ref())];
    let line = |(name, side): (&str, Option<&Side>)| {
        let AnswerCounts { silent, cut_short, filtered, refused } = side?.answers;
        let kinds = [
            (silent, "empty"),
            (cut_short, "cut off at the token limit"),
            (filtered, "stopped by the content filter"),
            (refused, "refused by the model"),
        ];
        let found = kinds.iter().filter(|(runs, _)| *runs > 0);
        let found: Vec<String> = found.map(|(runs, what)| format!("{what} in {}", counted(*runs, "run"))).collect();
        (!found.is_empty()).then(|| format!("answers of the {name}: {}", found.join(", ")))
    };
    sides.into_iter().filter_map(line).collect()
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn round_of(report: &Report, cluster: &ClusterReport) -> String {
    let several = report.found.clusters.iter().any(|cluster| cluster.round > 1);
    if several { format!("  (round {})", cluster.round) } else { String::new() }
}

/// The added and removed lines of a diff.
fn changed_lines(diff: &str) -> impl Iterator<Item = &str> {
    diff.lines().filter(|line| {
        (line.starts_with('+') || line.starts_with('-')) && !line.starts_with("+++") && !line.starts_with("---")
    })
}

fn bill(report: &Report) -> String {
    let calls = &report.calls;
    format!(
        "{}, {} of them from the ledger{}; paid {} {}; {:.1} s",
        counted(calls.total, "call"),
        calls.from_ledger,
        estimated(calls.estimated),
        report.cost.paid,
        report.cost.currency,
        report.seconds
    )
}

/// Marks figures that are based on estimates.
fn estimated(answers: u64) -> String {
    if answers == 0 { String::new() } else { format!(" ({} with estimated tokens)", counted(answers, "answer")) }
}

fn markdown_challenger(challenger: &Side, text: &mut String) {
    let _ = writeln!(text, "\n## The challenger\n");
    if !challenger.addresses.is_empty() {
        text.push_str("It addresses:\n\n");
        for label in &challenger.addresses {
            let _ = writeln!(text, "- {}", escaped(label));
        }
        text.push('\n');
    }
    if !challenger.failing.is_empty() {
        let _ = writeln!(text, "It still fails: {}\n", listed(&challenger.failing, escaped));
    }
    if !challenger.diff.is_empty() {
        let fence = fence_for(&challenger.diff);
        let _ = writeln!(text, "{fence}diff");
        for line in challenger.diff.trim_end().lines() {
            let _ = writeln!(text, "{}", harmless(line));
        }
        let _ = writeln!(text, "{fence}");
    }
}

fn markdown_clusters(report: &Report, text: &mut String) {
    if report.found.clusters.is_empty() {
        return;
    }
    text.push_str("\n## Failures of the champion\n\n");
    for grouping in &report.found.groupings {
        let _ = writeln!(text, "{}", how_grouped(report, grouping));
    }
    for cluster in &report.found.clusters {
        let _ = writeln!(text, "\n### {} × {}{}\n", cluster.size, escaped(&cluster.label), round_of(report, cluster));
        let _ = writeln!(text, "Cluster {}. Scenarios: {}", cluster.id, listed(&cluster.scenarios, escaped));
        if let Some(example) = cluster.examples.first() {
            let _ = writeln!(text, "\nFor example {}:\n", code(example.scenario.as_str()));
            for (who, said) in [("user", &example.request), ("agent", &example.answer), ("why", &example.evidence)] {
                if !said.is_empty() {
                    let _ = writeln!(text, "- {who}: {}", inline(said));
                }
            }
        }
    }
}

/// A sentence about how the failures of a round were grouped.
fn how_grouped(report: &Report, of_round: &RoundGrouping) -> String {
    let Grouping { of, failures, threshold, from, silhouette, groups } = &of_round.grouping;
    let of = match of {
        Grouped::All => "",
        Grouped::Found => " with a wrong tool call or a failed check",
        Grouped::Judged => " found only by a judge",
    };
    let from = match (from, silhouette) {
        (ThresholdFrom::Spec, _) => "set in the spec".to_owned(),
        (ThresholdFrom::Silhouette, Some(silhouette)) => {
            format!("chosen because it separates the clusters best, silhouette {silhouette:.2}")
        }
        (ThresholdFrom::Silhouette, None) => "chosen from the failures".to_owned(),
        (ThresholdFrom::Default, _) => "the default, because the failures do not form separate clusters".to_owned(),
    };
    let several = report.found.groupings.iter().any(|grouping| grouping.round > 1);
    let round = if several { format!("Round {}: ", of_round.round) } else { String::new() };
    format!(
        "{round}{}{of}, in {}; similarity threshold {threshold:.2} ({from}).",
        counted(*failures, "failure"),
        counted(*groups, "cluster")
    )
}

fn markdown_bill(report: &Report, text: &mut String) {
    let _ = writeln!(text, "\n## Calls and cost\n\n{}\n", bill(report));
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["phase", "answers", "from the ledger", "cost"]);
    for (phase, calls) in &report.calls.by_phase {
        let tally = &calls.tally;
        let paid = format!("{} {}{}", tally.paid, report.cost.currency, estimated(tally.estimated));
        table.add_row([phase.clone(), tally.total.to_string(), tally.from_ledger.to_string(), paid]);
    }
    let _ = writeln!(text, "{table}");
}

/// Untrusted text on one line, shortened, with Markdown escaped.
fn inline(text: &str) -> String {
    const CHARS: usize = 300;
    let whole = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match whole.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{} …", escaped(&whole[..end])),
        None => escaped(&whole),
    }
}

/// The same, not shortened.
fn escaped(text: &str) -> String {
    let line = line(text);
    let mut escaped = String::with_capacity(line.len() + 8);
    let mut before = None;
    let mut letters = line.chars().peekable();
    while let Some(c) = letters.next() {
        // Within a word it is not markup.
        let is_within = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let is_mark = match c {
            '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '!' | '#' => true,
            '_' => !(is_within(before) && is_within(letters.peek().copied())),
            _ => false,
        };
        if is_mark {
            escaped.push('\\');
        }
        escaped.push(c);
        before = Some(c);
    }
    escaped
}

/// Untrusted text as inline code.
fn code(text: &str) -> String {
    let text = line(text);
    let fence = "`".repeat(text.split(|c| c != '`').map(str::len).max().unwrap_or(0) + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// A fence longer than any run of backticks in the text.
fn fence_for(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_text_cannot_become_markdown() {
        assert_eq!(inline("see [this](http://x)\n# now"), "see \\[this\\](http://x) \\# now");
        assert_eq!(inline("tool_compliance of _this_"), "tool_compliance of \\_this\\_");
    }

    #[test]
    fn code_cannot_end_before_its_end() {
        assert_eq!(code("refund-12"), "`refund-12`");
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("`\x1b[2J"), "`` `\u{fffd}[2J ``");
    }

    #[test]
    fn a_fence_is_longer_than_what_it_holds() {
        assert_eq!(fence_for("a ```` b"), "`````");
        assert_eq!(fence_for("plain"), "```");
    }
}
