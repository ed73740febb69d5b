//! The champion's prompt.

use super::super::AgentOptimizationSpec;
use super::super::source::TextSource;
use super::findings::Findings;
use super::references::{Reference, References, Text};
use whetstone_domain::prompt::{Prompt, PromptFormat};

/// The maximum size of a ConfigMap, in bytes of keys and values.
pub(super) const MOST_CONFIG_MAP_BYTES: usize = 1 << 20;
/// The maximum size of the other keys of a target, in bytes.
const BESIDE_PROMPT: usize = 1 << 10;

/// The champion: the prompt in the target ConfigMap if it exists, else the base prompt.
pub(super) fn champion(
    spec: &AgentOptimizationSpec,
    references: &References,
    findings: &mut Findings<'_>,
) -> Option<Prompt> {
    let source = &spec.agent.prompt;
    let path = "spec.agent.prompt";
    let format = spec.agent.prompt_format.unwrap_or_else(|| told_from_name(source));
    let base = findings.text(path, source, references).and_then(|text| parse(&text, format, path, findings));
    let target = super::promotion_of(spec).and_then(|promotion| promotion.target.as_ref());
    if let Some(name) = target.map(|target| target.config_map.as_str()) {
        note_target(name, references, findings);
    }
    let reference = target.map(|target| Reference::Champion { config_map: target.config_map.clone() });
    match reference.and_then(|reference| references.get(&reference)) {
        None => base,
        Some(read) => {
            let path = "spec.promotion.target.configMap";
            let text = match read {
                Ok(texts) => texts.first()?,
                Err(why) => {
                    findings.problem(path, why.as_str());
                    return None;
                }
            };
            parse(text, format, path, findings)
        }
    }
}

/// Reports problems with the target before anything is promoted.
fn note_target(name: &str, references: &References, findings: &mut Findings<'_>) {
    let path = "spec.promotion.target.configMap";
    if references.is_immutable(name) {
        let message = format!(
            "the ConfigMap {name:?} is immutable, so no prompt can be promoted into it; delete it and create it without \
             `immutable: true`"
        );
        findings.problem(path, message);
    }
    if references.is_edited(name) {
        let message = format!(
            "the prompt of the ConfigMap {name:?} does not match its prompt-hash, so the prompt was edited manually; it is used as the champion"
        );
        findings.warn(path, message);
    }
}

/// Warns about a prompt that is too large for its target.
pub(super) fn check_room(prompt: &Prompt, spec: &AgentOptimizationSpec, findings: &mut Findings<'_>) {
    let Some(target) = super::promotion_of(spec).and_then(|promotion| promotion.target.as_ref()) else { return };
    let bytes = prompt.text().len();
    if bytes + BESIDE_PROMPT > MOST_CONFIG_MAP_BYTES {
        let message = format!(
            "the prompt has {bytes} bytes, and the ConfigMap {:?} can hold {MOST_CONFIG_MAP_BYTES} with all its keys, so \
             Kubernetes will refuse it, and an operator would stop with PromptTooLarge; shorten the prompt",
            target.config_map
        );
        findings.warn("spec.promotion.target", message);
    }
}

fn parse(text: &Text, format: PromptFormat, path: &str, findings: &mut Findings<'_>) -> Option<Prompt> {
    match Prompt::parse(&text.text, format) {
        Ok(prompt) if prompt.text().trim().is_empty() => {
            findings.problem(path, format!("{}: the prompt is empty", text.name));
            None
        }
        Ok(prompt) => Some(prompt),
        Err(error) => {
            findings.problem(path, format!("{}: {error}", text.name));
            None
        }
    }
}

fn told_from_name(source: &TextSource) -> PromptFormat {
    let key = source.config_map_key_ref.as_ref().map(|key| key.key.as_str());
    let name = key.or(source.file.as_deref()).unwrap_or_default();
    if [".yaml", ".yml"].iter().any(|ending| name.ends_with(ending)) {
        PromptFormat::Yaml
    } else {
        PromptFormat::Markdown
    }
}

/// Reports a prompt with more tokens than allowed.
pub(super) fn check_length(prompt: &Prompt, allowed: usize, findings: &mut Findings<'_>) {
    if !prompt.fits(allowed) {
        let tokens = prompt.tokens();
        let message = format!(
            "the prompt has {tokens} tokens, and at most {allowed} are allowed; shorten the prompt, or raise the limit"
        );
        findings.problem("spec.patching.maxPromptTokens", message);
    }
}
