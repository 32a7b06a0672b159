//! Application protocols that a port offers (configuration reference 6.1, `alpn`).

use super::Findings;
use crate::base::{ConfigProblem, suggest::closest};

/// What a context offers when it names nothing, most preferred first.
const DEFAULT: [&str; 2] = ["h2", "http/1.1"];

/// What the engine speaks to clients over TLS: only this is ever offered. HTTP/2 enters here, and
/// nowhere else, once the engine serves it.
pub const SPOKEN_INBOUND: &[&str] = &["http/1.1"];

/// The protocols to offer to clients, in the order written; an empty list is the default.
pub fn inbound(listed: &[String], findings: &mut Findings) -> Vec<&'static str> {
    let mut offered: Vec<&'static str> = Vec::new();
    for (index, name) in listed.iter().enumerate() {
        let field = format!("alpn[{index}]");
        match DEFAULT.into_iter().find(|known| known == name) {
            None => {
                let mut problem = ConfigProblem::new(field, format!("unknown protocol `{name}`"));
                if let Some(close) = closest(name, DEFAULT) {
                    problem = problem.help(format!("did you mean `{close}`?"));
                }
                findings.error(problem.help("allowed: `h2`, `http/1.1`"));
            }
            Some(known) if !SPOKEN_INBOUND.contains(&known) => findings.warning(ConfigProblem::new(
                field,
                format!("`{known}` is not supported yet; it is not offered"),
            )),
            Some(known) if !offered.contains(&known) => offered.push(known),
            Some(_) => {}
        }
    }
    if listed.is_empty() {
        return DEFAULT.into_iter().filter(|name| SPOKEN_INBOUND.contains(name)).collect();
    }
    if offered.is_empty() && findings.errors.is_empty() {
        findings.error(
            ConfigProblem::new("alpn", "none of these protocols is supported yet").help("add `http/1.1`"),
        );
    }
    offered
}
