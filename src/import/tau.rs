//! Shared by tau-bench and tau2: the tools of their domains, and the comparison of runs.
//!
//! Both compare the database after the run with the database after the expected actions. A transcript has no database,
//! so the calls that change it are compared: only the expected ones, with exactly their arguments. Read-only calls are free, and so
//! are `think`, `calculate` and `transfer_to_human_agents`, which change nothing.

use std::collections::{BTreeSet, HashSet};

use super::Notes;
use super::read::base;
use super::scenario::{contains, matches};
use super::tools::SeenCalls;
use whetstone_domain::ids::ToolName;
use whetstone_domain::scenario::{CallOrder, Check, Expectation, ExpectedCall, ExtraCalls};
use whetstone_domain::transcript::Message;

/// The marks with which a simulated user ends: it is done, was transferred, or does not know the answer to a question.
const MARKS: [&str; 3] = ["###STOP###", "###TRANSFER###", "###OUT-OF-SCOPE###"];

/// The maximum number of messages of a simulated user. A run of tau-bench ends after 30 steps of the agent.
pub(super) const MAX_TURNS: u32 = 30;

/// The tool with which an agent transfers the user to a person, which ends a run.
pub(super) const TRANSFER: &str = "transfer_to_human_agents";

/// A domain of the benchmarks.
pub(super) struct Domain {
    pub name: &'static str,
    /// Tools that change nothing.
    reads: &'static [&'static str],
    /// Tools that change the database.
    writes: &'static [&'static str],
}

const DOMAINS: [Domain; 3] = [
    Domain {
        name: "airline",
        reads: &[
            "calculate",
            "get_flight_status",
            "get_reservation_details",
            "get_user_details",
            "list_all_airports",
            "search_direct_flight",
            "search_onestop_flight",
            "think",
            TRANSFER,
        ],
        writes: &[
            "book_reservation",
            "cancel_reservation",
            "send_certificate",
            "update_reservation_baggages",
            "update_reservation_flights",
            "update_reservation_passengers",
        ],
    },
    Domain {
        name: "retail",
        reads: &[
            "calculate",
            "find_user_id_by_email",
            "find_user_id_by_name_zip",
            "get_item_details",
            "get_order_details",
            "get_product_details",
            "get_user_details",
            "list_all_product_types",
            "think",
            TRANSFER,
        ],
        writes: &[
            "cancel_pending_order",
            "exchange_delivered_order_items",
            "modify_pending_order_address",
            "modify_pending_order_items",
            "modify_pending_order_payment",
            "modify_user_address",
            "return_delivered_order_items",
        ],
    },
    Domain {
        name: "telecom",
        reads: &[
            "get_bills_for_customer",
            "get_customer_by_id",
            "get_customer_by_name",
            "get_customer_by_phone",
            "get_data_usage",
            "get_details_by_id",
            TRANSFER,
        ],
        writes: &[
            "disable_roaming",
            "enable_roaming",
            "refuel_data",
            "resume_line",
            "send_payment_request",
            "suspend_line",
        ],
    },
];

impl Domain {
    /// The tools of the domain, except `think`, which tau2 does not have.
    pub(super) fn tools(&self) -> impl Iterator<Item = &'static str> {
        self.reads.iter().chain(self.writes).copied().filter(|tool| *tool != "think")
    }
}

/// Removes the end mark from the last message, and returns whether there was one. A message with nothing else is removed.
pub(super) fn take_mark(messages: &mut Vec<Message>) -> bool {
    let Some(Message::User { text }) = messages.last_mut() else { return false };
    let Some(mark) = MARKS.into_iter().find(|mark| text.contains(mark)) else { return false };
    let said = text.replace(mark, "");
    said.trim().clone_into(text);
    if text.is_empty() {
        messages.pop();
    }
    true
}

/// Adds the calls from which tools are inferred: those that did not fail.
pub(super) fn see_calls(messages: &[Message], seen: &mut SeenCalls) {
    let failed: HashSet<&str> = messages
        .iter()
        .filter_map(|message| match message {
            Message::Tool { id, failed: true, .. } => Some(id.as_str()),
            _ => None,
        })
        .collect();
    for message in messages {
        if let Message::Assistant { calls, .. } = message {
            for call in calls.iter().filter(|call| !failed.contains(call.id.as_str())) {
                seen.add(&call.name, &call.arguments);
            }
        }
    }
}

/// Whether a tool is read-only, inferred from its name for tools of other domains.
pub(super) fn only_reads(tool: &str) -> bool {
    let listed =
        |names: fn(&Domain) -> &'static [&'static str]| DOMAINS.iter().any(|domain| names(domain).contains(&tool));
    if listed(|domain| domain.writes) {
        return false;
    }
    listed(|domain| domain.reads)
        || ["get_", "find_", "list_", "search_", "check_"].iter().any(|start| tool.starts_with(start))
}

/// The domain with most of these tools, if it has any that the others do not have.
pub(super) fn domain<'a>(tools: impl Iterator<Item = &'a str>) -> Option<&'static Domain> {
    let tools: BTreeSet<&str> = tools.collect();
    let count =
        |domain: &Domain| domain.reads.iter().chain(domain.writes).filter(|tool| tools.contains(**tool)).count();
    let mut ranked: Vec<(usize, &Domain)> = DOMAINS.iter().map(|domain| (count(domain), domain)).collect();
    ranked.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    (ranked[0].0 > ranked[1].0).then_some(ranked[0].1)
}

/// The read-only tools of a file, whose calls are free in every scenario. Tools of unknown domains are reported.
pub(super) fn free_tools<'a>(
    tools: impl Iterator<Item = &'a ToolName>,
    file: &str,
    notes: &mut Notes,
) -> Vec<ToolName> {
    let mut free = Vec::new();
    for tool in tools {
        let name = tool.as_str();
        let reads = only_reads(name);
        if !DOMAINS.iter().any(|domain| domain.reads.contains(&name) || domain.writes.contains(&name)) {
            let what = if reads { "only reads" } else { "changes something" };
            notes.add(
                base(file),
                format!("unknown tool `{tool}`"),
                format!("assumed from its name that it {what}; correct `freeTools` if that is wrong"),
            );
        }
        if reads {
            free.push(tool.clone());
        }
    }
    free
}

/// The expectation that only these calls change the database.
pub(super) fn only_these_changes(calls: Vec<ExpectedCall>, free_tools: &[ToolName]) -> Expectation {
    Expectation {
        calls,
        order: Some(CallOrder::Any),
        extra_calls: Some(ExtraCalls::Forbid),
        free_tools: free_tools.to_vec(),
        ..Expectation::default()
    }
}

/// The check that the agent said something to the user. Both benchmarks remove commas from the agent's messages before they search
/// them, so a number may have thousands separators or not.
pub(super) fn communicates(output: &str) -> Check {
    if output.len() < 4 || !output.bytes().all(|byte| byte.is_ascii_digit()) {
        return contains(output);
    }
    let first = match output.len() % 3 {
        0 => 3,
        rest => rest,
    };
    let mut pattern = output[..first].to_owned();
    for group in output.as_bytes()[first..].chunks(3) {
        pattern.push_str(",?");
        pattern.extend(group.iter().map(|digit| char::from(*digit)));
    }
    matches(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_may_have_commas_between_its_thousands() {
        assert_eq!(communicates("23553"), matches("23,?553"));
        assert_eq!(communicates("1000000"), matches("1,?000,?000"));
        assert_eq!(communicates("327"), contains("327"));
        assert_eq!(communicates("blue card"), contains("blue card"));
    }

    #[test]
    fn a_domain_is_detected_by_its_tools() {
        let of = |tools: &[&str]| domain(tools.iter().copied()).map(|domain| domain.name);
        assert_eq!(of(&["get_user_details", "cancel_reservation"]), Some("airline"));
        assert_eq!(of(&["get_user_details", "modify_user_address"]), Some("retail"));
        assert_eq!(of(&["get_user_details", "calculate"]), None, "both domains have these");
        assert_eq!(of(&["order_pizza"]), None);
    }
}
