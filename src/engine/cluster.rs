//! Clustering: failing scenarios that fail alike are put together, and each group gets a rule and a label.
//!
//! In: the failures of a prompt and one vector for each (of an embedding model over [`text_of`], or of the built-in
//! [`vectorise()`]). Out: [`Cluster`]s, the heaviest first. Pure: the same failures in any order give the same clusters.

mod linkage;
mod rule;
mod vectorise;
mod words;

use super::calls::Calls;
use super::error::CycleError;
use crate::domain::call::{EmbedRequest, Phase};
use crate::domain::cluster::{Cluster, Failure};
use crate::domain::ids::DimensionName;
use crate::domain::ids::ModelName;
use crate::domain::score::{ToolError, ToolErrorKind};

pub use vectorise::{DIMENSIONS, vectorise};

/// Groups failures by average linkage on the cosine distance of their vectors.
///
/// Two groups are one as long as the mean similarity between their members is at least `threshold` (0 to 1). If more than
/// `max_clusters` (at least 1) are left, those are merged whose union spreads least, so that odd ones out join a
/// neighbour before two large groups become one. Every failure is in exactly one cluster; `c1` weighs most.
///
/// A vector that is zero or not finite is unlike any other, but like its kind.
///
/// # Panics
/// If there is not one vector for each failure.
#[must_use]
pub fn cluster(failures: &[Failure], vectors: &[Vec<f32>], threshold: f64, max_clusters: usize) -> Vec<Cluster> {
    assert_eq!(failures.len(), vectors.len(), "one vector for each failure");
    let mut members: Vec<(&Failure, &[f32])> = failures.iter().zip(vectors.iter().map(Vec::as_slice)).collect();
    members.sort_by(|(a, _), (b, _)| {
        (&a.scenario, &a.evidence, &a.answer, &a.request).cmp(&(&b.scenario, &b.evidence, &b.answer, &b.request))
    });
    let rows = linkage::UnitRows::of(members.iter().map(|(_, vector)| *vector));
    let mut groups: Vec<Vec<Failure>> = linkage::groups(&rows, threshold, max_clusters.max(1))
        .into_iter()
        .map(|group| rows.nearest_to_centre_first(&group).into_iter().map(|index| members[index].0.clone()).collect())
        .collect();
    groups.sort_by(|a, b| {
        let weight = |group: &[Failure]| group.iter().map(|failure| failure.weight).sum::<f64>();
        let first = |group: &[Failure]| group.iter().map(|failure| failure.scenario.clone()).min();
        weight(b).total_cmp(&weight(a)).then(b.len().cmp(&a.len())).then(first(a).cmp(&first(b)))
    });
    rule::describe(groups)
}

/// The text of a failure for an embedding model: what went wrong first, what it was about last and cut short, so that
/// failures are alike for their cause and not for their topic.
#[must_use]
pub fn text_of(failure: &Failure) -> String {
    let mut lines = Vec::new();
    let dimensions: Vec<&str> = failure.dimensions.iter().map(DimensionName::as_str).collect();
    lines.push(format!("failed: {}", dimensions.join(", ")));
    for error in by_severity(failure) {
        let arguments = roots(error);
        let places = if arguments.is_empty() { String::new() } else { format!(" ({})", arguments.join(", ")) };
        lines.push(format!("{} {}{places}", mistake(failure, error), error.tool));
    }
    let evidence = evidence_beyond_calls(failure);
    if !evidence.is_empty() {
        lines.push(format!("because: {}", words::cut(&evidence, 600)));
    }
    if !failure.request.trim().is_empty() {
        lines.push(format!("request: {}", words::cut(&failure.request, 160)));
    }
    lines.join("\n")
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

/// The evidence without the sentences about tool calls: those name the values of one scenario, and what is wrong with the
/// calls is known better from the errors themselves.
fn evidence_beyond_calls(failure: &Failure) -> String {
    let mut evidence = failure.evidence.clone();
    for error in failure.tool_errors.iter().filter(|error| !error.detail.is_empty()) {
        evidence = evidence.replace(&error.detail, " ");
    }
    // Evidence begins with the dimension that it is about, which the rule names already.
    let lines = evidence.lines().map(|line| {
        let about = failure.dimensions.iter().find_map(|name| line.strip_prefix(name.as_str())?.strip_prefix(':'));
        about.unwrap_or(line).trim()
    });
    let rest: Vec<&str> = lines.filter(|line| line.contains(char::is_alphanumeric)).collect();
    rest.join("\n")
}

/// Texts in one request to an embedding model.
const EMBEDDING_BATCH: usize = 256;

/// Groups failures: vectors from the embedding model, or from the built-in vectoriser when there is none, then clusters.
///
/// # Errors
/// [`CycleError`] when the embedding model gives no vectors, or vectors of different lengths.
pub async fn group(
    calls: &Calls,
    model: Option<&ModelName>,
    mut failures: Vec<Failure>,
    threshold: f64,
    max_clusters: usize,
) -> Result<Vec<Cluster>, CycleError> {
    failures.sort_by(|a, b| a.scenario.cmp(&b.scenario));
    let vectors = match model {
        None => vectorise(&failures),
        Some(model) => {
            let mut vectors = Vec::with_capacity(failures.len());
            for batch in failures.chunks(EMBEDDING_BATCH) {
                let request = EmbedRequest { texts: batch.iter().map(text_of).collect() };
                vectors.extend(calls.embed(Phase::Cluster, model, request).await?.vectors);
            }
            vectors
        }
    };
    Ok(cluster(&failures, &vectors, threshold, max_clusters))
}

#[cfg(test)]
mod tests;
