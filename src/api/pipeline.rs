//! stub
use super::AgentOptimization;
use super::document::Document;
use super::problem::Problem;
/// x
pub struct Converted {
    /// x
    pub resource: AgentOptimization,
    /// x
    pub renamed: Vec<(String, String)>,
    /// x
    pub warnings: Vec<String>,
}
/// x
pub fn read(_: &Document, _: Option<&str>, _: &mut Vec<Problem>) -> Option<Converted> {
    None
}
