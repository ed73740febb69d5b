//! Validation rules of the API server: CEL rules for what a schema cannot express, each with a remedy.
//!
//! They apply in the cluster. The command line does not evaluate them: it supports files and environment variables, and has its own
//! checks in [`resolve`](mod@super::resolve). An absent field and null mean the same. Lists and strings in a rule need a bound in
//! the schema, because the API server estimates the worst-case cost before it accepts a rule.

use kube::core::{Message, Reason, Rule};

use whetstone_domain::duration;

/// Exactly one of these fields of an object.
pub(super) fn exactly_one(fields: &[&str]) -> Rule {
    one_of(fields, fields)
}

/// Exactly one of these fields, of which the message lists some, because another rule refuses the rest.
pub(super) fn exactly_one_but(fields: &[&str], refused: &[&str]) -> Rule {
    one_of(&[fields, refused].concat(), fields)
}

fn one_of(fields: &[&str], listed: &[&str]) -> Rule {
    let given: Vec<String> = fields.iter().map(|field| format!("has(self.{field})")).collect();
    let message = format!("give exactly one of {}", listed.join(", "));
    Rule::new(format!("[{}].exists_one(given, given)", given.join(", "))).message(&*message)
}

/// Refuses a field that only the command line supports.
pub(super) fn not_in_the_cluster(field: &str, instead: &str) -> Rule {
    let message = format!("the operator does not read files: {instead}");
    forbids(&format!("has(self.{field})"), &message).field_path(format!(".{field}"))
}

/// Limits the name of a resource, which is the value of a label of its objects: a rule of the whole object.
pub(super) fn name_fits_a_label() -> Rule {
    let message =
        "metadata.name must have at most 63 characters: it is the value of a label of the versions and the target";
    demands("size(self.metadata.name) <= 63", message)
}

/// A condition that must be true.
pub(super) fn demands(rule: &str, message: &str) -> Rule {
    Rule::new(rule).message(message)
}

/// A condition that must be false.
pub(super) fn forbids(rule: &str, message: &str) -> Rule {
    Rule::new(format!("!({rule})")).message(message).reason(Reason::FieldValueForbidden)
}

/// A field that is required under a condition.
pub(super) fn requires(field: &str, condition: &str, message: &str) -> Rule {
    let rule = format!("!({condition}) || has(self.{field})");
    Rule::new(rule).message(message).field_path(format!(".{field}")).reason(Reason::FieldValueRequired)
}

/// The minimum of a duration in the cluster's form.
pub(super) fn lasts(at_least: &str) -> Rule {
    let message = format!("must not be shorter than {at_least}");
    // A text of another form has a separate message, and would cause an evaluation error here.
    let form = duration::IN_CLUSTER;
    Rule::new(format!("!self.matches('{form}') || duration(self) >= duration('{at_least}')")).message(&*message)
}

/// The maximum of a duration in the cluster's form.
pub(super) fn lasts_at_most(longest: &str) -> Rule {
    let message = format!("must not be longer than {longest}");
    let form = duration::IN_CLUSTER;
    Rule::new(format!("!self.matches('{form}') || duration(self) <= duration('{longest}')")).message(&*message)
}

/// A duration of an object that must not be longer than another one.
pub(super) fn no_longer_than(short: &str, long: &str) -> Rule {
    let form = duration::IN_CLUSTER;
    let rule = format!(
        "!({} && has(self.{long})) || !self.{short}.matches('{form}') || !self.{long}.matches('{form}') || \
         duration(self.{short}) <= duration(self.{long})",
        is_there(short)
    );
    let message = format!("must not be longer than {long}: lower {short} or raise {long}");
    Rule::new(rule).message(&*message).field_path(format!(".{short}"))
}

/// The window of the watch must be long enough for the number of readings that a rollback requires. The defaults of the schema
/// are filled in.
pub(super) fn window_fits_readings() -> Rule {
    let form = duration::IN_CLUSTER;
    let rule = format!(
        "!(has(self.signals) && size(self.signals) > 0 && has(self.window) && has(self.interval) && has(self.breaches)) || \
         !self.window.matches('{form}') || !self.interval.matches('{form}') || \
         duration(self.interval).getSeconds() * self.breaches <= duration(self.window).getSeconds()"
    );
    let message = "is too short for the number of readings that a rollback requires: lengthen the window, or lower interval or \
                   breaches";
    demands(&rule, message).field_path(".window")
}

/// A PromQL query that is not empty.
pub(super) fn is_query() -> Rule {
    demands("self.trim() != ''", "must not be empty: write a query in PromQL, such as sum(rate(errors_total[5m]))")
}

/// A reference to an existing model of `spec.models`: a rule of the spec about the field at a path.
pub(super) fn names_a_model(path: &str) -> Rule {
    let there = is_there(path);
    let name = format!("self.{path}");
    let rule = format!("!({there}) || (has(self.models) && self.models.exists(m, m.name == {name}))");
    let message =
        format!("'spec.models has no model \"' + {name} + '\": add it, or use the name of an existing model'");
    Rule::new(rule).message(Message::Expression(message)).field_path(format!(".{path}"))
}

/// The same for the judges of the dimensions. The message cannot name the judge, because the API server assumes that a string
/// computed from a list is unbounded.
pub(super) fn judges_are_models() -> Rule {
    let dimensions = "self.scoring.dimensions";
    let known = "has(self.models) && self.models.exists(m, m.name == d.judge.ref)";
    let rule = format!("!(has(self.scoring) && has({dimensions})) || {dimensions}.all(d, !has(d.judge) || ({known}))");
    let message = "the judge of a dimension is not in spec.models: name an existing model in judge.ref, or add it";
    Rule::new(rule).message(message).field_path(".scoring.dimensions")
}

/// A requirement for the referenced model: a rule of the spec about the reference at a path.
pub(super) fn model_must(path: &str, has: &str, message: &str) -> Rule {
    let there = is_there(path);
    let rule = format!("!({there}) || !has(self.models) || self.models.all(m, m.name != self.{path} || has(m.{has}))");
    Rule::new(rule).message(message).field_path(format!(".{path}"))
}

/// Whether all fields of a path exist.
fn is_there(path: &str) -> String {
    let ends = path.match_indices('.').map(|(end, _)| end).chain([path.len()]);
    let fields: Vec<String> = ends.map(|end| format!("has(self.{})", &path[..end])).collect();
    fields.join(" && ")
}

/// With a budget, every model must have a price.
pub(super) fn a_budget_needs_prices() -> Rule {
    let rule =
        "!(has(self.budget) && has(self.budget.perCycle) && has(self.models)) || self.models.all(m, has(m.price))";
    let message = "spec.budget.perCycle cannot be enforced without the price of every model: give each price.inputPerMillion and \
                   price.outputPerMillion (\"0\" for a model that costs nothing)";
    Rule::new(rule).message(message).field_path(".models")
}

/// A dimension that a judge scores must have one: a rule of the spec, because the default dimensions need one too.
pub(super) fn a_judge_for_every_dimension() -> Rule {
    let asks = "(!has(d.scorer) ? d.name != 'tool_compliance' : d.scorer in ['Judge', 'ChecksOrJudge'])";
    let written = "has(self.scoring) && has(self.scoring.dimensions) && size(self.scoring.dimensions) > 0";
    let common = "has(self.scoring) && has(self.scoring.judge)";
    let rule = format!("({common}) || (({written}) && self.scoring.dimensions.all(d, has(d.judge) || !{asks}))");
    let message = "some dimensions need a judge (by default accuracy and safety), but none is set: set \
                   spec.scoring.judge, or a judge for each of these dimensions, or their scorer to Checks if checks alone score them";
    Rule::new(rule).message(message).field_path(".scoring").reason(Reason::FieldValueRequired)
}

/// A custom dimension with a judge must have a rubric.
pub(super) fn a_rubric_for_the_judge() -> Rule {
    let asks = "!has(self.scorer) || self.scorer in ['Judge', 'ChecksOrJudge']";
    let own = "!(self.name in ['accuracy', 'safety', 'tool_compliance'])";
    requires(
        "rubric",
        &format!("{own} && ({asks})"),
        "a judge scores this dimension: describe in rubric what it looks for, or set scorer to Checks or ToolCalls",
    )
}

/// The target must not be the ConfigMap of a source, which is only read: a rule of the spec about the reference at a path.
pub(super) fn target_is_not(path: &str, holds: &str) -> Rule {
    let rule = format!("!({} && {}) || self.{path}.name != {TARGET}", is_there("promotion.target"), is_there(path));
    foreign_target(&rule, holds)
}

/// The same for a list of sources.
pub(super) fn target_is_none_of(path: &str, reference: &str, holds: &str) -> Rule {
    let there = format!("{} && {}", is_there("promotion.target"), is_there(path));
    let rule = format!("!({there}) || self.{path}.all(s, !has(s.{reference}) || s.{reference}.name != {TARGET})");
    foreign_target(&rule, holds)
}

const TARGET: &str = "self.promotion.target.configMap";

fn foreign_target(rule: &str, holds: &str) -> Rule {
    let message = format!("must not be the ConfigMap of {holds}, which is only read: name a separate ConfigMap");
    demands(rule, &message).field_path(".promotion.target.configMap")
}

/// A price that can be represented exactly.
pub(super) fn at_most_twelve_places() -> Rule {
    demands("!self.matches('[.][0-9]{13}')", "has more than 12 decimal places: round it")
}

/// A URL for requests. Rules about URLs are at the object, because the API server repeats a refused string, and a URL may contain a
/// password.
pub(super) fn is_url(field: &str, example: &str) -> Rule {
    let message = format!("must be an http or https URL, such as {example}");
    about_url(field, "URL.matches('^https?://[^/?#]') && isURL(URL)", &message)
}

/// A URL without user and password.
pub(super) fn without_credentials(field: &str, instead: &str) -> Rule {
    let message = format!("must not contain credentials: {instead}");
    about_url(field, "!URL.matches('^[a-z]+://[^/?#]*@')", &message)
}

/// A URL to which a path can be appended.
pub(super) fn without_query(field: &str) -> Rule {
    let message = "must not have a query or fragment: remove ? or # and everything after it";
    about_url(field, "!URL.contains('?') && !URL.contains('#')", message)
}

fn about_url(field: &str, rule: &str, message: &str) -> Rule {
    let rule = rule.replace("URL.", &format!("self.{field}.")).replace("(URL)", &format!("(self.{field})"));
    demands(&format!("!has(self.{field}) || ({rule})"), message).field_path(format!(".{field}"))
}
