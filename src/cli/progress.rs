//! Progress on standard error: a bar in a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::web::terminal::safe;
use whetstone_domain::call::Phase;
use whetstone_domain::money::Money;
use whetstone_domain::words::counted;
use whetstone_engine::ports::Progress;

/// The interval of plain progress lines within a phase.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The maximum time without a progress line within a phase. A model may take minutes for one answer.
const SILENT_AT_MOST: Duration = Duration::from_secs(20);

/// Shows progress on standard error.
pub(super) struct Meter {
    inner: Arc<Inner>,
}

struct Inner {
    currency: String,
    quiet: bool,
    bar: Option<ProgressBar>,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    what: String,
    /// The current step of the phase.
    step: String,
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
    pub(super) fn new(currency: &str, quiet: bool) -> Self {
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
            step: String::new(),
            total: None,
            done: 0,
            began: now,
            said: now,
            calls: 0,
            paid_calls: 0,
            cost: None,
        };
        let plain = bar.is_none() && !quiet;
        let inner = Arc::new(Inner { currency: currency.to_owned(), quiet, bar, state: Mutex::new(state) });
        if plain {
            let watched = Arc::downgrade(&inner);
            // If the thread cannot be started, only the lines during long steps are missing.
            let _ = std::thread::Builder::new().name("progress".to_owned()).spawn(move || break_silence(&watched));
        }
        Self { inner }
    }

    /// Prints the summary of the last phase and removes the bar.
    pub(super) fn finish(&self) {
        self.inner.end(&mut self.inner.lock());
        if let Some(bar) = &self.inner.bar {
            bar.finish_and_clear();
        }
    }
}

/// Prints the current step whenever nothing was printed for [`SILENT_AT_MOST`], until the meter is dropped.
fn break_silence(watched: &Weak<Inner>) {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let Some(inner) = watched.upgrade() else { return };
        let mut state = inner.lock();
        if !state.what.is_empty() && state.said.elapsed() >= SILENT_AT_MOST {
            inner.say_step(&mut state);
        }
    }
}

impl Inner {
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

    /// Calls and costs so far: `420 calls (80 from the ledger), 0.0123 USD`.
    fn spent(&self, state: &State) -> String {
        let ledger = state.calls - state.paid_calls;
        let from_ledger = if ledger > 0 { format!(" ({ledger} from the ledger)") } else { String::new() };
        let cost = state.cost.map(|cost| format!(", {cost} {}", self.currency)).unwrap_or_default();
        format!("{}{from_ledger}{cost}", counted(state.calls, "call"))
    }

    /// Prints the current step as a plain line.
    fn say_step(&self, state: &mut State) {
        state.said = Instant::now();
        let what = if state.step.is_empty() { &state.what } else { &state.step };
        let seconds = state.began.elapsed().as_secs_f64();
        self.line(&format!("{:>9}  {what} — {seconds:.0} s; {}", state.phase, self.spent(state)));
    }

    fn end(&self, state: &mut State) {
        if state.what.is_empty() || self.quiet {
            return;
        }
        let seconds = state.began.elapsed().as_secs_f64();
        let runs = if state.done > 0 { format!("{}, ", counted(state.done, "run")) } else { String::new() };
        self.line(&format!("{:>9}  {} — {runs}{seconds:.1} s; {}", state.phase, state.what, self.spent(state)));
        state.what.clear();
        state.step.clear();
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
        let mut state = self.inner.lock();
        self.inner.end(&mut state);
        state.phase = phase;
        what.clone_into(&mut state.what);
        state.step.clear();
        state.total = total;
        state.done = 0;
        state.began = Instant::now();
        state.said = state.began;
        if let Some(bar) = &self.inner.bar {
            bar.set_style(Inner::style(total));
            bar.set_length(total.unwrap_or(0));
            bar.set_position(0);
            bar.reset_eta();
            bar.set_prefix(phase.as_str());
            bar.set_message(what.to_owned());
        }
    }

    fn advance(&self, steps: u64) {
        let mut state = self.inner.lock();
        state.done += steps;
        if let Some(bar) = &self.inner.bar {
            bar.inc(steps);
            bar.set_message(self.inner.spent(&state));
            return;
        }
        if self.inner.quiet || state.said.elapsed() < LINE_EVERY {
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
            self.inner.spent(&state)
        );
        self.inner.line(&line);
    }

    fn step(&self, what: &str) {
        let mut state = self.inner.lock();
        what.clone_into(&mut state.step);
        match &self.inner.bar {
            Some(bar) => bar.set_message(format!("{what}; {}", self.inner.spent(&state))),
            None if self.inner.quiet => {}
            None => self.inner.say_step(&mut state),
        }
    }

    fn call(&self, _: Phase, paid: bool, cost: Option<Money>) {
        let mut state = self.inner.lock();
        state.calls += 1;
        state.paid_calls += u64::from(paid);
        if let Some(cost) = cost {
            state.cost = Some(state.cost.unwrap_or_default() + cost);
        }
    }

    fn note(&self, text: &str) {
        self.inner.line(text);
    }
}
