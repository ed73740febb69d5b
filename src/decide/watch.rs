//! stub until merged
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    pub breaches: u32,
    pub outcome: RoundOutcome,
    pub outage: Option<String>,
}
#[derive(Clone, Debug, PartialEq)]
pub enum RoundOutcome {
    Quiet,
    Suspicious,
    Breach { reasons: Vec<String> },
}
