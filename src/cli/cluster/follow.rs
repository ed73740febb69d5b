//! Waiting for the operator: an object is followed until it shows what is waited for.

use std::time::Duration;

use anyhow::bail;
use futures::StreamExt as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Cluster, Wait, say};
use crate::api::AgentOptimization;
use crate::kubernetes::optimizations::Change;

/// How long an operator may take before somebody is told that there may be none.
const PATIENCE: Duration = Duration::from_secs(15);

/// What an object shows of what is waited for.
pub(in crate::cli) enum Look<T> {
    /// Nothing yet.
    Unanswered,
    /// The operator has answered, and is at work.
    Under {
        /// What it is at. A line is written when this changes.
        way: String,
        /// The same and how far it is, for a line that is written over again and again.
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
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            _ = &mut interrupted => return Ok(Ended::Interrupted),
            () = &mut timeout => {
                let waited = wait.timeout.map(|timeout| timeout.to_string()).unwrap_or_default();
                let follow = cluster.view().command(&format!("status {name} --watch"));
                bail!("{object}: nothing came of it within {waited}; what was asked stands, and {follow} follows it");
            }
            () = &mut patience, if !answered && !warned => {
                warned = true;
                teller.say(&format!(
                    "no answer for {}s: is the operator running, and does it watch the namespace {}? What was asked stands, also after Ctrl-C",
                    PATIENCE.as_secs(),
                    cluster.optimizations.namespace(),
                ));
                continue;
            }
        };
        match change {
            Some(Ok(Change::Seen(seen))) => match look(&seen) {
                Look::Unanswered => {}
                Look::Under { way, detail } => {
                    answered = true;
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
        self.bar.set_message(detail);
        if way != self.way && self.bar.is_hidden() {
            say(&way);
        }
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
