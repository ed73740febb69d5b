//! Clustering: groups failing scenarios that fail alike, and gives each group a rule and a label.
//!
//! In: the failures of a prompt and one vector for each ([`vectors`]). What failed (which tool call, argument or check) has
//! most weight; the words of the evidence have less; the vectors of an embedding model over [`text_of`] are a part of the
//! latter. Out: [`Cluster`]s, heaviest first. Pure: the result does not depend on the order of the failures.

mod concepts;
mod linkage;
mod rule;
mod silhouette;
mod vectorise;
mod words;

use tokio::task::spawn_blocking;

use super::calls::Calls;
use super::error::CycleError;
use whetstone_domain::call::{EmbedRequest, Phase};
use whetstone_domain::cluster::{Cluster, Failure, Grouped, Grouping};
use whetstone_domain::ids::DimensionName;
use whetstone_domain::plan::ModelUse;
use whetstone_domain::score::{ToolError, ToolErrorKind};

pub use vectorise::{DIMENSIONS, vectorise, vectors};

/// The default threshold if the failures do not form separate clusters.
pub const DEFAULT_THRESHOLD: f64 = 0.6;

/// Grouped failures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clustered {
    /// The groups; `c1` weighs most. Every failure is in exactly one.
    pub clusters: Vec<Cluster>,
    /// How the groups were found: one entry, or two if the failures were grouped in two parts.
    pub groupings: Vec<Grouping>,
}

/// Groups failures by average linkage on the cosine distance of their vectors.
///
/// Two groups are merged as long as the mean similarity between their members is at least `threshold` (0 to 1). Without a
/// given threshold, the one with the highest mean silhouette is used, separately for two parts of the failures, because
/// they differ in scale: failures with a wrong tool call or a failed check, and failures that only a judge found.
///
/// If more than `max_clusters` (at least 1) groups are left, those whose union spreads least are merged, so that outliers
/// join a neighbour before two large groups are merged.
///
/// A vector that is zero or not finite is similar only to other such vectors.
///
/// # Panics
/// If there is not one vector for each failure.
#[must_use]
pub fn cluster(failures: &[Failure], vectors: &[Vec<f32>], threshold: Option<f64>, max_clusters: usize) -> Clustered {
    assert_eq!(failures.len(), vectors.len(), "one vector for each failure");
    let mut members: Vec<(&Failure, &[f32])> = failures.iter().zip(vectors.iter().map(Vec::as_slice)).collect();
    members.sort_by(|(a, _), (b, _)| {
        (&a.scenario, &a.evidence, &a.answer, &a.request).cmp(&(&b.scenario, &b.evidence, &b.answer, &b.request))
    });
    let max_clusters = max_clusters.max(1);
    let mut groupings = Vec::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (of, part) in parts(&members, threshold.is_some()) {
        let rows = linkage::UnitRows::of(part.iter().map(|index| members[*index].1));
        let found = linkage::groups(&rows, threshold, DEFAULT_THRESHOLD, max_clusters);
        let linkage::Groups { threshold, from, silhouette, .. } = found;
        groupings.push(Grouping { of, failures: part.len(), threshold, from, silhouette, groups: found.groups.len() });
        groups.extend(found.groups.into_iter().map(|group| group.into_iter().map(|row| part[row]).collect::<Vec<_>>()));
    }
    let rows = linkage::UnitRows::of(members.iter().map(|(_, vector)| *vector));
    let mut groups: Vec<Vec<Failure>> = linkage::fold(&rows, groups, max_clusters)
        .into_iter()
        .map(|group| rows.nearest_to_centre_first(&group).into_iter().map(|index| members[index].0.clone()).collect())
        .collect();
    groups.sort_by(|a, b| {
        let weight = |group: &[Failure]| group.iter().map(|failure| failure.weight).sum::<f64>();
        let first = |group: &[Failure]| group.iter().map(|failure| failure.scenario.clone()).min();
        weight(b).total_cmp(&weight(a)).then(b.len().cmp(&a.len())).then(first(a).cmp(&first(b)))
    });
    Clustered { clusters: rule::describe(groups), groupings }
}

/// The parts that are grouped separately, none of them empty.
fn parts(members: &[(&Failure, &[f32])], together: bool) -> Vec<(Grouped, Vec<usize>)> {
    let (found, judged): (Vec<usize>, Vec<usize>) =
        (0..members.len()).partition(|index| vectorise::is_found(members[*index].0));
    let parts = if together {
        vec![(Grouped::All, (0..members.len()).collect())]
    } else {
        vec![(Grouped::Found, found), (Grouped::Judged, judged)]
    };
    parts.into_iter().filter(|(_, part)| !part.is_empty()).collect()
}

/// The text of a failure for an embedding model: only the judge's words on why it failed, so that failures are similar
/// because of their cause, not their topic or boilerplate. If there are none: what the user wanted.
#[must_use]
pub fn text_of(failure: &Failure) -> String {
    let evidence = evidence_beyond_findings(failure);
    let text = if evidence.is_empty() { words::cut(&failure.request, 160) } else { words::cut(&evidence, 600) };
    if text.is_empty() {
        let dimensions: Vec<&str> = failure.dimensions.iter().map(DimensionName::as_str).collect();
        return format!("failed: {}", dimensions.join(", "));
    }
    text
}

/// The errors of the tool calls, most severe first, without duplicates.
fn by_severity(failure: &Failure) -> Vec<&ToolError> {
    let mut errors: Vec<&ToolError> = Vec::new();
    for error in &failure.tool_errors {
        let seen = |other: &&ToolError| {
            (other.kind, &other.tool, &other.arguments) == (error.kind, &error.tool, &error.arguments)
        };
        if !errors.iter().any(seen) {
            errors.push(error);
        }
    }
    errors.sort_by(|a, b| {
        (severity(failure, a), &a.tool, &a.arguments).cmp(&(severity(failure, b), &b.tool, &b.arguments))
    });
    errors
}

/// Calls that should not have been made are the most severe, then missing calls, then wrong arguments. An extra call of an
/// expected tool is often only a retry, so it comes after those.
fn severity(failure: &Failure, error: &ToolError) -> u8 {
    match error.kind {
        ToolErrorKind::Forbidden => 0,
        ToolErrorKind::Extra if !failure.expected_tools.contains(&error.tool) => 1,
        ToolErrorKind::Missing => 2,
        ToolErrorKind::WrongArguments => 3,
        ToolErrorKind::Extra => 4,
        ToolErrorKind::WrongOrder => 5,
    }
}

/// What went wrong with a call, as a phrase that the tool's name can follow.
fn mistake(failure: &Failure, error: &ToolError) -> &'static str {
    match error.kind {
        ToolErrorKind::Forbidden => "forbidden call of",
        ToolErrorKind::Extra if failure.expected_tools.is_empty() => "unneeded call of",
        ToolErrorKind::Extra => "extra call of",
        ToolErrorKind::Missing => "missing call of",
        ToolErrorKind::WrongArguments => "wrong arguments in",
        ToolErrorKind::WrongOrder => "wrong order of",
    }
}

/// The top-level arguments that an error concerns: `passengers` for `passengers[0].dob`.
fn roots(error: &ToolError) -> Vec<&str> {
    let mut roots: Vec<&str> = Vec::new();
    for path in &error.arguments {
        let root = path.split(['.', '[']).next().unwrap_or(path);
        if !root.is_empty() && !roots.contains(&root) {
            roots.push(root);
        }
    }
    roots
}

/// The evidence without the sentences about tool calls and checks: those contain values of a single scenario, and the
/// findings themselves are more precise.
fn evidence_beyond_findings(failure: &Failure) -> String {
    let mut evidence = failure.evidence.clone();
    let of_calls = failure.tool_errors.iter().map(|error| &error.detail);
    let of_checks = failure.failed_checks.iter().map(|check| &check.detail);
    for detail in of_calls.chain(of_checks).filter(|detail| !detail.is_empty()) {
        evidence = evidence.replace(detail, " ");
        if let Some(cut) = cut_detail(&evidence, detail) {
            evidence.truncate(cut);
        }
    }
    // Evidence begins with its dimension, which the rule names already.
    let lines = evidence.lines().map(|line| {
        let about = failure.dimensions.iter().find_map(|name| line.strip_prefix(name.as_str())?.strip_prefix(':'));
        about.unwrap_or(line).trim()
    });
    let rest: Vec<&str> = lines.filter(|line| line.contains(char::is_alphanumeric)).collect();
    rest.join("\n")
}

/// The minimum length in bytes of a truncated detail that is recognized as one.
const SHORTEST_CUT: usize = 12;

/// The position of a detail that was truncated with the evidence.
fn cut_detail(evidence: &str, detail: &str) -> Option<usize> {
    let kept = evidence.strip_suffix('…')?;
    let start = detail.get(..SHORTEST_CUT)?;
    kept.match_indices(start).map(|(at, _)| at).find(|at| detail.starts_with(kept[*at..].trim_end()))
}

/// The number of texts in one request to an embedding model.
const EMBEDDING_BATCH: usize = 256;

/// Groups failures: computes their vectors, with the embedding model if there is one, and clusters them. Thousands of
/// failures take a second, which is spent on a separate thread.
///
/// # Errors
/// [`CycleError`] if the embedding model returns no vectors, or vectors of different lengths.
pub async fn group(
    calls: &Calls,
    model: Option<&ModelUse>,
    mut failures: Vec<Failure>,
    threshold: Option<f64>,
    max_clusters: usize,
) -> Result<Clustered, CycleError> {
    failures.sort_by(|a, b| a.scenario.cmp(&b.scenario));
    let mut embedded = None;
    if let Some(ModelUse { model, parameters }) = model {
        let mut vectors = Vec::with_capacity(failures.len());
        for batch in failures.chunks(EMBEDDING_BATCH) {
            let request = EmbedRequest { texts: batch.iter().map(text_of).collect(), extra: parameters.extra.clone() };
            vectors.extend(calls.embed(Phase::Cluster, model, request).await?.vectors);
        }
        embedded = Some(vectors);
    }
    let grouping = spawn_blocking(move || {
        let vectors = vectors(&failures, embedded);
        cluster(&failures, &vectors, threshold, max_clusters)
    });
    Ok(grouping.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())))
}

#[cfg(test)]
mod causes;
#[cfg(test)]
mod tests;
