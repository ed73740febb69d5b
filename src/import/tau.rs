//! What tau-bench and tau2 share: their domains' tools, and how they compare what the agent did.
//!
//! Both compare the database after the run with the database after the expected actions. A transcript has no database,
//! so the calls that change it are compared: those expected, with exactly their arguments, and no others. Calls that
//! only read are free, and so are `think`, `calculate` and `transfer_to_human_agents`, which change nothing.

use std::collections::{BTreeSet, HashSet};

use super::Notes;
use super::read::base;
use super::scenario::{contains, matches};
use super::tools::SeenCalls;
use crate::domain::ids::ToolName;
use crate::domain::scenario::{CallOrder, Check, Expectation, ExpectedCall, ExtraCalls};
use crate::domain::transcript::Message;

/// What a simulated user writes at the end: it has nothing more to say, was handed over, or is asked what it is not told.
const MARKS: [&str; 3] = ["###STOP###", "###TRANSFER###", "###OUT-OF-SCOPE###"];

/// The most messages of a simulated user. A run of tau-bench ends after 30 steps of the agent.
pub(super) const MAX_TURNS: u32 = 30;

/// The tool with which an agent hands over to a person; a run ends with it.
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
    /// The tools of the domain, but for `think`, which tau2 does not have.
    pub fn tools(&self) -> impl Iterator<Item = &'static str> {
        self.reads.iter().chain(self.writes).copied().filter(|tool| *tool != "think")
    }
}

/// Takes the mark of the end out of the last message, and says whether there was one. A message that is nothing else
/// goes altogether.
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

/// Adds the calls that tell something about the tools: those that did not fail.
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

/// Whether a tool only reads, told by its name for those of other domains.
pub(super) fn only_reads(tool: &str) -> bool {
    let listed =
        |names: fn(&Domain) -> &'static [&'static str]| DOMAINS.iter().any(|domain| names(domain).contains(&tool));
    if listed(|domain| domain.writes) {
        return false;
    }
    listed(|domain| domain.reads)
        || ["get_", "find_", "list_", "search_", "check_"].iter().any(|start| tool.starts_with(start))
}

/// The domain with most of these tools, if one has any that the others lack.
pub(super) fn domain<'a>(tools: impl Iterator<Item = &'a str>) -> Option<&'static Domain> {
    let tools: BTreeSet<&str> = tools.collect();
    let count =
        |domain: &Domain| domain.reads.iter().chain(domain.writes).filter(|tool| tools.contains(**tool)).count();
    let mut ranked: Vec<(usize, &Domain)> = DOMAINS.iter().map(|domain| (count(domain), domain)).collect();
    ranked.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    (ranked[0].0 > ranked[1].0).then_some(ranked[0].1)
}

/// The tools of a file that only read; their calls are free in every scenario. Tools of no known domain are noted.
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

/// The expectation that only these calls change anything.
pub(super) fn only_these_changes(calls: Vec<ExpectedCall>, free_tools: &[ToolName]) -> Expectation {
    Expectation {
        calls,
        order: Some(CallOrder::Any),
        extra_calls: Some(ExtraCalls::Forbid),
        free_tools: free_tools.to_vec(),
        ..Expectation::default()
    }
}

/// The check that the agent told the user something. Both benchmarks take the commas out of what the agent said before
/// they look for it, so a number may be written with or without them between its thousands.
pub(super) fn tells(output: &str) -> Check {
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
        assert_eq!(tells("23553"), matches("23,?553"));
        assert_eq!(tells("1000000"), matches("1,?000,?000"));
        assert_eq!(tells("327"), contains("327"));
        assert_eq!(tells("blue card"), contains("blue card"));
    }

    #[test]
    fn a_domain_is_told_by_its_tools() {
        let of = |tools: &[&str]| domain(tools.iter().copied()).map(|domain| domain.name);
        assert_eq!(of(&["get_user_details", "cancel_reservation"]), Some("airline"));
        assert_eq!(of(&["get_user_details", "modify_user_address"]), Some("retail"));
        assert_eq!(of(&["get_user_details", "calculate"]), None, "both domains have these");
        assert_eq!(of(&["order_pizza"]), None);
    }
}
