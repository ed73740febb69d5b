//! What the API server checks by itself: rules in CEL for what a schema cannot say, each with what to do about it.
//!
//! They speak of the cluster. The command line does not evaluate them: it has files and environment variables, and its own
//! checks in [`resolve`](mod@super::resolve). An absent field and one that is null are the same here. Lists and texts in a rule need
//! a bound in the schema, for the API server reckons the cost of the worst case before it takes a rule.

use kube::core::{Message, Reason, Rule};

use crate::domain::duration;

/// Exactly one of these fields of an object.
pub fn exactly_one(fields: &[&str]) -> Rule {
    one_of(fields, fields)
}

/// Exactly one of these fields, of which the cluster has some and another rule refuses the rest.
pub fn exactly_one_but(fields: &[&str], refused: &[&str]) -> Rule {
    one_of(&[fields, refused].concat(), fields)
}

fn one_of(fields: &[&str], told: &[&str]) -> Rule {
    let given: Vec<String> = fields.iter().map(|field| format!("has(self.{field})")).collect();
    let message = format!("give exactly one of {}", told.join(", "));
    Rule::new(format!("[{}].exists_one(given, given)", given.join(", "))).message(&*message)
}

/// A field that only the command line reads.
pub fn not_in_the_cluster(field: &str, instead: &str) -> Rule {
    let message = format!("the cluster reads no files: {instead}");
    forbids(&format!("has(self.{field})"), &message).field_path(format!(".{field}"))
}

/// The name of a resource whose objects bear it as a label: a rule of the whole object.
pub fn name_fits_a_label() -> Rule {
    let message = "metadata.name must have at most 63 characters: what the operator makes bears it as a label";
    demands("size(self.metadata.name) <= 63", message)
}

/// What must hold.
pub fn demands(rule: &str, message: &str) -> Rule {
    Rule::new(rule).message(message)
}

/// What must not be.
pub fn forbids(rule: &str, message: &str) -> Rule {
    Rule::new(format!("!({rule})")).message(message).reason(Reason::FieldValueForbidden)
}

/// A field that must be there under a condition.
pub fn requires(field: &str, condition: &str, message: &str) -> Rule {
    let rule = format!("!({condition}) || has(self.{field})");
    Rule::new(rule).message(message).field_path(format!(".{field}")).reason(Reason::FieldValueRequired)
}

/// A duration of the cluster's form that is not shorter than another.
pub fn lasts(at_least: &str) -> Rule {
    let message = format!("must not be shorter than {at_least}");
    // A text of another form has a message of its own, and would be an error here.
    let form = duration::IN_CLUSTER;
    Rule::new(format!("!self.matches('{form}') || duration(self) >= duration('{at_least}')")).message(&*message)
}

/// A duration of the cluster's form that is not longer than another.
pub fn lasts_at_most(longest: &str) -> Rule {
    let message = format!("must not be longer than {longest}");
    let form = duration::IN_CLUSTER;
    Rule::new(format!("!self.matches('{form}') || duration(self) <= duration('{longest}')")).message(&*message)
}

/// A duration of an object that is not longer than another of it.
pub fn no_longer_than(short: &str, long: &str) -> Rule {
    let form = duration::IN_CLUSTER;
    let rule = format!(
        "!({} && has(self.{long})) || !self.{short}.matches('{form}') || !self.{long}.matches('{form}') || \
         duration(self.{short}) <= duration(self.{long})",
        is_there(short)
    );
    let message = format!("must not be longer than {long}: lower {short} or raise {long}");
    Rule::new(rule).message(&*message).field_path(format!(".{short}"))
}

/// The window of the watch has room for as many readings as it takes to take a prompt back. The defaults of the schema are there.
pub fn room_for_readings() -> Rule {
    let form = duration::IN_CLUSTER;
    let rule = format!(
        "!(has(self.signals) && size(self.signals) > 0 && has(self.window) && has(self.interval) && has(self.breaches)) || \
         !self.window.matches('{form}') || !self.interval.matches('{form}') || \
         duration(self.interval).getSeconds() * self.breaches <= duration(self.window).getSeconds()"
    );
    let message = "has no room for as many readings as it takes to take a prompt back: lengthen the window, or lower interval \
                   or breaches";
    demands(&rule, message).field_path(".window")
}

/// A query in PromQL that asks something.
pub fn is_query() -> Rule {
    demands("self.trim() != ''", "must not be empty: write a query in PromQL, such as sum(rate(errors_total[5m]))")
}

/// A reference to one of `spec.models`: a rule of the spec about the field at a path.
pub fn names_a_model(path: &str) -> Rule {
    let there = is_there(path);
    let name = format!("self.{path}");
    let rule = format!("!({there}) || (has(self.models) && self.models.exists(m, m.name == {name}))");
    let message = format!("'no model \"' + {name} + '\" in spec.models: name one that is there, or add it'");
    Rule::new(rule).message(Message::Expression(message)).field_path(format!(".{path}"))
}

/// The same for the judges of the dimensions. Which one it is cannot be said: the API server reckons that a text made from a list
/// has no bound.
pub fn judges_are_models() -> Rule {
    let dimensions = "self.scoring.dimensions";
    let known = "has(self.models) && self.models.exists(m, m.name == d.judge.ref)";
    let rule = format!("!(has(self.scoring) && has({dimensions})) || {dimensions}.all(d, !has(d.judge) || ({known}))");
    let message = "the judge of a dimension is not in spec.models: let judge.ref name one that is there, or add it";
    Rule::new(rule).message(message).field_path(".scoring.dimensions")
}

/// Something that models of a kind cannot do: a rule of the spec about the reference at a path.
pub fn model_must(path: &str, has: &str, message: &str) -> Rule {
    let there = is_there(path);
    let rule = format!("!({there}) || !has(self.models) || self.models.all(m, m.name != self.{path} || has(m.{has}))");
    Rule::new(rule).message(message).field_path(format!(".{path}"))
}

/// Whether everything on the way to a field is there.
fn is_there(path: &str) -> String {
    let ends = path.match_indices('.').map(|(end, _)| end).chain([path.len()]);
    let fields: Vec<String> = ends.map(|end| format!("has(self.{})", &path[..end])).collect();
    fields.join(" && ")
}

/// With a budget, every model has a price.
pub fn a_budget_needs_prices() -> Rule {
    let rule =
        "!(has(self.budget) && has(self.budget.perCycle) && has(self.models)) || self.models.all(m, has(m.price))";
    let message = "spec.budget.perCycle cannot be kept without the price of every model: give each price.inputPerMillion and \
                   price.outputPerMillion (\"0\" for a model that costs nothing)";
    Rule::new(rule).message(message).field_path(".models")
}

/// What a judge scores needs one: a rule of the spec, because the dimensions that are there when none are written need one too.
pub fn a_judge_for_every_dimension() -> Rule {
    let asks = "(!has(d.scorer) ? d.name != 'tool_compliance' : d.scorer in ['Judge', 'ChecksOrJudge'])";
    let written = "has(self.scoring) && has(self.scoring.dimensions) && size(self.scoring.dimensions) > 0";
    let common = "has(self.scoring) && has(self.scoring.judge)";
    let rule = format!("({common}) || (({written}) && self.scoring.dimensions.all(d, has(d.judge) || !{asks}))");
    let message = "a judge scores some of the dimensions (accuracy, safety and tool_compliance when none are written): give \
                   spec.scoring.judge, or each of them a judge, or scorer: Checks where checks alone score it";
    Rule::new(rule).message(message).field_path(".scoring").reason(Reason::FieldValueRequired)
}

/// A dimension of the user's own says what its judge is to look for.
pub fn a_rubric_for_the_judge() -> Rule {
    let asks = "!has(self.scorer) || self.scorer in ['Judge', 'ChecksOrJudge']";
    let own = "!(self.name in ['accuracy', 'safety', 'tool_compliance'])";
    requires(
        "rubric",
        &format!("{own} && ({asks})"),
        "a judge scores this dimension: say what it is to look for, or set scorer to Checks or ToolCalls",
    )
}

/// The target is not the ConfigMap of a source, which is only read: a rule of the spec about the reference at a path.
pub fn target_is_not(path: &str, holds: &str) -> Rule {
    let rule = format!("!({} && {}) || self.{path}.name != {TARGET}", is_there("promotion.target"), is_there(path));
    foreign_target(&rule, holds)
}

/// The same for every one of a list of sources.
pub fn target_is_none_of(path: &str, reference: &str, holds: &str) -> Rule {
    let there = format!("{} && {}", is_there("promotion.target"), is_there(path));
    let rule = format!("!({there}) || self.{path}.all(s, !has(s.{reference}) || s.{reference}.name != {TARGET})");
    foreign_target(&rule, holds)
}

const TARGET: &str = "self.promotion.target.configMap";

fn foreign_target(rule: &str, holds: &str) -> Rule {
    let message = format!("must not be the ConfigMap of {holds}, which is never written: name one of its own");
    demands(rule, &message).field_path(".promotion.target.configMap")
}

/// A price that is kept exactly.
pub fn at_most_twelve_places() -> Rule {
    demands("!self.matches('[.][0-9]{13}')", "has more than 12 decimal places: round it")
}

/// A URL that requests are made to. Rules about URLs stand at the object: the API server repeats the value of a text that it
/// refuses, and a URL may hold a password.
pub fn is_url(field: &str, example: &str) -> Rule {
    let message = format!("must be an http or https URL, such as {example}");
    about_url(field, "URL.matches('^https?://[^/?#]') && isURL(URL)", &message)
}

/// A URL without user and password.
pub fn without_credentials(field: &str, instead: &str) -> Rule {
    let message = format!("must not hold credentials: {instead}");
    about_url(field, "!URL.matches('^[a-z]+://[^/?#]*@')", &message)
}

/// A URL that a path can be appended to.
pub fn without_query(field: &str) -> Rule {
    let message = "must not have a query or fragment: leave out ? or # and what follows";
    about_url(field, "!URL.contains('?') && !URL.contains('#')", message)
}

fn about_url(field: &str, rule: &str, message: &str) -> Rule {
    let rule = rule.replace("URL.", &format!("self.{field}.")).replace("(URL)", &format!("(self.{field})"));
    demands(&format!("!has(self.{field}) || ({rule})"), message).field_path(format!(".{field}"))
}
