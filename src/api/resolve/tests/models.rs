//! `spec.models`, and what refers to them.

use super::*;

#[test]
fn models_are_checked() {
    let said = said(&[
        ("    - name: judge", "    - name: worker"),
        ("      anthropic: {model: claude-sonnet-4-5}", "      anthropic: {model: m}\n      openAI: {model: m}"),
        ("http://litellm.llm:4000/v1", "litellm.llm:4000/v1"),
        ("{secretKeyRef: {name: llm, key: key}}", "{}"),
        ("\n      price: {inputPerMillion: \"3\", outputPerMillion: \"15\"}", ""),
        ("model: {ref: worker}", "model: {ref: worker, parameters: {extra: {seed: 1, top_p: 1}}}"),
    ]);
    insta::assert_snapshot!(said, @r#"
    agent.yaml:8:57: spec.agent.runtime.model.parameters.extra.seed: Whetstone sends the index of the repeat as the seed; remove it
    agent.yaml:8:66: spec.agent.runtime.model.parameters.extra.top_p: use the field topP
    agent.yaml:11:16: spec.models[0].openAI.baseURL: "litellm.llm:4000/v1" is not an http or https URL; write it like https://api.openai.com/v1
    agent.yaml:13:7: spec.models[1]: exactly one of openAI, anthropic is allowed; openAI and anthropic are given
    agent.yaml:13:7: spec.models[1].name: duplicate model "worker"; give it another name
    agent.yaml:13:7: spec.models[1].price: the price of "worker" is unknown, so spec.budget.perCycle cannot be enforced; give inputPerMillion and outputPerMillion ("0" for a model that costs nothing)
    agent.yaml:17:21: spec.scoring.judge.ref: no model "judge" in spec.models; known: worker
    "#);
}

#[test]
fn a_url_never_holds_a_key() {
    insta::assert_snapshot!(said(&[("http://litellm", "http://user:secret@litellm")]), @"agent.yaml:11:16: spec.models[0].openAI.baseURL: a URL must not contain credentials; put the key into apiKey");
    insta::assert_snapshot!(said(&[(":4000/v1", ":4000/v1?key=1")]), @r#"agent.yaml:11:16: spec.models[0].openAI.baseURL: "http://litellm.llm:4000/v1?key=1" has a query or fragment; remove it"#);
}

#[test]
fn a_price_that_is_not_known_is_an_error_only_with_a_budget() {
    let price = "\n      price: {inputPerMillion: \"3\", outputPerMillion: \"15\"}";
    insta::assert_snapshot!(said(&[(price, "")]), @r#"agent.yaml:13:7: spec.models[1].price: the price of "judge" is unknown, so spec.budget.perCycle cannot be enforced; give inputPerMillion and outputPerMillion ("0" for a model that costs nothing)"#);
    let plan = plan(&changed(&[(price, ""), ("  budget: {perCycle: \"5.00\"}\n", "")]));
    assert!(plan.models["judge"].price.is_none());
}

#[test]
fn a_model_that_nothing_uses_is_a_warning() {
    let said = said(&[(
        "    - name: judge\n",
        "    - name: spare\n      openAI: {model: m}\n      price: \
        {inputPerMillion: \"1\", outputPerMillion: \"1\"}\n    - name: judge\n",
    )]);
    insta::assert_snapshot!(said, @r#"
    spec.split.heldOut: 2 of 4 scenarios are held out, and the gate requires 20 (spec.promotion.gate.minimumSampleSize), so the verdict can only be inconclusive; add scenarios, raise heldOut or lower minimumSampleSize
    spec.models[1]: the model "spare" is not used
    "#);
}

#[test]
fn without_a_judge_or_patch_model_nothing_is_patched_and_a_warning_says_so() {
    let checks = "{dimensions: [{name: accuracy, weight: 1, scorer: Checks}]}";
    let plan = plan(&changed(&[("{judge: {ref: judge}}", checks)]));
    assert!(plan.patching.is_none());
    insta::assert_snapshot!(plan.warnings.join("\n"), @r#"
    spec.patching.model: there is no model to write patches, so failures are found but not fixed; name a model, or a judge
    spec.split.heldOut: 2 of 4 scenarios are held out, and the gate requires 20 (spec.promotion.gate.minimumSampleSize), so the verdict can only be inconclusive; add scenarios, raise heldOut or lower minimumSampleSize
    spec.models[1]: the model "judge" is not used
    "#);
}

#[test]
fn every_reference_of_a_chat_model_takes_parameters() {
    let plan = plan(&changed(&[
        ("{judge: {ref: judge}}", "{judge: {ref: judge, parameters: {temperature: omit, maxOutputTokens: 900}}}"),
        (
            "{protectedSections: [Safety]}",
            "{protectedSections: [Safety], model: {ref: judge, parameters: {temperature: omit, maxOutputTokens: 800}}}",
        ),
        (
            "  budget:",
            "  execution: {simulatedUser: {ref: worker, parameters: {temperature: omit, maxOutputTokens: 70}}}\n  budget:",
        ),
        ("{model: {ref: worker}}", "{model: {ref: worker, parameters: {temperature: omit}}}"),
    ]));
    let judge = plan.dimensions[0].judge.as_ref().unwrap();
    assert_eq!(
        judge.parameters.temperature,
        Some(Temperature::Omit),
        "a judge has one unless it is omitted explicitly"
    );
    assert_eq!(judge.parameters.max_output_tokens, Some(900));
    let patching = plan.patching.as_ref().unwrap();
    assert_eq!((&patching.parameters.temperature, patching.parameters.max_output_tokens), (&None, Some(800)));
    let user = plan.execution.user_model.as_ref().unwrap();
    assert_eq!((user.model.as_str(), &user.parameters.temperature), ("worker", &None));
    assert_eq!(user.parameters.max_output_tokens, Some(70));
    let RuntimePlan::Model { parameters, .. } = &plan.runtime else { panic!("the agent is a model") };
    assert_eq!(parameters.temperature, None, "what is left out is not part of any key");
}

/// Without parameters, the identity of a cycle does not change.
#[test]
fn the_identity_of_a_cycle_knows_parameters_only_where_some_are_written() {
    let before = plan(RESOURCE);
    let judge = serde_json::to_value(&before.dimensions[0].judge).unwrap();
    assert_eq!(judge, serde_json::json!({"model": "judge"}));
    for change in [
        ("{judge: {ref: judge}}", "{judge: {ref: judge, parameters: {maxOutputTokens: 900}}}"),
        ("  budget:", "  execution: {simulatedUser: {ref: judge, parameters: {maxOutputTokens: 70}}}\n  budget:"),
    ] {
        assert_ne!(plan(&changed(&[change])).identity(), before.identity(), "{change:?}");
    }
}

#[test]
fn wrong_parameters_headers_and_forms_are_named_with_what_to_write() {
    insta::assert_snapshot!(said(&[
        (
            "model: {ref: worker}",
            "model: {ref: worker, parameters: {temperature: none, extra: {max_completion_tokens: 9}}}"
        ),
        ("{judge: {ref: judge}}", "{judge: {ref: judge, parameters: {temperature: 3}}}"),
        (
            "{protectedSections: [Safety]}",
            "{protectedSections: [Safety], parameters: {topP: 1}, model: {ref: judge, parameters: {topP: 1}}}",
        ),
        (
            "      anthropic: {model: claude-sonnet-4-5}",
            "      structuredOutput: JsonObject\n      anthropic: {model: claude-sonnet-4-5, apiKey: {env: KEY}}\n      headers: [{name: X-Api-Key, value: a}, {name: host, value: b}, {name: x-api-key, valueFrom: {}}, {name: X-None}]",
        ),
    ]));
}

#[test]
fn the_headers_and_the_form_of_a_model_are_in_its_plan() {
    let plan = plan(&changed(&[(
        "      openAI: {baseURL: http://litellm.llm:4000/v1, ",
        "      structuredOutput: Plain\n      headers: [{name: X-Team, value: support}, {name: X-Tenant, valueFrom: {env: TENANT, secretKeyRef: {name: llm, key: tenant}}}]\n      openAI: {baseURL: http://litellm.llm:4000/v1, tokenLimit: MaxCompletionTokens, systemRole: User, ",
    )]));
    let worker = &plan.models["worker"];
    assert_eq!(worker.structured, StructuredOutput::Plain);
    assert_eq!((worker.token_limit, worker.system_role), (TokenLimit::MaxCompletionTokens, SystemRole::User));
    let tenant = KeyPlan {
        env: Some("TENANT".to_owned()),
        secret: Some(SecretRef { name: "llm".to_owned(), key: "tenant".to_owned() }),
        required: true,
    };
    let headers = [
        ("x-team".to_owned(), HeaderPlan::Value("support".to_owned())),
        ("x-tenant".to_owned(), HeaderPlan::Secret(tenant)),
    ];
    assert_eq!(worker.headers, headers);
    assert_eq!(worker.secrets().count(), 2);
}

#[test]
fn embeddings_have_parameters_of_their_own() {
    let with = |extra: &str| {
        let clustering =
            format!("  clustering: {{embeddings: {{ref: worker, parameters: {{extra: {extra}}}}}}}\n  patching:");
        outcome(&changed(&[("  patching:", &clustering)]), &[])
    };
    let used = with("{dimensions: 256}").unwrap().clustering.embeddings.unwrap();
    assert_eq!(used.parameters.extra.as_ref().unwrap()["dimensions"], 256);
    let none = with("{}").unwrap();
    let embeddings = serde_json::to_value(none.clustering.embeddings).unwrap();
    assert_eq!(embeddings, serde_json::json!({"model": "worker"}), "unset fields are not part of the identity");
    insta::assert_snapshot!(with("{model: x, input: [y]}").unwrap_err(), @"
    agent.yaml:18:63: spec.clustering.embeddings.parameters.extra.model: the model is set in spec.models
    agent.yaml:18:73: spec.clustering.embeddings.parameters.extra.input: the texts are those of the failures
    ");
}
