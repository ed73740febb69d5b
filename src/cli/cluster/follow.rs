//! Waiting for the operator: follows an object until it shows the expected result.

use std::time::Duration;

use anyhow::bail;
use futures::StreamExt as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Cluster, Wait, say};
use crate::api::AgentOptimization;
use crate::kubernetes::optimizations::Change;
use crate::web::status::condition;
use crate::web::terminal::line;

/// The time without an answer after which a warning is printed that no operator may be running.
const WARN_AFTER: Duration = Duration::from_secs(15);

/// The state of a request, as an object shows it.
pub(in crate::cli) enum Look<T> {
    /// No answer yet.
    Unanswered,
    /// The operator has answered, and works on it.
    InProgress {
        /// The current step. Without a terminal, a line is printed when it changes.
        step: String,
        /// The step with its progress: the text that is printed.
        detail: String,
    },
    /// The result.
    Done(T),
}

/// How waiting ended.
pub(in crate::cli) enum Ended<T> {
    /// With the result.
    Done(T),
    /// By Ctrl-C.
    Interrupted,
}

/// Follows an object until `look` returns a result.
///
/// # Errors
/// The timeout has expired, or the object was deleted or may not be watched.
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
    let silence = tokio::time::sleep(WARN_AFTER);
    tokio::pin!(silence);
    let timeout = async {
        match &wait.timeout {
            Some(timeout) => tokio::time::sleep(timeout.0).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(timeout);
    let mut display = Display::new(format!("waiting for the operator to answer for {object}"));
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
                    "{object}: timed out after {waited} (last status: {last}); the request is still pending, follow it with `{follow}`{operator}"
                );
            }
            () = &mut silence, if !answered && !warned => {
                warned = true;
                display.say(&format!(
                    "no answer after {}s; check that the operator is running and watches the namespace {}. The request stays pending, even after Ctrl-C\n{}",
                    WARN_AFTER.as_secs(),
                    cluster.optimizations.namespace(),
                    whereabouts(cluster),
                ));
                continue;
            }
        };
        match change {
            Some(Ok(Change::Seen(seen))) => match look(&seen) {
                Look::Unanswered => last = unanswered(&seen),
                Look::InProgress { step, detail } => {
                    answered = true;
                    detail.clone_into(&mut last);
                    display.show(step, detail);
                }
                Look::Done(done) => return Ok(Ended::Done(done)),
            },
            Some(Ok(Change::Gone(_))) => bail!("{object} was deleted"),
            Some(Err(error)) => match error.passing() {
                Some(trouble) => display.say(&trouble),
                None => return Err(error.into()),
            },
            None => bail!("{object}: the watch ended"),
        }
    }
}

/// The commands that show the state of the operator.
fn whereabouts(cluster: &Cluster) -> String {
    let view = cluster.view();
    format!("`{}` shows whether it is running, `{}` which replica is active", view.operator(), view.lease())
}

/// Describes the status of an object that does not answer the request yet.
fn unanswered(seen: &AgentOptimization) -> String {
    let phase = seen.status.as_ref().and_then(|status| status.phase);
    let Some(phase) = phase else { return "no answer from an operator".to_owned() };
    let message = condition(seen, "Ready").map(|ready| line(&ready.message)).filter(|message| !message.is_empty());
    let message = message.map(|message| format!(", {message}")).unwrap_or_default();
    format!("no answer from an operator ({}{message})", phase.as_str())
}

/// Shows progress on standard error: one changing line in a terminal, a line per step elsewhere.
struct Display {
    bar: ProgressBar,
    step: String,
    said: String,
}

impl Display {
    fn new(begin: String) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        bar.set_style(
            ProgressStyle::with_template("{spinner} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.enable_steady_tick(Duration::from_millis(200));
        bar.set_message(begin);
        Self { bar, step: String::new(), said: String::new() }
    }

    fn show(&mut self, step: String, detail: String) {
        if step != self.step && self.bar.is_hidden() {
            self.say(&detail);
        }
        self.bar.set_message(detail);
        self.step = step;
    }

    /// Prints a line above the changing one. A line that equals the one before is not repeated.
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

impl Drop for Display {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
