//! The identity of a plan's inputs, pinned.

use super::super::{References, resolve};
use crate::api::Submission;
use whetstone_domain::plan::Plan;

const PLAIN: &str = include_str!("fixtures/plain.yaml");
const FULL: &str = include_str!("fixtures/full.yaml");

fn plan(text: &str) -> Plan {
    let submission = Submission::read("agent.yaml", text, None).unwrap_or_else(|problems| panic!("{problems}"));
    let references = References::gather(&submission, &[], |_| Ok(None));
    resolve(&submission, &references).unwrap_or_else(|problems| panic!("{problems}"))
}

/// A change of these makes every optimization of every user run, and pay, another cycle on the day of the upgrade.
#[test]
fn the_identity_of_inputs_is_pinned() {
    insta::assert_json_snapshot!("canonical form", plan(FULL).canonical());
    assert_eq!(
        [PLAIN, FULL].map(|text| plan(text).inputs().to_string()),
        [
            "v2:76893e9687e71cb065fa91e78a32c20f5d82dd770534f34f1440265c98da4984",
            "v2:220547e3ad4941b3380fc023c7e76cfafe0600faf93ab55526b021886df8da7d",
        ]
    );
    // Of cycles: one that is interrupted by an upgrade goes on.
    assert_eq!([PLAIN, FULL].map(|text| plan(text).identity().short()), ["d9cece349073", "855cc80b5123"]);
}

/// The literals were recorded by the program of 2026-11-27, which knew no versions.
#[test]
fn what_the_first_release_recorded_is_recognised_and_written_anew() {
    let recorded = [
        (PLAIN, "59f0957c300f7e706656112d3439997e1b42bb76b9dd8e81678d41e4aafe8beb"),
        (FULL, "c641ab4f8b2a8c5f20665d4156e1c9a770ebe405d32a94ad9ffebc7d4c719f31"),
    ];
    for (text, recorded) in recorded {
        let inputs = plan(text).inputs();
        assert!(inputs.is_legacy(recorded), "{inputs}");
        assert!(!inputs.is_legacy("of something else"));
    }
}
