//! Waiting for the operator: an object is followed until it shows what is waited for.

use std::time::Duration;

use anyhow::bail;
use futures::StreamExt as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Cluster, Wait, say};
use crate::api::AgentOptimization;
use crate::kubernetes::optimizations::Change;
use crate::web::status::condition;
use crate::web::terminal::line;

/// How long an operator may take before somebody is told that there may be none.
const PATIENCE: Duration = Duration::from_secs(15);

/// What an object shows of what is waited for.
pub(in crate::cli) enum Look<T> {
    /// Nothing yet.
    Unanswered,
    /// The operator has answered, and is at work.
    Under {
        /// What it is at. Where lines cannot be written over, one is written when this changes.
        way: String,
        /// The same and how far it is: what is written.
        detail: String,
    },
    /// It is there.
    Done(T),
}

/// How waiting ended.
pub(in crate::cli) enum Ended<T> {
    /// What was waited for is there.
    Done(T),
    /// By Ctrl-C.
    Interrupted,
}

/// Follows an object until it shows what is waited for.
///
/// # Errors
/// The time is up, the object is gone, or may not be watched.
pub(in crate::cli) async fn until<T>(
    cluster: &Cluster,
    name: &str,
    wait: &Wait,
    mut look: impl FnMut(&AgentOptimization) -> Look<T>,
) -> anyhow::Result<Ended<T>> {
    let object = cluster.object(name);
    let mut changes = Box::pin(cluster.optimizations.follow(name));
    let interrupted = crate::cli::wire::interrupted();
    tokio::pin!(interrupted);
    let patience = tokio::time::sleep(PATIENCE);
    tokio::pin!(patience);
    let timeout = async {
        match &wait.timeout {
            Some(timeout) => tokio::time::sleep(timeout.0).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(timeout);
    let mut teller = Teller::new(format!("waiting for the operator to answer for {object}"));
    let (mut answered, mut warned) = (false, false);
    let mut last = "no answer from an operator".to_owned();
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            _ = &mut interrupted => return Ok(Ended::Interrupted),
            () = &mut timeout => {
                let waited = wait.timeout.map(|timeout| timeout.to_string()).unwrap_or_default();
                let follow = cluster.view().command(&format!("status {name} --watch"));
                let operator = if answered { String::new() } else { format!("\n{}", whereabouts(cluster)) };
                bail!(
                    "{object}: nothing came of it within {waited}; the last that was seen: {last}. What was asked stands, and `{follow}` follows it{operator}"
                );
            }
            () = &mut patience, if !answered && !warned => {
                warned = true;
                teller.say(&format!(
                    "no answer for {}s: is the operator running, and does it watch the namespace {}? What was asked stands, also after Ctrl-C\n{}",
                    PATIENCE.as_secs(),
                    cluster.optimizations.namespace(),
                    whereabouts(cluster),
                ));
                continue;
            }
        };
        match change {
            Some(Ok(Change::Seen(seen))) => match look(&seen) {
                Look::Unanswered => last = unanswered(&seen),
                Look::Under { way, detail } => {
                    answered = true;
                    detail.clone_into(&mut last);
                    teller.at(way, detail);
                }
                Look::Done(done) => return Ok(Ended::Done(done)),
            },
            Some(Ok(Change::Gone(_))) => bail!("{object} was deleted in the meantime"),
            Some(Err(error)) => match error.passing() {
                Some(trouble) => teller.say(&trouble),
                None => return Err(error.into()),
            },
            None => bail!("{object}: the watch ended"),
        }
    }
}

/// How to look at the operator.
fn whereabouts(cluster: &Cluster) -> String {
    let view = cluster.view();
    format!("`{}` shows whether it runs, `{}` which replica acts", view.operator(), view.lease())
}

/// What an object shows that tells nothing of what was asked.
fn unanswered(seen: &AgentOptimization) -> String {
    let phase = seen.status.as_ref().and_then(|status| status.phase);
    let Some(phase) = phase else { return "no answer from an operator".to_owned() };
    let message = condition(seen, "Ready").map(|ready| line(&ready.message)).filter(|message| !message.is_empty());
    let message = message.map(|message| format!(", {message}")).unwrap_or_default();
    format!("no answer from an operator ({}{message})", phase.as_str())
}

/// Tells how things go on standard error: a line that is written over in a terminal, lines elsewhere.
struct Teller {
    bar: ProgressBar,
    way: String,
    said: String,
}

impl Teller {
    fn new(begin: String) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        bar.set_style(
            ProgressStyle::with_template("{spinner} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.enable_steady_tick(Duration::from_millis(200));
        bar.set_message(begin);
        Self { bar, way: String::new(), said: String::new() }
    }

    fn at(&mut self, way: String, detail: String) {
        if way != self.way && self.bar.is_hidden() {
            self.say(&detail);
        }
        self.bar.set_message(detail);
        self.way = way;
    }

    /// Says something that stays, once until something else is said.
    fn say(&mut self, text: &str) {
        if self.said == text {
            return;
        }
        text.clone_into(&mut self.said);
        if self.bar.is_hidden() {
            say(text);
        } else {
            self.bar.println(text);
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
