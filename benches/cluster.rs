//! Clustering of 5,000 failures with vectors of 384 dimensions.

#![allow(missing_docs, reason = "criterion's macros write functions without docs")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use whetstone::domain::cluster::Failure;
use whetstone::domain::score::{ToolError, ToolErrorKind};
use whetstone::engine::cluster::{DIMENSIONS, cluster, vectorise};

const FAILURES: usize = 5_000;
const MISTAKES: usize = 40;

/// Failures of forty mistakes, described in a few dozen words each.
fn failures(rng: &mut ChaCha8Rng) -> Vec<Failure> {
    let words: Vec<String> = (0..2_000)
        .map(|_| (0..rng.random_range(4..9)).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect())
        .collect();
    let mut text = |length: usize| -> String {
        (0..length).map(|_| words[rng.random_range(0..words.len())].as_str()).collect::<Vec<_>>().join(" ")
    };
    (0..FAILURES)
        .map(|index| Failure {
            scenario: format!("scenario-{index}").into(),
            tags: Vec::new(),
            weight: 1.0,
            request: text(40),
            answer: text(40),
            dimensions: vec!["accuracy".into()],
            score: 0.3,
            tool_errors: vec![ToolError {
                kind: if index % 2 == 0 { ToolErrorKind::Missing } else { ToolErrorKind::Extra },
                tool: format!("tool_{}", index % MISTAKES).into(),
                arguments: Vec::new(),
                detail: text(20),
                dimension: None,
            }],
            failed_checks: Vec::new(),
            expected_tools: vec!["lookup".into()],
            evidence: text(30),
        })
        .collect()
}

/// Vectors around forty centres, as an embedding model would give them.
fn vectors(rng: &mut ChaCha8Rng) -> Vec<Vec<f32>> {
    let mut vector = |spread: f32| -> Vec<f32> { (0..DIMENSIONS).map(|_| rng.random_range(-spread..spread)).collect() };
    let centres: Vec<Vec<f32>> = (0..MISTAKES).map(|_| vector(1.0)).collect();
    (0..FAILURES)
        .map(|index| centres[index % MISTAKES].iter().zip(vector(0.8)).map(|(centre, noise)| centre + noise).collect())
        .collect()
}

fn clustering(criterion: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let failures = failures(&mut rng);
    let vectors = vectors(&mut rng);
    let mut group = criterion.benchmark_group("5,000 failures, 384 dimensions");
    group.sample_size(10);
    group.bench_function("cluster", |bencher| bencher.iter(|| cluster(black_box(&failures), &vectors, None, 12)));
    group.bench_function("vectorise", |bencher| bencher.iter(|| vectorise(black_box(&failures))));
    group.finish();
}

criterion_group!(benches, clustering);
criterion_main!(benches);
