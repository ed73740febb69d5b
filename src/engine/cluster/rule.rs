//! Rules: what the members of a cluster have in common and the other clusters do not, and a label that says so.

use std::collections::{BTreeMap, BTreeSet};

use super::{by_severity, evidence_beyond_findings, mistake, roots, words};
use whetstone_domain::cluster::{Cluster, Failure, Rule};
use whetstone_domain::ids::{DimensionName, ToolName};
use whetstone_domain::score::{CheckKind, FailedCheck, ToolError, ToolErrorKind};

/// The maximum number of terms in a rule.
const MAX_TERMS: usize = 6;
const MAX_TOOLS: usize = 3;
const MAX_ARGUMENTS: usize = 4;

/// The share of members above which something counts as common to them.
const COMMON: f64 = 0.5;
/// The share of members from which an argument or a term is named.
const FREQUENT: f64 = 0.4;
/// The extra weight of an error that is a member's most severe one: just enough to break ties.
const TIE: f64 = 1e-6;

/// Turns groups into clusters, in their order. All labels are different.
pub(super) fn describe(groups: Vec<Vec<Failure>>) -> Vec<Cluster> {
    let words: Vec<Words> = groups.iter().map(|group| Words::of(group)).collect();
    let mut labels = BTreeSet::new();
    let mut clusters = Vec::with_capacity(groups.len());
    for (index, failures) in groups.into_iter().enumerate() {
        let common = common_mistake(&failures);
        let check = if common.is_none() { common_check(&failures) } else { None };
        let rule = rule_of(&failures, common.as_ref(), check.as_ref(), telling_terms(&words, index));
        let label = unique(&label_of(&rule, common.as_ref(), check.as_ref(), &failures), &mut labels);
        clusters.push(Cluster { id: format!("c{}", index + 1), label, rule, failures });
    }
    clusters
}

fn rule_of(
    failures: &[Failure],
    common: Option<&CommonMistake>,
    check: Option<&CommonCheck>,
    terms: Vec<String>,
) -> Rule {
    let worst = || {
        most_frequent(failures.iter().flat_map(|failure| {
            // The worst dimension of a failure counts more than those that failed along with it.
            failure.dimensions.iter().enumerate().map(|(rank, name)| (name.clone(), if rank == 0 { 1.0 } else { 0.5 }))
        }))
    };
    // The mistake and the check are named together with the dimension in which they were found.
    let dimension = found_in(failures, common, check).or_else(worst);
    let arguments = common.map(|common| common_arguments(failures, common)).unwrap_or_default();
    // The words of tool and argument names say nothing new as terms.
    let tools = failures.iter().flat_map(|failure| &failure.tool_errors).map(|error| error.tool.as_str());
    let expected = check.and_then(|check| check.expected.as_deref());
    let known: BTreeSet<String> =
        tools.chain(arguments.iter().map(String::as_str)).chain(expected).flat_map(words::words).collect();
    Rule {
        dimension: dimension.map_or_else(|| "unknown".into(), |(name, _)| name),
        tool_error: common.map(|common| common.kind),
        tool: common.and_then(|common| common.tools.first().cloned()),
        arguments,
        check: check.map(CommonCheck::words),
        terms: terms.into_iter().filter(|term| !known.contains(term)).take(MAX_TERMS).collect(),
    }
}

/// The dimension in which most members have the common mistake or check.
fn found_in(
    failures: &[Failure],
    common: Option<&CommonMistake>,
    check: Option<&CommonCheck>,
) -> Option<(DimensionName, f64)> {
    let dimensions = failures.iter().flat_map(|failure| {
        let is_common = |error: &&ToolError| {
            let is_named = |common: &CommonMistake| common.tools.is_empty() || common.tools.contains(&error.tool);
            common.is_some_and(|common| error.kind == common.kind && is_named(common))
        };
        let is_checked = |failed: &&FailedCheck| {
            let is_named =
                |check: &CommonCheck| check.expected.as_ref().is_none_or(|expected| *expected == failed.expected);
            check.is_some_and(|check| failed.kind == check.kind && is_named(check))
        };
        let mistakes = failure.tool_errors.iter().filter(is_common).filter_map(|error| error.dimension.clone());
        let checks = failure.failed_checks.iter().filter(is_checked).filter_map(|check| check.dimension.clone());
        mistakes.chain(checks).collect::<BTreeSet<_>>()
    });
    most_frequent(dimensions.map(|dimension| (dimension, 1.0)))
}

/// The check that most members fail, or at least its kind.
struct CommonCheck {
    kind: CheckKind,
    expected: Option<String>,
}

impl CommonCheck {
    fn words(&self) -> String {
        let words = match (&self.expected, self.kind) {
            (Some(expected), CheckKind::Answer) => return expected.clone(),
            (Some(expected), _) => return words::cut(expected, 90),
            (None, CheckKind::Answer) => "a final answer",
            (None, CheckKind::Equals) => "the one right answer",
            (None, CheckKind::Contains) => "certain texts in the answer",
            (None, CheckKind::NotContains) => "certain texts not to be in the answer",
            (None, CheckKind::Regex) => "the answer to match certain patterns",
            (None, CheckKind::JsonSchema) => "JSON that satisfies a schema",
            (None, CheckKind::Number) => "certain numbers in the answer",
        };
        words.to_owned()
    }
}

fn common_check(failures: &[Failure]) -> Option<CommonCheck> {
    let is_common = |weight: f64| weight > COMMON * failures.len() as f64;
    let each = |of: fn(&FailedCheck) -> (CheckKind, Option<&str>)| {
        let seen = failures.iter().map(move |failure| failure.failed_checks.iter().map(of).collect::<BTreeSet<_>>());
        most_frequent(seen.flatten().map(|check| (check, 1.0))).filter(|(_, weight)| is_common(*weight))
    };
    let found = each(|check| (check.kind, Some(&check.expected))).or_else(|| each(|check| (check.kind, None)));
    found.map(|((kind, expected), _)| CommonCheck { kind, expected: expected.map(str::to_owned) })
}

/// The mistake that most members made with their calls.
struct CommonMistake {
    kind: ToolErrorKind,
    /// The tools of most of these calls, most frequent first; empty if they differ.
    tools: Vec<ToolName>,
}

/// The error that most members share: with its tools if they are common too, else only the kind. Ties go to the error that
/// is more often a member's most severe one.
fn common_mistake(failures: &[Failure]) -> Option<CommonMistake> {
    let mut with_tool: BTreeMap<(ToolErrorKind, &ToolName), f64> = BTreeMap::new();
    let mut alone: BTreeMap<ToolErrorKind, f64> = BTreeMap::new();
    for failure in failures {
        let mut kinds = BTreeMap::new();
        let mut pairs = BTreeMap::new();
        for (position, error) in by_severity(failure).into_iter().enumerate() {
            let weight = if position == 0 { 1.0 + TIE } else { 1.0 };
            kinds.entry(error.kind).or_insert(weight);
            pairs.entry((error.kind, &error.tool)).or_insert(weight);
        }
        for (kind, weight) in kinds {
            *alone.entry(kind).or_default() += weight;
        }
        for (pair, weight) in pairs {
            *with_tool.entry(pair).or_default() += weight;
        }
    }
    let is_common = |weight: f64| weight > COMMON * (1.0 + TIE) * failures.len() as f64;
    if let Some(((kind, tool), _)) = most_frequent(with_tool.clone()).filter(|(_, weight)| is_common(*weight)) {
        let mut others: Vec<(&ToolName, f64)> = with_tool
            .into_iter()
            .filter(|((other, name), weight)| *other == kind && *name != tool && is_common(*weight))
            .map(|((_, name), weight)| (name, weight))
            .collect();
        others.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        let tools = std::iter::once(tool).chain(others.into_iter().map(|(name, _)| name)).take(MAX_TOOLS);
        return Some(CommonMistake { kind, tools: tools.cloned().collect() });
    }
    let (kind, _) = most_frequent(alone).filter(|(_, weight)| is_common(*weight))?;
    Some(CommonMistake { kind, tools: Vec::new() })
}

fn common_arguments(failures: &[Failure], common: &CommonMistake) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for failure in failures {
        let concerned = failure
            .tool_errors
            .iter()
            .filter(|error| error.kind == common.kind && common.tools.first().is_none_or(|tool| *tool == error.tool));
        let paths: BTreeSet<&str> = concerned.flat_map(roots).collect();
        for path in paths {
            *counts.entry(path.to_owned()).or_default() += 1;
        }
    }
    let mut ranked: Vec<(String, usize)> =
        counts.into_iter().filter(|(_, count)| *count as f64 >= FREQUENT * failures.len() as f64).collect();
    ranked.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    ranked.into_iter().take(MAX_ARGUMENTS).map(|(path, _)| path).collect()
}

/// The item with the greatest total weight; ties go to the first in order.
fn most_frequent<T: Ord>(weighted: impl IntoIterator<Item = (T, f64)>) -> Option<(T, f64)> {
    let mut totals: BTreeMap<T, f64> = BTreeMap::new();
    for (item, weight) in weighted {
        *totals.entry(item).or_default() += weight;
    }
    totals.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best })
}

/// The words of a group: for each, the number of distinct requests whose failures contain it, in request, evidence or
/// answer. Repetitions within a member or among the runs of one scenario do not count.
struct Words {
    counts: BTreeMap<String, f64>,
    requests: usize,
}

impl Words {
    fn of(failures: &[Failure]) -> Self {
        let mut by_request: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for failure in failures {
            let text = [&*evidence_beyond_findings(failure), &failure.answer, &failure.request].join("\n");
            by_request.entry(&failure.request).or_default().extend(words::words(&text));
        }
        let mut counts = BTreeMap::new();
        for word in by_request.values().flatten() {
            *counts.entry(word.clone()).or_default() += 1.0;
        }
        Self { counts, requests: by_request.len() }
    }
}

/// The words that distinguish one group from the others, most distinctive first: the z-score of the log-odds ratio with an
/// informative Dirichlet prior (Monroe, Colaresi & Quinn 2008, eq. 16, 19, 22), where the prior is all groups together.
fn telling_terms(groups: &[Words], index: usize) -> Vec<String> {
    let Words { counts, requests } = &groups[index];
    let mut all: BTreeMap<&str, f64> = BTreeMap::new();
    for (word, count) in groups.iter().flat_map(|group| &group.counts) {
        *all.entry(word).or_default() += count;
    }
    let total: f64 = all.values().sum();
    let here: f64 = counts.values().sum();
    let elsewhere = total - here;
    // The prior has the weight of a hundred words.
    let strength = 100.0 / total.max(1.0);
    let prior = strength * total;
    let mut scored: Vec<(&str, f64)> = counts
        .iter()
        .filter(|(_, count)| **count >= (FREQUENT * *requests as f64).max(*requests.min(&2) as f64))
        .map(|(word, count)| {
            let alpha = strength * all[word.as_str()];
            let other = all[word.as_str()] - count;
            let odds = ((count + alpha) / (here + prior - count - alpha)).ln();
            let other_odds = ((other + alpha) / (elsewhere + prior - other - alpha)).ln();
            let variance = 1.0 / (count + alpha) + 1.0 / (other + alpha);
            (word.as_str(), (odds - other_odds) / variance.sqrt())
        })
        .filter(|(_, z)| z.is_finite() && *z > 0.0)
        .collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    scored.into_iter().take(4 * MAX_TERMS).map(|(word, _)| word.to_owned()).collect()
}

/// What goes wrong and where, in one line.
fn label_of(rule: &Rule, common: Option<&CommonMistake>, check: Option<&CommonCheck>, failures: &[Failure]) -> String {
    let what = match (common, check) {
        (Some(common), _) => {
            let tools: Vec<&str> = common.tools.iter().map(ToolName::as_str).collect();
            let tools = if tools.is_empty() { "several tools".to_owned() } else { tools.join(", ") };
            let words = failures.iter().flat_map(|failure| {
                let errors = failure.tool_errors.iter().filter(|error| error.kind == common.kind);
                errors.map(|error| (mistake(failure, error), 1.0))
            });
            format!("{} {tools}", most_frequent(words).map_or("", |(words, _)| words))
        }
        (None, Some(check)) => format!("expected {}", check.words()),
        (None, None) => failures
            .iter()
            .map(|failure| first_sentence(&evidence_beyond_findings(failure)))
            .find(|what| !what.is_empty())
            .unwrap_or_else(|| "scored low".to_owned()),
    };
    let places = if rule.arguments.is_empty() { String::new() } else { format!(" ({})", rule.arguments.join(", ")) };
    let said: BTreeSet<String> = words::words(&what).collect();
    let terms: Vec<&str> = rule.terms.iter().filter(|term| !said.contains(*term)).take(3).map(String::as_str).collect();
    let terms = if terms.is_empty() { String::new() } else { format!(" — {}", terms.join(", ")) };
    format!("{}: {what}{places}{terms}", rule.dimension)
}

fn first_sentence(evidence: &str) -> String {
    let line = words::cut(evidence, 90);
    let end = line.find(". ").unwrap_or(line.len());
    line[..end].trim_end_matches('.').to_owned()
}

fn unique(label: &str, taken: &mut BTreeSet<String>) -> String {
    let mut candidate = label.to_owned();
    let mut number = 1;
    while !taken.insert(candidate.clone()) {
        number += 1;
        candidate = format!("{label} ({number})");
    }
    candidate
}
