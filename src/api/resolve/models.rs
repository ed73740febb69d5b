//! `spec.models`.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use url::Url;

use super::super::models::{Anthropic, Limits, Model, ModelHeader, OpenAi, TokenPrice};
use super::super::source::SecretSource;
use super::super::{AgentOptimizationSpec, defaults};
use super::findings::Findings;
use whetstone_domain::call::ModelIdentity;
use whetstone_domain::ids::ModelName;
use whetstone_domain::money::Price;
use whetstone_domain::plan::model::{StructuredOutput, SystemRole, TokenLimit};
use whetstone_domain::plan::{HeaderPlan, KeyPlan, LimitsPlan, ModelPlan, Provider};

const OPENAI_URL: &str = "https://api.openai.com/v1";
const OPENAI_KEY: &str = "OPENAI_API_KEY";
const ANTHROPIC_URL: &str = "https://api.anthropic.com";
const ANTHROPIC_KEY: &str = "ANTHROPIC_API_KEY";

/// All valid models.
pub(super) fn resolve(spec: &AgentOptimizationSpec, findings: &mut Findings<'_>) -> BTreeMap<ModelName, ModelPlan> {
    let is_budgeted = spec.budget.as_ref().is_some_and(|budget| budget.per_cycle.is_some());
    let mut names = BTreeSet::new();
    let mut plans = BTreeMap::new();
    for (index, model) in spec.models.iter().enumerate() {
        let path = format!("spec.models[{index}]");
        if !names.insert(&model.name) {
            findings
                .problem(&format!("{path}.name"), format!("duplicate model {:?}; give it another name", model.name));
        }
        if is_budgeted && model.price.is_none() {
            let message = format!(
                "the price of {:?} is unknown, so spec.budget.perCycle cannot be enforced; give inputPerMillion and \
                 outputPerMillion (\"0\" for a model that costs nothing)",
                model.name
            );
            findings.problem(&format!("{path}.price"), message);
        }
        if let Some(plan) = plan(model, &path, findings) {
            plans.insert(model.name.as_str().into(), plan);
        }
    }
    plans
}

/// Warns about unused models.
pub(super) fn warn_of_unused(spec: &AgentOptimizationSpec, findings: &mut Findings<'_>) {
    let used = super::used_models(spec);
    for (index, model) in spec.models.iter().enumerate() {
        if !used.contains(model.name.as_str()) {
            findings.warn(&format!("spec.models[{index}]"), format!("the model {:?} is not used", model.name));
        }
    }
}

fn plan(model: &Model, path: &str, findings: &mut Findings<'_>) -> Option<ModelPlan> {
    let options = [("openAI", model.openai.is_some()), ("anthropic", model.anthropic.is_some())];
    let given = findings.exactly_one(path, &options)?;
    let price = model.price.as_ref().and_then(|written| price(written, &format!("{path}.price"), findings));
    let headers = headers(model, path, findings);
    let structured = model.structured_output.unwrap_or_default();
    if structured == StructuredOutput::JsonObject && model.anthropic.is_some() {
        let message = "Anthropic does not support JsonObject; use JsonSchema, Plain or Auto";
        findings.problem(&format!("{path}.structuredOutput"), message);
    }
    let path = format!("{path}.{given}");
    let api = match (&model.openai, &model.anthropic) {
        (Some(openai), _) => openai_api(openai, &path, findings)?,
        (None, anthropic) => anthropic_api(anthropic.as_ref()?, &path, findings)?,
    };
    let sent = api.key_header;
    if api.names_a_key && headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(sent)) {
        let message = format!("the key is sent as the header {sent}, which `headers` also sets; remove one of them");
        findings.problem(&format!("{path}.apiKey"), message);
    }
    Some(ModelPlan {
        identity: api.identity,
        redirect: None,
        provider: api.provider,
        key: api.key,
        seed: api.seed,
        structured,
        token_limit: api.token_limit,
        system_role: api.system_role,
        headers,
        price,
        limits: limits(model.limits.as_ref()),
    })
}

fn limits(written: Option<&Limits>) -> LimitsPlan {
    let Limits { concurrency, requests_per_minute, tokens_per_minute, timeout, attempts } =
        written.cloned().unwrap_or_default();
    LimitsPlan {
        concurrency,
        requests_per_minute,
        tokens_per_minute,
        timeout: timeout.unwrap_or(defaults::CALL_TIMEOUT).0,
        attempts: attempts.unwrap_or(defaults::CALL_ATTEMPTS).max(1),
    }
}

/// The fields of an API, such as `openAI`.
struct Api {
    provider: Provider,
    identity: ModelIdentity,
    key: Option<KeyPlan>,
    /// The resource names the key, instead of leaving it to the usual variable.
    names_a_key: bool,
    key_header: &'static str,
    seed: bool,
    token_limit: TokenLimit,
    system_role: SystemRole,
}

fn openai_api(openai: &OpenAi, path: &str, findings: &mut Findings<'_>) -> Option<Api> {
    let OpenAi { base_url, model, api_key, seed, token_limit, system_role } = openai;
    let endpoint = endpoint(base_url.as_deref(), OPENAI_URL, path, findings)?;
    let key = match api_key {
        Some(source) => Some(key(source, OPENAI_KEY, path, findings)),
        None => base_url.is_none().then(|| from_env(OPENAI_KEY, true)),
    };
    Some(Api {
        provider: Provider::OpenAi,
        identity: ModelIdentity { provider: "openai".to_owned(), endpoint, model: model.clone() },
        key,
        names_a_key: api_key.is_some(),
        key_header: "authorization",
        seed: seed.unwrap_or(defaults::SEED),
        token_limit: token_limit.unwrap_or_default(),
        system_role: system_role.unwrap_or_default(),
    })
}

fn anthropic_api(anthropic: &Anthropic, path: &str, findings: &mut Findings<'_>) -> Option<Api> {
    let Anthropic { base_url, model, api_key } = anthropic;
    let endpoint = endpoint(base_url.as_deref(), ANTHROPIC_URL, path, findings)?;
    let key = match api_key {
        Some(source) => key(source, ANTHROPIC_KEY, path, findings),
        None => from_env(ANTHROPIC_KEY, base_url.is_none()),
    };
    Some(Api {
        provider: Provider::Anthropic,
        identity: ModelIdentity { provider: "anthropic".to_owned(), endpoint, model: model.clone() },
        key: Some(key),
        names_a_key: api_key.is_some(),
        key_header: "x-api-key",
        seed: false,
        token_limit: TokenLimit::default(),
        system_role: SystemRole::default(),
    })
}

/// Headers that the client sets itself.
const OWN_HEADERS: [&str; 10] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn headers(model: &Model, path: &str, findings: &mut Findings<'_>) -> Vec<(String, HeaderPlan)> {
    let mut names = BTreeSet::new();
    let mut plans = Vec::with_capacity(model.headers.len());
    for (index, header) in model.headers.iter().enumerate() {
        let path = format!("{path}.headers[{index}]");
        let name = header.name.to_ascii_lowercase();
        if OWN_HEADERS.contains(&name.as_str()) {
            findings.problem(&format!("{path}.name"), format!("{name:?} is set by Whetstone itself; remove it"));
        }
        if let Some(value) = self::header(header, &path, findings) {
            plans.push((name.clone(), value));
        }
        if !names.insert(name) {
            findings.problem(&format!("{path}.name"), format!("duplicate header {:?}; keep one of them", header.name));
        }
    }
    plans
}

fn header(written: &ModelHeader, path: &str, findings: &mut Findings<'_>) -> Option<HeaderPlan> {
    let ModelHeader { name, value, value_from } = written;
    findings.exactly_one(path, &[("value", value.is_some()), ("valueFrom", value_from.is_some())])?;
    if let Some(source) = value_from {
        if source.secret_key_ref.is_none() && source.env.is_none() {
            let message =
                "secretKeyRef (for the cluster), env (for the command line) or both are required; none is given";
            findings.problem(&format!("{path}.valueFrom"), message);
        }
        let secret = source.secret_key_ref.as_ref().map(Into::into);
        return Some(HeaderPlan::Secret(KeyPlan { env: source.env.clone(), secret, required: true }));
    }
    let value = value.as_ref()?;
    if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        let message = "a header value must be printable ASCII; for any other value, store an ASCII encoding of it in a Secret and use valueFrom";
        findings.problem(&format!("{path}.value"), message);
    }
    if ["authorization", "proxy-authorization", "cookie", "api-key", "x-api-key"]
        .contains(&name.to_ascii_lowercase().as_str())
    {
        let message = "everyone who can read the resource can read this credential; put it into a Secret and use valueFrom.secretKeyRef";
        findings.warn(&format!("{path}.value"), message);
    }
    Some(HeaderPlan::Value(value.clone()))
}

fn from_env(variable: &str, required: bool) -> KeyPlan {
    KeyPlan { env: Some(variable.to_owned()), secret: None, required }
}

/// A key from the given source. Both a Secret and a variable may be given: one for the operator, one for the command line.
fn key(source: &SecretSource, usual: &str, path: &str, findings: &mut Findings<'_>) -> KeyPlan {
    if source.secret_key_ref.is_none() && source.env.is_none() {
        let message = "secretKeyRef (for the cluster), env (for the command line) or both are required; none is given";
        findings.problem(&format!("{path}.apiKey"), message);
    }
    KeyPlan {
        env: Some(source.env.clone().unwrap_or_else(|| usual.to_owned())),
        secret: source.secret_key_ref.as_ref().map(Into::into),
        required: true,
    }
}

/// A base URL without a trailing slash.
fn endpoint(written: Option<&str>, usual: &str, path: &str, findings: &mut Findings<'_>) -> Option<String> {
    let Some(written) = written else { return Some(usual.to_owned()) };
    match base_url(written, usual, "apiKey") {
        Err(message) => {
            findings.problem(&format!("{path}.baseURL"), message);
            None
        }
        Ok(_) => Some(written.trim_end_matches('/').to_owned()),
    }
}

/// Parses a base URL, or returns a message. `usual` is an example of a correct one, and `credentials` is the field for credentials.
pub(super) fn base_url(written: &str, usual: &str, credentials: &str) -> Result<Url, String> {
    match Url::parse(written) {
        Err(error) => Err(format!("{written:?} is not a URL ({error}); write it like {usual}")),
        Ok(url) if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) => {
            Err(format!("{written:?} is not an http or https URL; write it like {usual}"))
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err(format!("a URL must not contain credentials; put the key into {credentials}"))
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            Err(format!("{written:?} has a query or fragment; remove it"))
        }
        Ok(url) => Ok(url),
    }
}

fn price(written: &TokenPrice, path: &str, findings: &mut Findings<'_>) -> Option<Price> {
    let input = per_token(&written.input_per_million, &format!("{path}.inputPerMillion"), findings);
    let output = per_token(&written.output_per_million, &format!("{path}.outputPerMillion"), findings);
    let cached = match &written.cached_input_per_million {
        Some(cached) => per_token(cached, &format!("{path}.cachedInputPerMillion"), findings),
        None => input,
    };
    Some(Price { input: input?, cached_input: cached?, output: output? })
}

/// The price of one token. Text that is not a decimal number was reported when the resource was parsed.
fn per_token(per_million: &str, path: &str, findings: &mut Findings<'_>) -> Option<Decimal> {
    let exact = Decimal::from_str_exact(per_million).ok();
    let price = exact.filter(|price| price.scale() <= 12).and_then(|price| price.checked_mul(Decimal::new(1, 6)));
    if price.is_none() {
        findings
            .problem(path, format!("{per_million:?} is not a decimal number with at most 12 places, such as \"0.15\""));
    }
    price
}
