//! Clustering: failing scenarios that fail alike are put together, and each group gets a rule and a label.
//!
//! In: the failures of a prompt and one vector for each ([`vectors`]): what failed (which tool call, which argument, which
//! check) weighs most, the words of the evidence are a share beside it, and an embedding model's vectors over [`text_of`] a
//! share of that. Out: [`Cluster`]s, the heaviest first. Pure: the same failures in any order give the same clusters.

mod concepts;
mod linkage;
mod rule;
mod silhouette;
mod vectorise;
mod words;

use tokio::task::spawn_blocking;

use super::calls::Calls;
use super::error::CycleError;
use crate::api::plan::ModelUse;
use crate::domain::call::{EmbedRequest, Phase};
use crate::domain::cluster::{Cluster, Failure, Grouped, Grouping};
use crate::domain::ids::DimensionName;
use crate::domain::score::{ToolError, ToolErrorKind};

pub use vectorise::{DIMENSIONS, vectorise, vectors};

/// The threshold where none is given and the failures fall into no groups that are apart.
pub const DEFAULT_THRESHOLD: f64 = 0.6;

/// Failures in groups.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clustered {
    /// The groups; `c1` weighs most. Every failure is in exactly one.
    pub clusters: Vec<Cluster>,
    /// How they were found: one entry, or two when the failures were grouped in two parts.
    pub groupings: Vec<Grouping>,
}

/// Groups failures by average linkage on the cosine distance of their vectors.
///
/// Two groups are one as long as the mean similarity between their members is at least `threshold` (0 to 1). Without a
/// threshold the failures choose it: the one that leaves groups which are furthest apart by their mean silhouette. They do so
/// in two parts, because one scale does not fit both: failures in which a tool call or a check says what was wrong, and
/// those of which only a judge's words do.
///
/// If more than `max_clusters` (at least 1) are left, those are merged whose union spreads least, so that odd ones out join a
/// neighbour before two large groups become one.
///
/// A vector that is zero or not finite is unlike any other, but like its kind.
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

/// The parts in which failures are grouped, none of them empty.
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

/// The text of a failure for an embedding model: why it failed, in the words of the judge, and nothing else, so that
/// failures are alike for their cause and not for their topic or for words that all of them have. Without such words it is
/// what the user wanted.
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

/// The errors of the tool calls, the gravest first, each once.
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

/// What was done and should not have been is graver than what was left out, and that graver than what was done in another
/// way. A call too many of a tool that was to be called is often only a second attempt, so it comes after those.
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

/// What went wrong with a call, in words that a tool's name can follow.
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

/// The arguments that an error concerns, without what is inside them: `passengers[0].dob` is `passengers`.
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

/// The evidence without the sentences about tool calls and checks: those name the values of one scenario, and what is wrong
/// is known better from the findings themselves.
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
    // Evidence begins with the dimension that it is about, which the rule names already.
    let lines = evidence.lines().map(|line| {
        let about = failure.dimensions.iter().find_map(|name| line.strip_prefix(name.as_str())?.strip_prefix(':'));
        about.unwrap_or(line).trim()
    });
    let rest: Vec<&str> = lines.filter(|line| line.contains(char::is_alphanumeric)).collect();
    rest.join("\n")
}

/// The shortest beginning of a detail that is taken for one, in bytes.
const SHORTEST_CUT: usize = 12;

/// Where a detail begins that was cut short together with the evidence.
fn cut_detail(evidence: &str, detail: &str) -> Option<usize> {
    let kept = evidence.strip_suffix('…')?;
    let start = detail.get(..SHORTEST_CUT)?;
    kept.match_indices(start).map(|(at, _)| at).find(|at| detail.starts_with(kept[*at..].trim_end()))
}

/// Texts in one request to an embedding model.
const EMBEDDING_BATCH: usize = 256;

/// Groups failures: what is known of them, with vectors from the embedding model if there is one, then clusters. Thousands of
/// failures take a second, which is spent on a thread of its own.
///
/// # Errors
/// [`CycleError`] when the embedding model gives no vectors, or vectors of different lengths.
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
