//! `whetstone status`.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use futures::StreamExt as _;

use super::Format;
use super::cluster::{Cluster, ClusterArgs, now, say};
use super::exit::Exit;
use crate::api::AgentOptimization;
use crate::kubernetes::optimizations::Change;
use crate::web::status::{self, Health};

/// Show the state of AgentOptimizations in a cluster.
///
/// With NAME, prints one page: phase, champion and challenger, the running cycle, the watch with its signals, the last
/// cycles, all versions with the reasons for their phases, and what to do next. Without NAME, prints one line for each
/// AgentOptimization.
///
/// Exit codes: 0 ready (the champion serves, as the spec requires; a cycle may be running), 3 not ready yet, 4 stalled
/// (a problem has to be fixed manually), 1 error, 2 wrong arguments, 130 stopped by Ctrl-C. Without NAME, the worst
/// state determines the exit code.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  whetstone status --all-namespaces
  whetstone status support --namespace shop
  whetstone status support -o json | jq -r .status.champion.version")]
pub(super) struct Arguments {
    /// The AgentOptimization: NAME, or NAMESPACE/NAME; defaults to all in the namespace
    name: Option<String>,
    /// List the AgentOptimizations of all namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["name", "namespace"])]
    all_namespaces: bool,
    /// Print a line for every change until Ctrl-C; with -o json, one object per line
    #[arg(short, long)]
    watch: bool,
    /// The format of standard output; json and yaml print the object as it is in the cluster
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

pub(super) async fn status(arguments: &Arguments) -> anyhow::Result<Exit> {
    let Some(object) = &arguments.name else {
        let cluster = Cluster::reach(&arguments.cluster).await?;
        return if arguments.watch { watch(&cluster, None, arguments).await } else { list(&cluster, arguments).await };
    };
    let (cluster, name) = Cluster::reach_object(&arguments.cluster, object).await?;
    let object = cluster.optimizations.get(&name).await?;
    if arguments.watch {
        return watch(&cluster, Some(&name), arguments).await;
    }
    let text = match arguments.output {
        Format::Text => {
            let versions = cluster.optimizations.versions(&name).await.unwrap_or_else(|error| {
                say(&format!("note: {error}"));
                Vec::new()
            });
            status::page(&object, &versions, &cluster.view())
        }
        format => format.write(&published(object.clone()))?,
    };
    arguments.output.print(&text)?;
    Ok(Health::of(&object).into())
}

async fn list(cluster: &Cluster, arguments: &Arguments) -> anyhow::Result<Exit> {
    let everywhere = arguments.all_namespaces;
    let objects = cluster.optimizations.list(everywhere).await?;
    let worst = objects.iter().map(Health::of).max().unwrap_or(Health::Ready);
    match arguments.output {
        Format::Text if objects.is_empty() => {
            let namespace = cluster.optimizations.namespace();
            say(&if everywhere {
                "no AgentOptimization in any namespace; create one with kubectl apply -f".to_owned()
            } else {
                let elsewhere = cluster.view().command_everywhere("status");
                format!("no AgentOptimization in namespace {namespace}; list all namespaces with `{elsewhere}`")
            });
        }
        Format::Text => super::say(&status::list(&objects, everywhere, &cluster.view()))?,
        format => {
            let items: Vec<_> = objects.into_iter().map(published).collect();
            super::print(&format.write(&serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}))?)?;
        }
    }
    Ok(worst.into())
}

/// The object as it is printed for programs: without managedFields, as kubectl does.
fn published(mut object: AgentOptimization) -> AgentOptimization {
    object.metadata.managed_fields = None;
    object
}

async fn watch(cluster: &Cluster, name: Option<&str>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut changes = match name {
        Some(name) => cluster.optimizations.follow(name).boxed(),
        None => cluster.optimizations.follow_all(arguments.all_namespaces).boxed(),
    };
    let interrupted = super::wire::interrupted();
    tokio::pin!(interrupted);
    // The last line printed for each object: an unchanged line is not repeated.
    let mut written: BTreeMap<String, String> = BTreeMap::new();
    let mut trouble = String::new();
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            _ = &mut interrupted => return Ok(Exit::Stopped),
        };
        let (object, text) = match change {
            Some(Ok(Change::Seen(seen))) => {
                let object = status::object_of(&seen);
                let text = match arguments.output {
                    Format::Text => status::change(&seen, &cluster.view()),
                    Format::Json => serde_json::to_string(&published(*seen))?,
                    Format::Yaml => format!("---\n{}", serde_saphyr::to_string(&published(*seen))?.trim_end()),
                };
                (object, text)
            }
            Some(Ok(Change::Gone(object))) if name.is_some() => anyhow::bail!("{object} was deleted"),
            Some(Ok(Change::Gone(object))) if arguments.output == Format::Text => (object, "deleted".to_owned()),
            Some(Ok(Change::Gone(_))) => continue,
            Some(Err(error)) => {
                let Some(message) = error.passing() else { return Err(error.into()) };
                if trouble != message {
                    say(&message);
                    trouble = message;
                }
                continue;
            }
            None => anyhow::bail!("the watch ended"),
        };
        trouble.clear();
        if written.get(&object) == Some(&text) {
            continue;
        }
        let widest = written.keys().map(String::len).max().unwrap_or(0).max(object.len());
        let line = match (arguments.output, name) {
            (Format::Text, Some(_)) => format!("{}  {text}\n", clock()),
            (Format::Text, None) => format!("{}  {object:<widest$}  {text}\n", clock()),
            _ => format!("{text}\n"),
        };
        written.insert(object, text);
        // A closed pipe (`| head`) ends the watch.
        if let Err(error) = io::stdout().write_all(line.as_bytes()).and_then(|()| io::stdout().flush()) {
            return if error.kind() == io::ErrorKind::BrokenPipe { Ok(Exit::Success) } else { Err(error.into()) };
        }
    }
}

/// The local time of day.
fn clock() -> String {
    now().to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string()
}
