//! Templates of nunjucks (and similar engines), rendered by minijinja.
//!
//! Both are Jinja: comments, conditions, loops and most filters are the same. Differences of JavaScript are
//! translated first; features that minijinja does not support (`{% switch %}`, custom filters, includes) are an error, and the text
//! is unchanged.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{Serde, ValueKind};
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};
use regex::{Captures, Regex};

/// The limit of one rendering: about this many instructions, or 64 times as many bytes.
const FUEL: u64 = 500_000;

static PLACEHOLDER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\{\{-?\s*([\w.]+)\s*-?\}\}").expect("the pattern is constant and a test uses it"));

/// A tag, or a region without tags.
static TAG: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?s)\{#.*?#\}|\{%-?\s*(?:raw|verbatim)\s*-?%\}.*?\{%-?\s*end(?:raw|verbatim)\s*-?%\}|\{\{(?:'[^']*'|.)*?\}\}|\{%(?:'[^']*'|.)*?%\}",
    )
    .expect("the pattern is constant and a test uses it")
});

/// A quoted text, or a difference of JavaScript.
static JAVASCRIPT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?s)"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|===|!==|\.length\b|\belseif\b|\bverbatim\b|\bendverbatim\b"#)
        .expect("the pattern is constant and a test uses it")
});

/// A rendered template.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    pub text: String,
    /// The names of variables without a value, some of which were rendered as nothing.
    pub missing: Vec<String>,
}

/// The engine.
pub(super) struct Engine {
    environment: Environment<'static>,
    /// The number of missing values in one rendering.
    printed_nothing: Arc<AtomicUsize>,
}

impl Engine {
    pub(super) fn new() -> Self {
        let printed_nothing = Arc::new(AtomicUsize::new(0));
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        let syntax = minijinja::syntax::SyntaxConfig::builder().keep_trailing_newline(true).build();
        environment.set_syntax(syntax.expect("the usual marks of a template are consistent"));
        let count = Arc::clone(&printed_nothing);
        environment.set_formatter(move |out, _, value| {
            match value.kind() {
                ValueKind::Undefined => {
                    count.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                }
                ValueKind::None => Ok(()),
                ValueKind::Bool => out.write_str(if value.is_true() { "true" } else { "false" }),
                ValueKind::Seq | ValueKind::Map => out.write_str(&json(value, None)?),
                _ => write!(out, "{value}"),
            }
            .map_err(|_: std::fmt::Error| minijinja::Error::new(ErrorKind::WriteFailure, "the output is full"))
        });
        environment.add_filter("dump", |value: Value, spaces: Option<usize>| json(&value, spaces));
        environment.add_filter("wordcount", |text: String| text.split_whitespace().count());
        environment.add_filter("nl2br", |text: String| text.replace('\n', "<br />\n"));
        environment.add_global("null", Value::from(()));
        Self { environment, printed_nothing }
    }

    /// Fills in a template.
    ///
    /// # Errors
    /// The unsupported syntax in one line, or the exceeded limit.
    pub(super) fn render(&self, text: &str, variables: &Value) -> Result<Rendered, String> {
        if !text.contains("{{") && !text.contains("{%") && !text.contains("{#") {
            return Ok(Rendered { text: text.to_owned(), missing: Vec::new() });
        }
        let source = translated(text);
        let template = self.environment.template_from_str(&source).map_err(|error| reason(&error))?;
        self.printed_nothing.store(0, Ordering::Relaxed);
        let text = template.render(variables.clone()).map_err(|error| reason(&error))?;
        let mut missing = Vec::new();
        if self.printed_nothing.load(Ordering::Relaxed) > 0 {
            let is_missing = |name: &String| variables.get_attr(name).is_ok_and(|value| value.is_undefined());
            missing.extend(template.undeclared_variables(false).into_iter().filter(is_missing));
            missing.sort();
            if missing.is_empty() {
                missing.push("a field of a variable".to_owned());
            }
        }
        Ok(Rendered { text, missing })
    }

    /// Whether the template has no variables; `None` if its syntax is not supported.
    pub(super) fn is_constant(&self, text: &str) -> Option<bool> {
        let source = translated(text);
        let template = self.environment.template_from_str(&source).ok()?;
        Some(template.undeclared_variables(false).is_empty())
    }
}

/// Variables for a template.
pub(super) fn variables(values: &impl serde::Serialize) -> Value {
    Value::from(Serde(values))
}

fn json(value: &Value, spaces: Option<usize>) -> Result<String, minijinja::Error> {
    let text = match spaces {
        Some(1..) => serde_json::to_string_pretty(value),
        _ => serde_json::to_string(value),
    };
    text.map_err(|error| minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

fn reason(error: &minijinja::Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return "it needs too much time or memory".to_owned();
    }
    match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    }
}

/// The template with differences of JavaScript converted to Jinja, inside tags and outside quotes.
fn translated(text: &str) -> Cow<'_, str> {
    TAG.replace_all(text, |tag: &Captures| {
        if tag[0].starts_with("{#") {
            return tag[0].to_owned();
        }
        let translate = |found: &Captures| match &found[0] {
            "===" => "==".to_owned(),
            "!==" => "!=".to_owned(),
            ".length" => "|length".to_owned(),
            "elseif" => "elif".to_owned(),
            "verbatim" => "raw".to_owned(),
            "endverbatim" => "endraw".to_owned(),
            quoted => quoted.to_owned(),
        };
        let is_raw = tag[0].contains("endraw") || tag[0].contains("endverbatim");
        if is_raw {
            return tag[0].replacen("verbatim", "raw", 1).replace("endverbatim", "endraw");
        }
        JAVASCRIPT.replace_all(&tag[0], translate).into_owned()
    })
}

/// The names of the placeholders in a text that consist only of a name.
pub(super) fn names(text: &str) -> Vec<String> {
    PLACEHOLDER.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

/// The text before a placeholder, if the text ends with it and has no other occurrence.
pub(super) fn before_last(text: &str, name: &str) -> Option<String> {
    let mut places = PLACEHOLDER.captures_iter(text).filter(|found| &found[1] == name);
    let whole = places.next()?.get(0)?;
    let ends = text[whole.end()..].trim_matches(|c: char| c.is_whitespace() || "\"'`".contains(c)).is_empty();
    (ends && places.next().is_none()).then(|| text[..whole.start()].to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(text: &str) -> Result<Rendered, String> {
        let values = json!({
            "name": "Mia", "order": {"items": [{"id": 7}], "b": 1, "a": 2}, "none": null, "yes": true, "price": 1.5,
            "list": ["a", "b"],
        });
        Engine::new().render(text, &variables(&values))
    }

    #[test]
    fn templates_are_filled_in_as_nunjucks_does() {
        for (template, text) in [
            ("{{name}}: {{ order.items[0].id }}\n", "Mia: 7\n"),
            ("{{ name | upper }} {{ price }} {{ yes }}", "MIA 1.5 true"),
            ("{{ order }}", r#"{"items":[{"id":7}],"b":1,"a":2}"#),
            ("{{ name | dump }}", r#""Mia""#),
            ("a{# a comment #}b{{ none }}c{{ null }}", "abc"),
            ("{% if name === 'Mia' %}yes{% elseif name %}no{% endif %}", "yes"),
            ("{% if list.length !== 2 %}no{% endif %}{{ list.length }}", "2"),
            ("{% for x in list %}- {{ x }}\n{% endfor %}", "- a\n- b\n"),
            ("{{ nothing | default('standard') }}", "standard"),
            ("{{ '{{ x.length }}' }}{% raw %}{{ name.length }}{% endraw %}", "{{ x.length }}{{ name.length }}"),
            ("{% verbatim %}{{ name }}{% endverbatim %}", "{{ name }}"),
            ("no template: { } }} %}", "no template: { } }} %}"),
        ] {
            assert_eq!(rendered(template), Ok(Rendered { text: text.to_owned(), missing: Vec::new() }), "{template}");
        }
    }

    #[test]
    fn what_has_no_value_is_nothing_and_is_named() {
        let found = rendered("{{ city }} and {{ order.unknown }}{{ a.b.c }}").unwrap();
        assert_eq!(found.text, " and ");
        assert_eq!(found.missing, ["a", "city"]);
        assert_eq!(rendered("{% if vip %}x{% endif %}").unwrap().missing, Vec::<String>::new());
    }

    #[test]
    fn what_is_not_understood_or_takes_too_much_is_an_error() {
        for template in [
            "{{ name | uppercaseFirst }}",
            "{% switch name %}{% case 'Mia' %}x{% endswitch %}",
            "{% include 'other.txt' %}",
            "{{ name",
            "{% if name %}",
            "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}",
            "{% set x = name * 1000000 %}{% set y = x * 1000000 %}{{ y }}",
            "{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f('xxxxxxxx') }}",
        ] {
            assert!(rendered(template).is_err(), "{template}: {:?}", rendered(template));
        }
    }

    #[test]
    fn what_stands_before_the_last_placeholder_is_found() {
        assert_eq!(before_last("Translate:\n{{ input }}\n", "input").as_deref(), Some("Translate:\n"));
        assert_eq!(before_last("Q: \"{{input}}\"", "input").as_deref(), Some("Q: \""));
        assert_eq!(before_last("{{input}} in short", "input"), None);
        assert_eq!(before_last("{{input}} or {{input}}", "input"), None);
        assert_eq!(names("{{ a }} {{ b | upper }} {{ c.d }}"), ["a", "c.d"]);
    }
}
