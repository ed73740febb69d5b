//! Providers: the tools that they are given.

use super::super::read::Item;
use super::super::tools;
use super::{Reading, resource};
use crate::domain::tool::ToolDefinition;

/// Adds the tools of all providers, in whatever form they are written: `{id, config}`, a mapping from the id to the rest, or
/// a file with those.
pub(super) fn tools(config: &Item, reading: &mut Reading, tools: &mut Vec<ToolDefinition>) {
    let Some(providers) = ["providers", "targets"].iter().find_map(|key| config.get(key)) else { return };
    reading.notes.add(providers.place(), "providers", "name the models in the resource, under `spec.models`");
    for provider in providers.one_or_many() {
        match provider.value.as_str() {
            Some(reference) if reference.starts_with("file://") && !resource::is_program(reference) => {
                match reading.resources.value(reference, &provider) {
                    Ok(loaded) => {
                        for inner in provider.holding(&loaded).one_or_many() {
                            of_provider(&inner, reading, tools);
                        }
                    }
                    Err(error) => reading.notes.could_not_read("provider that could not be read", error),
                }
            }
            Some(_) => {}
            None => of_provider(&provider, reading, tools),
        }
    }
}

fn of_provider(provider: &Item, reading: &mut Reading, tools: &mut Vec<ToolDefinition>) {
    let mut configs: Vec<Item> = provider.get("config").into_iter().collect();
    if configs.is_empty() && provider.get("id").is_none() {
        let fields = provider.value.as_object().into_iter().flat_map(|fields| fields.keys());
        configs.extend(fields.filter_map(|id| provider.get(id)?.get("config")));
    }
    for config in configs {
        for key in ["tools", "functions"] {
            for entry in config.get(key).iter().flat_map(Item::one_or_many) {
                add(&entry, reading, tools);
            }
        }
    }
}

/// The tools of one entry: a definition, or a reference to a file with one or many.
fn add(entry: &Item, reading: &mut Reading, tools: &mut Vec<ToolDefinition>) {
    let loaded;
    let entry = match entry.value.as_str() {
        Some(reference) if resource::is_program(reference) => {
            reading.notes.add(entry.place(), "tools that a program gives", "give their definitions instead");
            return;
        }
        Some(reference) => match reading.resources.value(reference, entry) {
            Ok(value) => {
                loaded = value;
                entry.holding(&loaded)
            }
            Err(error) => {
                reading.notes.could_not_read("tools that could not be read", error);
                return;
            }
        },
        None => entry.clone(),
    };
    for item in entry.one_or_many() {
        let declared = item.get("functionDeclarations").or_else(|| item.get("function_declarations"));
        let items = declared.map_or_else(|| vec![item.clone()], |list| list.one_or_many());
        for item in items {
            match tools::definition(&item) {
                Ok(tool) if tools.iter().any(|known| known.name == tool.name) => {}
                Ok(tool) => tools.push(tool),
                // Tools that a provider has itself (`{type: web_search}`, MCP servers) have no definition.
                Err(_) => {
                    let kind = item.get("type").and_then(|kind| kind.value.as_str().map(str::to_owned));
                    let detail = "write it in the form of the OpenAI API";
                    let what = kind.map_or_else(String::new, |kind| format!(" (`{kind}`)"));
                    reading.notes.add(item.place(), format!("tool in the form of one provider{what}"), detail);
                }
            }
        }
    }
}
