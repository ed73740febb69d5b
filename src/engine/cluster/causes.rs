//! Measures how well clusters separate causes, on failures with known causes.
//!
//! `causes/tuned.tsv` was known when the list of concepts was written; `causes/unseen.tsv` (except its set `e`) was not.
//! Each line has a set, a cause and a judge's text. The measure is the adjusted Rand index (Hubert & Arabie 1985): 1 if the
//! clusters are the causes, 0 if they are no better than chance.

use std::collections::BTreeMap;

use super::*;
use whetstone_domain::cluster::ThresholdFrom;
use whetstone_domain::score::{CheckKind, FailedCheck};

const TUNED: &str = include_str!("causes/tuned.tsv");
const UNSEEN: &str = include_str!("causes/unseen.tsv");

const REQUESTS: [&str; 8] = [
    "I want to cancel my trip to Boston because I am sick and get my money back.",
    "Please book a flight from Seattle to Miami for two people with three bags.",
    "My suitcase was lost, can you tell me what I am entitled to?",
    "Change my return flight to a later day and pay with the gift card.",
    "I would like an upgrade to business class with my certificate.",
    "Add a checked bag for my daughter on the reservation.",
    "Which of my two bookings has the window seat?",
    "The hotel in Lisbon has charged me twice, what now?",
];

fn failure(cause: &str, number: usize) -> Failure {
    Failure {
        scenario: format!("{cause}~{number}").into(),
        tags: Vec::new(),
        weight: 1.0,
        request: REQUESTS[number % REQUESTS.len()].to_owned(),
        answer: format!("Certainly, this is what I can say about it, number {number}."),
        dimensions: vec!["quality".into()],
        score: 0.2,
        tool_errors: Vec::new(),
        failed_checks: Vec::new(),
        expected_tools: Vec::new(),
        evidence: String::new(),
    }
}

/// The failures of a set, judged in one dimension.
fn judged(list: &str, set: &str) -> Vec<Failure> {
    let lines = list.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let of_set = lines.filter(|columns| columns[0] == set).enumerate();
    let failures: Vec<Failure> = of_set
        .map(|(number, columns)| Failure {
            evidence: format!("quality: {}", columns[2]),
            ..failure(columns[1], number)
        })
        .collect();
    assert!(failures.len() >= 30, "set {set}");
    failures
}

fn with_tool(cause: &str, number: usize, kind: ToolErrorKind, tool: &str, argument: Option<&str>) -> Failure {
    let detail = format!("{kind} of {tool} for reservation {number}");
    Failure {
        dimensions: vec!["tool_compliance".into()],
        evidence: format!("tool_compliance: {detail}"),
        tool_errors: vec![ToolError {
            kind,
            tool: tool.into(),
            arguments: argument.map(|name| format!("{name}[{number}].value")).into_iter().collect(),
            detail,
            dimension: None,
        }],
        expected_tools: if kind == ToolErrorKind::Extra { Vec::new() } else { vec![tool.into()] },
        ..failure(cause, number)
    }
}

/// An answer that does not match, among other words of a judge.
fn with_check(cause: &str, number: usize, kind: CheckKind, expected: &str, answer: &str) -> Failure {
    let detail = format!("expected {expected}, got {answer:?}");
    Failure {
        dimensions: vec!["accuracy".into()],
        evidence: format!("accuracy: {detail}"),
        answer: answer.to_owned(),
        failed_checks: vec![FailedCheck { kind, expected: expected.to_owned(), detail, dimension: None }],
        ..failure(cause, number)
    }
}

/// Seven kinds of mistakes with tools and checks, each on eight topics.
fn mistakes() -> Vec<Failure> {
    use ToolErrorKind::{Extra, Missing, WrongArguments};
    let mut failures = Vec::new();
    for (number, _) in REQUESTS.iter().enumerate() {
        failures.extend([
            with_tool("unneeded cancel", number, Extra, "cancel", None),
            with_tool("missing cancel", number, Missing, "cancel", None),
            with_tool("missing bags", number, Missing, "update_bags", None),
            with_tool("wrong payment", number, WrongArguments, "book", Some("payment")),
            with_tool("wrong seats", number, WrongArguments, "update_seats", Some("seats")),
            with_check("no greeting", number, CheckKind::Regex, "the answer to match /^Dear/", REQUESTS[number]),
            with_check("secret", number, CheckKind::NotContains, "the answer not to contain \"key\"", "The key is"),
        ]);
    }
    failures
}

/// The vectors of an embedding model that sees only topics.
fn topics(failures: &[Failure]) -> Vec<Vec<f32>> {
    let topic = |failure: &Failure| REQUESTS.iter().position(|request| *request == failure.request).unwrap_or(0);
    let vector = |failure: &Failure| {
        let mut vector = vec![0.5; REQUESTS.len()];
        vector[topic(failure)] = 1.0;
        vector
    };
    failures.iter().map(vector).collect()
}

fn index(found: &Clustered) -> f64 {
    let mut cells: BTreeMap<(&str, usize), f64> = BTreeMap::new();
    let mut causes: BTreeMap<&str, f64> = BTreeMap::new();
    let mut sizes = Vec::new();
    for (place, cluster) in found.clusters.iter().enumerate() {
        for scenario in cluster.scenarios() {
            let cause = scenario.as_str().split('~').next().unwrap_or_default();
            *cells.entry((cause, place)).or_default() += 1.0;
            *causes.entry(cause).or_default() += 1.0;
        }
        sizes.push(cluster.failures.len() as f64);
    }
    let pairs = |counts: &mut dyn Iterator<Item = f64>| counts.map(|n| n * (n - 1.0) / 2.0).sum::<f64>();
    let total: f64 = sizes.iter().sum();
    let both = pairs(&mut cells.into_values());
    let (of_causes, of_clusters) = (pairs(&mut causes.into_values()), pairs(&mut sizes.into_iter()));
    let expected = of_causes * of_clusters / (total * (total - 1.0) / 2.0);
    (both - expected) / (f64::midpoint(of_causes, of_clusters) - expected)
}

fn alone(failures: &[Failure]) -> Clustered {
    cluster(failures, &vectors(failures, None), None, 100)
}

fn with_topics(failures: &[Failure]) -> Clustered {
    cluster(failures, &vectors(failures, Some(topics(failures))), None, 100)
}

#[test]
fn the_index_is_one_for_the_causes_and_zero_for_a_single_cluster() {
    let failures = mistakes();
    let exact: Vec<Vec<f32>> = failures
        .iter()
        .map(|failure| vec![f32::from(u8::from(failure.scenario.as_str().starts_with("missing"))), 1.0])
        .collect();
    assert!(index(&cluster(&failures, &exact, Some(0.0), 1)).abs() < 1e-9);
    let two = cluster(&failures, &exact, Some(0.99), 9);
    assert_eq!(two.clusters.len(), 2);
    assert!((0.05..0.5).contains(&index(&two)), "{}", index(&two));
}

#[test]
fn tool_mistakes_and_checks_are_separated_with_and_without_an_embedding_model() {
    let failures = mistakes();
    for found in [alone(&failures), with_topics(&failures)] {
        assert!(index(&found) > 0.99, "{:?}", found.groupings);
        assert_eq!(found.groupings.len(), 1);
        assert_eq!(found.groupings[0].from, ThresholdFrom::Silhouette);
    }
}

#[test]
fn one_check_that_fails_in_many_ways_is_one_cluster() {
    let answers = ["Positive, I think.", "I am sorry for your loss.", "The lamp was ruined.", "It hurts my ears."];
    let failures: Vec<Failure> = (0..24)
        .map(|number| {
            let expected = "the answer to match /(?i)^(yes|no)$/";
            with_check("one", number, CheckKind::Regex, expected, answers[number % answers.len()])
        })
        .collect();
    for found in [alone(&failures), with_topics(&failures)] {
        assert_eq!(found.clusters.len(), 1, "{:?}", found.groupings);
        assert_eq!(found.clusters[0].label, "accuracy: expected the answer to match /(?i)^(yes|no)$/");
        assert_eq!(found.clusters[0].rule.check.as_deref(), Some("the answer to match /(?i)^(yes|no)$/"));
    }
}

#[test]
fn different_expectations_of_one_kind_are_not_as_many_clusters() {
    let failures: Vec<Failure> = (0..16)
        .map(|number| {
            let expected = format!("the answer to contain \"{number}-{}\"", number * 7);
            with_check("answer", number, CheckKind::Contains, &expected, "I do not know.")
        })
        .collect();
    let found = alone(&failures);
    assert!(found.clusters.len() <= REQUESTS.len(), "{}", found.clusters.len());
    assert!(found.clusters[0].label.starts_with("accuracy: expected certain texts in the answer"));
}

#[test]
fn six_causes_in_a_judges_words_are_separated_without_a_model() {
    for (set, least) in [("a", 0.9), ("b", 0.75), ("c", 0.75), ("d", 0.7)] {
        let found = alone(&judged(TUNED, set));
        assert!(index(&found) >= least, "set {set}: {} {:?}", index(&found), found.groupings);
    }
    for (set, least) in [("e", 0.3), ("g", 0.3)] {
        let found = alone(&judged(UNSEEN, set));
        assert!(index(&found) >= least, "set {set}: {} {:?}", index(&found), found.groupings);
    }
}

#[test]
fn judged_and_found_failures_have_separate_thresholds() {
    let failures = [mistakes(), judged(TUNED, "a")].concat();
    let found = alone(&failures);
    assert!(index(&found) > 0.9, "{} {:?}", index(&found), found.groupings);
    let of: Vec<Grouped> = found.groupings.iter().map(|grouping| grouping.of).collect();
    assert_eq!(of, [Grouped::Found, Grouped::Judged]);
    assert_eq!(found.groupings.iter().map(|grouping| grouping.failures).sum::<usize>(), failures.len());
    for grouping in &found.groupings {
        assert!(grouping.silhouette.is_some_and(|silhouette| silhouette > 0.1), "{grouping:?}");
    }
}

#[test]
fn a_given_threshold_is_used_and_reported() {
    let failures = [mistakes(), judged(TUNED, "a")].concat();
    let found = cluster(&failures, &vectorise(&failures), Some(0.75), 100);
    assert_eq!(found.groupings.len(), 1);
    let Grouping { of, threshold, from, silhouette, .. } = found.groupings[0];
    assert_eq!((of, threshold, from, silhouette), (Grouped::All, 0.75, ThresholdFrom::Spec, None));
}

#[test]
fn evidence_that_was_cut_short_leaves_nothing_of_a_finding() {
    let mut failure = with_tool("x", 1, ToolErrorKind::Missing, "update_reservation", None);
    failure.tool_errors[0].detail = "expected a call of update_reservation({\"id\": \"4WQ150\"}), none was made".into();
    failure.evidence = "tool_compliance: expected a call of update_reservation({\"id\": \"4W…".into();
    assert_eq!(text_of(&failure), failure.request);
    failure.evidence = "tone: It is curt. Expected more.\ntool_compliance: expected a call of update_res…".into();
    failure.dimensions.push("tone".into());
    assert_eq!(text_of(&failure), "It is curt. Expected more.");
}
