//! Progress on standard error: a bar in a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::domain::call::Phase;
use crate::domain::money::Money;
use crate::engine::ports::Progress;
use crate::web::terminal::safe;

/// How often a plain line is printed while a phase goes on.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows progress on standard error.
pub struct Meter {
    currency: String,
    quiet: bool,
    bar: Option<ProgressBar>,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    what: String,
    total: Option<u64>,
    done: u64,
    began: Instant,
    said: Instant,
    calls: u64,
    paid_calls: u64,
    cost: Option<Money>,
}

impl Meter {
    /// A meter. `quiet` shows nothing but notes.
    #[must_use]
    pub fn new(currency: &str, quiet: bool) -> Self {
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal() && !quiet;
        let bar = terminal.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let state = State {
            phase: Phase::Run,
            what: String::new(),
            total: None,
            done: 0,
            began: now,
            said: now,
            calls: 0,
            paid_calls: 0,
            cost: None,
        };
        Self { currency: currency.to_owned(), quiet, bar, state: Mutex::new(state) }
    }

    /// Takes the bar away and says how the last phase ended.
    pub fn finish(&self) {
        self.end(&mut self.lock());
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, text: &str) {
        let text = &*safe(text);
        match &self.bar {
            Some(bar) => bar.println(text),
            None => {
                let _ = writeln!(std::io::stderr(), "{text}");
            }
        }
    }

    /// What has been asked and spent so far: `420 calls (80 from the ledger), 0.0123 USD`.
    fn spent(&self, state: &State) -> String {
        let ledger = state.calls - state.paid_calls;
        let from_ledger = if ledger > 0 { format!(" ({ledger} from the ledger)") } else { String::new() };
        let cost = state.cost.map(|cost| format!(", {cost} {}", self.currency)).unwrap_or_default();
        format!("{} calls{from_ledger}{cost}", state.calls)
    }

    fn end(&self, state: &mut State) {
        if state.what.is_empty() || self.quiet {
            return;
        }
        let seconds = state.began.elapsed().as_secs_f64();
        let runs = if state.done > 0 { format!("{} runs, ", state.done) } else { String::new() };
        self.line(&format!("{:>9}  {} — {runs}{seconds:.1} s; {}", state.phase, state.what, self.spent(state)));
        state.what.clear();
    }

    fn style(total: Option<u64>) -> ProgressStyle {
        let template = match total {
            Some(_) => "{prefix:>9.cyan}  {wide_bar} {pos}/{len} {per_sec} {eta} left  {msg}",
            None => "{prefix:>9.cyan}  {spinner} {pos} runs {elapsed}  {msg}",
        };
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
    }
}

impl Progress for Meter {
    fn begin(&self, phase: Phase, what: &str, total: Option<u64>) {
        let mut state = self.lock();
        self.end(&mut state);
        state.phase = phase;
        what.clone_into(&mut state.what);
        state.total = total;
        state.done = 0;
        state.began = Instant::now();
        state.said = state.began;
        if let Some(bar) = &self.bar {
            bar.set_style(Self::style(total));
            bar.set_length(total.unwrap_or(0));
            bar.set_position(0);
            bar.reset_eta();
            bar.set_prefix(phase.as_str());
            bar.set_message(what.to_owned());
        }
    }

    fn advance(&self, steps: u64) {
        let mut state = self.lock();
        state.done += steps;
        if let Some(bar) = &self.bar {
            bar.inc(steps);
            bar.set_message(self.spent(&state));
            return;
        }
        if self.quiet || state.said.elapsed() < LINE_EVERY {
            return;
        }
        state.said = Instant::now();
        let rate = state.done as f64 / state.began.elapsed().as_secs_f64().max(1e-9);
        let left = state.total.map(|total| {
            let seconds = (total.saturating_sub(state.done)) as f64 / rate.max(1e-9);
            format!(" of {total}, {seconds:.0} s left")
        });
        let line = format!(
            "{:>9}  {}{} — {rate:.1} runs/s; {}",
            state.phase,
            state.done,
            left.unwrap_or_default(),
            self.spent(&state)
        );
        self.line(&line);
    }

    fn call(&self, _: Phase, paid: bool, cost: Option<Money>) {
        let mut state = self.lock();
        state.calls += 1;
        state.paid_calls += u64::from(paid);
        if let Some(cost) = cost {
            state.cost = Some(state.cost.unwrap_or_default() + cost);
        }
    }

    fn note(&self, text: &str) {
        self.line(text);
    }
}
