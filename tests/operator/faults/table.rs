//! What a fault has come to: a line of the table.

use std::fmt;
use std::io::Write as _;
use std::time::Duration;

/// What a fault has come to.
pub(super) struct Row {
    pub fault: &'static str,
    pub seed: u64,
    /// How often it struck.
    pub moments: usize,
    /// How many objects there were, and how many cycles were under way when it struck, in all.
    pub shops: usize,
    pub under_way: usize,
    /// How long it took each time until work went on.
    pub recoveries: Vec<Duration>,
    /// Answers that the provider has given and no ledger holds, and how many may be lost.
    pub lost: u64,
    pub may_be_lost: u64,
    pub recorded: u64,
    pub violations: Vec<String>,
    /// What else was measured.
    pub more: String,
}

pub(super) const HEAD: &str = "| fault | moments | objects | cycles hit | violations | work goes on after: median, worst | answers recorded, lost (bound) | |\n|---|---|---|---|---|---|---|---|";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, moments, shops, under_way, recorded, lost, may_be_lost, more, .. } = self;
        let mut recoveries: Vec<f64> = self.recoveries.iter().map(Duration::as_secs_f64).collect();
        recoveries.sort_by(f64::total_cmp);
        let recovery = match recoveries.last() {
            Some(worst) => format!("{:.1} s, {worst:.1} s", recoveries[recoveries.len() / 2]),
            None => "–".to_owned(),
        };
        let violations = self.violations.len();
        write!(
            f,
            "| {fault} | {moments} | {shops} | {under_way} | {violations} | {recovery} | {recorded}, {lost} ({may_be_lost}) | {more} |"
        )
    }
}

impl Row {
    /// Prints the line, adds it to the table, and fails when anything was violated.
    pub(super) fn conclude(mut self) {
        if self.lost > self.may_be_lost {
            self.violations.push(format!("{} answers were lost, and {} may be", self.lost, self.may_be_lost));
        }
        println!("seed {} (WHETSTONE_FAULTS_SEED)\n{HEAD}\n{self}", self.seed);
        add(&self.to_string());
        assert!(self.violations.is_empty(), "{} violations:\n{}", self.violations.len(), self.violations.join("\n"));
    }
}

/// Adds a line to the tables, if they are asked for.
pub(super) fn add(line: &str) {
    if let Some(path) = std::env::var_os("WHETSTONE_FAULTS_TABLE") {
        let mut table = std::fs::File::options().create(true).append(true).open(path).unwrap();
        writeln!(table, "{line}").unwrap();
    }
}
