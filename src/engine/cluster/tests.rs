use proptest::prelude::*;

use super::*;

fn failure(id: &str, evidence: &str, request: &str) -> Failure {
    Failure {
        scenario: id.into(),
        tags: Vec::new(),
        weight: 1.0,
        request: request.to_owned(),
        answer: String::new(),
        dimensions: vec!["accuracy".into()],
        score: 0.2,
        tool_errors: Vec::new(),
        failed_checks: Vec::new(),
        expected_tools: Vec::new(),
        evidence: evidence.to_owned(),
    }
}

fn tool_failure(id: &str, errors: &[(ToolErrorKind, &str, &[&str])], expected: &[&str], request: &str) -> Failure {
    let tool_errors: Vec<ToolError> = errors
        .iter()
        .map(|(kind, tool, arguments)| ToolError {
            kind: *kind,
            tool: (*tool).into(),
            arguments: arguments.iter().map(|path| (*path).to_owned()).collect(),
            detail: format!("{kind} of {tool} with reservation {id}"),
            dimension: None,
        })
        .collect();
    Failure {
        dimensions: vec!["tool_compliance".into()],
        evidence: tool_errors.iter().map(|error| error.detail.clone()).collect::<Vec<_>>().join("; "),
        tool_errors,
        expected_tools: expected.iter().map(|tool| (*tool).into()).collect(),
        ..failure(id, "", request)
    }
}

const REQUESTS: [&str; 6] = [
    "I want to cancel my trip to Boston because I am sick and get my money back.",
    "Please book a flight from Seattle to Miami for two people with three bags.",
    "My suitcase was lost, can you tell me what I am entitled to?",
    "Change my return flight to a later day and pay with the gift card.",
    "I would like an upgrade to business class with my certificate.",
    "Add a checked bag for my daughter on the reservation.",
];

/// Five mistakes, each made in six scenarios about six topics, and twice a fault of the answer.
fn planted() -> Vec<Failure> {
    use ToolErrorKind::{Extra, Forbidden, Missing, WrongArguments};
    let mut failures = Vec::new();
    for (topic, request) in REQUESTS.iter().enumerate() {
        let path = format!("payment_methods[{topic}].amount");
        failures.extend([
            tool_failure(
                &format!("args-{topic}"),
                &[(WrongArguments, "book", &[&path, "flights"])],
                &["book"],
                request,
            ),
            tool_failure(&format!("unneeded-{topic}"), &[(Extra, "cancel", &[])], &[], request),
            tool_failure(
                &format!("bags-{topic}"),
                &[(Missing, "update_baggages", &[]), (Extra, "update_flights", &[])],
                &["update_baggages", "update_flights"],
                request,
            ),
            tool_failure(&format!("forbidden-{topic}"), &[(Forbidden, "refund", &[])], &["lookup"], request),
            failure(
                &format!("window-{topic}"),
                "The answer does not mention the refund window of thirty days. It is polite otherwise.",
                request,
            ),
            failure(&format!("tone-{topic}"), "The answer is rude and blames the customer for the mistake.", request),
        ]);
    }
    failures
}

fn clusters(failures: &[Failure], threshold: f64, max: usize) -> Vec<Cluster> {
    cluster(failures, &vectorise(failures), Some(threshold), max).clusters
}

fn kinds_of(cluster: &Cluster) -> std::collections::BTreeSet<&str> {
    cluster.scenarios().map(|id| id.as_str().split('-').next().unwrap_or_default()).collect()
}

#[test]
fn planted_mistakes_are_found_again_whatever_they_were_about() {
    let found = clusters(&planted(), 0.75, 12);
    assert_eq!(found.len(), 6);
    for cluster in &found {
        assert_eq!(kinds_of(cluster).len(), 1, "{cluster:#?}");
        assert_eq!(cluster.failures.len(), REQUESTS.len());
    }
}

#[test]
fn labels_say_what_goes_wrong_and_where() {
    let mut failures = planted();
    for failure in &mut failures {
        // With different weights, so that the order of the clusters is that of the mistakes.
        failure.weight = match failure.scenario.as_str().split('-').next() {
            Some("args") => 6.0,
            Some("unneeded") => 5.0,
            Some("bags") => 4.0,
            Some("forbidden") => 3.0,
            Some("window") => 2.0,
            _ => 1.0,
        };
    }
    let labels: Vec<String> =
        clusters(&failures, 0.75, 12).iter().map(|cluster| format!("{} {}", cluster.id, cluster.label)).collect();
    insta::assert_snapshot!(labels.join("\n"), @r#"
    c1 tool_compliance: wrong arguments in book (flights, payment_methods)
    c2 tool_compliance: unneeded call of cancel
    c3 tool_compliance: missing call of update_baggages
    c4 tool_compliance: forbidden call of refund
    c5 accuracy: The answer does not mention the refund window of thirty days — polite
    c6 accuracy: The answer is rude and blames the customer for the mistake
    "#);
}

#[test]
fn a_rule_names_dimension_error_tool_arguments_and_terms() {
    let failures: Vec<Failure> =
        planted().into_iter().filter(|failure| !failure.scenario.as_str().starts_with("tone")).collect();
    let found = clusters(&failures, 0.75, 12);
    let rules: Vec<&whetstone_domain::cluster::Rule> = found
        .iter()
        .filter(|cluster| kinds_of(cluster).iter().any(|kind| ["args", "window"].contains(kind)))
        .map(|cluster| &cluster.rule)
        .collect();
    insta::assert_json_snapshot!(rules, @r#"
    [
      {
        "dimension": "tool_compliance",
        "toolError": "wrongArguments",
        "tool": "book",
        "arguments": [
          "flights",
          "payment_methods"
        ],
        "terms": []
      },
      {
        "dimension": "accuracy",
        "terms": [
          "mention",
          "polite",
          "refund",
          "thirty",
          "window",
          "day"
        ]
      }
    ]
    "#);
}

#[test]
fn beyond_the_maximum_odd_ones_join_a_neighbour_before_large_groups_merge() {
    let mut failures = planted();
    failures.push(failure("odd", "The answer was cut short in the middle of a word.", "Hello?"));
    let found = clusters(&failures, 0.75, 6);
    assert_eq!(found.len(), 6);
    for cluster in &found {
        assert_eq!(kinds_of(cluster).iter().filter(|kind| **kind != "odd").count(), 1, "{}", cluster.label);
    }
}

#[test]
fn the_order_of_failures_changes_nothing() {
    let failures = planted();
    let mut turned = failures.clone();
    turned.reverse();
    turned.rotate_left(7);
    for (threshold, max) in [(0.75, 12), (0.9, 100), (0.75, 3), (0.0, 1)] {
        assert_eq!(clusters(&failures, threshold, max), clusters(&turned, threshold, max));
    }
}

#[test]
fn the_heaviest_cluster_is_first_and_its_most_typical_member_too() {
    let failures = [failure("a", "", ""), failure("b", "", ""), failure("c", "", ""), failure("d", "", "")];
    let mut failures = failures.to_vec();
    failures[3].weight = 9.0;
    let vectors = vec![vec![1.0, 0.5], vec![1.0, 0.1], vec![1.0, 0.0], vec![0.0, 1.0]];
    let found = cluster(&failures, &vectors, Some(0.8), 9).clusters;
    let members: Vec<Vec<&str>> = found
        .iter()
        .map(|cluster| cluster.scenarios().map(whetstone_domain::ids::ScenarioId::as_str).collect())
        .collect();
    assert_eq!(members, [vec!["d"], vec!["b", "c", "a"]]);
    assert_eq!(found[0].id, "c1");
}

#[test]
fn none_one_and_two_failures_are_clustered_too() {
    assert!(clusters(&[], 0.75, 12).is_empty());
    let one = clusters(&[failure("a", "Wrong.", "x")], 0.75, 12);
    assert_eq!((one.len(), one[0].label.as_str()), (1, "accuracy: Wrong"));
    let alike = [failure("a", "Wrong sum.", "x"), failure("b", "Wrong sum.", "y")];
    assert_eq!(clusters(&alike, 0.75, 12).len(), 1);
    let unlike = [failure("a", "Wrong sum.", "x"), failure("b", "Rude tone.", "y")];
    assert_eq!(clusters(&unlike, 0.75, 12).len(), 2);
    assert_eq!(clusters(&unlike, 0.75, 1).len(), 1);
    assert_eq!(clusters(&unlike, 0.75, 0).len(), 1);
}

#[test]
fn vectors_without_a_direction_are_alike_and_unlike_all_others() {
    let failures: Vec<Failure> = ["a", "b", "c", "d", "e"].map(|id| failure(id, "", "")).to_vec();
    let vectors = vec![vec![0.0, 0.0], vec![1.0, 0.0], vec![f32::NAN, 1.0], vec![1.0, 0.0], vec![f32::INFINITY, 1.0]];
    let found = cluster(&failures, &vectors, Some(1.0), 9).clusters;
    let members: Vec<usize> = found.iter().map(|cluster| cluster.failures.len()).collect();
    assert_eq!(members, [3, 2]);
}

#[test]
fn at_a_threshold_of_one_only_equals_are_together_and_at_zero_all_that_are_not_opposed() {
    let failures: Vec<Failure> = ["a", "b", "c"].map(|id| failure(id, "", "")).to_vec();
    let vectors = vec![vec![1.0, 2.0, 3.0], vec![1.0, 2.0, 3.0], vec![3.0, 2.0, 1.0]];
    assert_eq!(cluster(&failures, &vectors, Some(1.0), 9).clusters.len(), 2);
    assert_eq!(cluster(&failures, &vectors, Some(0.0), 9).clusters.len(), 1);
}

#[test]
fn a_second_attempt_is_not_what_a_failure_is_about() {
    use ToolErrorKind::{Extra, WrongArguments};
    let errors: &[(ToolErrorKind, &str, &[&str])] = &[(Extra, "book", &[]), (WrongArguments, "book", &["cabin"])];
    let failure = tool_failure("a", errors, &["book"], "Book it.");
    assert_eq!(clusters(&[failure], 0.75, 12)[0].label, "tool_compliance: wrong arguments in book (cabin)");
}

#[test]
fn labels_are_unique() {
    let failures: Vec<Failure> = ["a", "b", "c"].map(|id| failure(id, "", "")).to_vec();
    let found =
        cluster(&failures, &[vec![1.0, 0.0, 0.0], vec![0.0, 1.0, 0.0], vec![0.0, 0.0, 1.0]], Some(0.9), 9).clusters;
    let labels: Vec<&str> = found.iter().map(|cluster| cluster.label.as_str()).collect();
    assert_eq!(labels, ["accuracy: scored low", "accuracy: scored low (2)", "accuracy: scored low (3)"]);
}

#[test]
fn the_text_for_a_model_says_why_and_else_what_was_wanted() {
    let failures = planted();
    let bags = failures.iter().find(|failure| failure.scenario.as_str() == "bags-0").unwrap();
    let window = failures.iter().find(|failure| failure.scenario.as_str() == "window-0").unwrap();
    insta::assert_snapshot!([text_of(bags), text_of(window)].join("\n\n"), @r#"
    I want to cancel my trip to Boston because I am sick and get my money back.

    The answer does not mention the refund window of thirty days. It is polite otherwise.
    "#);
}

#[test]
fn built_in_vectors_have_unit_length() {
    for vector in vectorise(&planted()) {
        assert_eq!(vector.len(), DIMENSIONS);
        let length: f32 = vector.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
}

fn vectors() -> impl Strategy<Value = Vec<Vec<f32>>> {
    (1usize..5)
        .prop_flat_map(|width| prop::collection::vec(prop::collection::vec(-2i8..3, width), 0..40))
        .prop_map(|rows| rows.into_iter().map(|row| row.into_iter().map(f32::from).collect()).collect())
}

/// The mean cosine similarity between the members of two clusters.
fn mean_similarity(a: &Cluster, b: &Cluster, vectors: &[Vec<f32>]) -> f64 {
    let unit = |failure: &Failure| -> Vec<f64> {
        let vector = &vectors[failure.scenario.as_str().parse::<usize>().unwrap()];
        let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        let mut unit: Vec<f64> =
            vector.iter().map(|value| if length > 0.0 { f64::from(*value) / length } else { 0.0 }).collect();
        unit.push(if length > 0.0 { 0.0 } else { 1.0 });
        unit
    };
    let pairs = a.failures.iter().flat_map(|first| b.failures.iter().map(move |second| (first, second)));
    let dot =
        |first: &Failure, second: &Failure| -> f64 { unit(first).iter().zip(unit(second)).map(|(a, b)| a * b).sum() };
    pairs.map(|(first, second)| dot(first, second)).sum::<f64>() / (a.failures.len() * b.failures.len()) as f64
}

proptest! {
    #[test]
    fn every_failure_is_in_exactly_one_of_at_most_so_many_clusters_and_none_is_left_unmerged(
        vectors in vectors(),
        threshold in prop::sample::select(vec![0.0, 0.3, 0.5, 0.75, 0.9, 1.0]),
        max in 1usize..50,
    ) {
        let failures: Vec<Failure> = (0..vectors.len()).map(|index| failure(&index.to_string(), "", "")).collect();
        let found = cluster(&failures, &vectors, Some(threshold), max).clusters;
        prop_assert!(found.len() <= max);
        let mut members: Vec<&str> = found.iter().flat_map(Cluster::scenarios).map(whetstone_domain::ids::ScenarioId::as_str).collect();
        members.sort_unstable();
        let mut all: Vec<&str> = failures.iter().map(|failure| failure.scenario.as_str()).collect();
        all.sort_unstable();
        prop_assert_eq!(members, all);
        prop_assert!(found.windows(2).all(|pair| pair[0].weight() >= pair[1].weight()));
        let mut labels: Vec<&str> = found.iter().map(|cluster| cluster.label.as_str()).collect();
        labels.sort_unstable();
        labels.dedup();
        prop_assert_eq!(labels.len(), found.len());
        for (index, cluster) in found.iter().enumerate() {
            for other in &found[..index] {
                let similarity = mean_similarity(cluster, other, &vectors);
                prop_assert!(similarity < threshold + 1e-4, "{} and {} are alike: {similarity}", cluster.id, other.id);
            }
        }
    }

    #[test]
    fn the_same_vectors_in_another_order_make_the_same_clusters(vectors in vectors(), turn in 0usize..40, max in 1usize..10) {
        let failures: Vec<Failure> = (0..vectors.len()).map(|index| failure(&index.to_string(), "", "")).collect();
        let found = cluster(&failures, &vectors, Some(0.6), max).clusters;
        let (mut failures, mut vectors) = (failures, vectors);
        let turn = turn.min(vectors.len());
        failures.rotate_left(turn);
        vectors.rotate_left(turn);
        prop_assert_eq!(found, cluster(&failures, &vectors, Some(0.6), max).clusters);
    }
}

#[test]
fn a_label_names_the_dimension_in_which_its_mistake_was_found() {
    let two = |id: &str| {
        let mut failure = tool_failure(id, &[(ToolErrorKind::Missing, "refund", &[])], &["refund"], REQUESTS[0]);
        failure.tool_errors[0].dimension = Some("tool_compliance".into());
        // Its worst score is in another dimension.
        failure.dimensions = vec!["form".into(), "tool_compliance".into()];
        failure
    };
    let checked = |id: &str| {
        let mut failure = failure(id, "expected the answer to contain \"positive\"", REQUESTS[1]);
        failure.dimensions = vec!["form".into(), "accuracy".into()];
        failure.failed_checks = vec![whetstone_domain::score::FailedCheck {
            kind: whetstone_domain::score::CheckKind::Contains,
            expected: "the answer to contain \"positive\"".to_owned(),
            detail: "expected the answer to contain \"positive\"".to_owned(),
            dimension: Some("accuracy".into()),
        }];
        failure
    };
    let failures: Vec<Failure> = (0..4)
        .map(|number| two(&format!("refund-{number}")))
        .chain((0..4).map(|number| checked(&format!("review-{number}"))))
        .collect();
    let clustered = cluster(&failures, &vectorise(&failures), None, 12);
    let labels: Vec<&str> = clustered.clusters.iter().map(|cluster| cluster.label.as_str()).collect();
    assert!(labels.iter().any(|label| label.starts_with("tool_compliance: missing call of refund")), "{labels:?}");
    assert!(labels.iter().any(|label| label.starts_with("accuracy: expected the answer")), "{labels:?}");
}
