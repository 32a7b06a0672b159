//! Parameters of TLS that stand in a `Configuration`.

use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::{
    base::Severity,
    document::{Problem, RawNode, Spanned, deserialize_config},
    tls::{Findings, Outbound},
};

/// What the parameters describe, if nothing is wrong with them.
pub(super) fn read_tls<T: DeserializeOwned>(
    written: &Spanned<RawNode>,
    problems: &mut Vec<Problem>,
    read: impl Fn(&T, Timestamp, &mut Findings) -> Option<Outbound>,
) -> Option<Outbound> {
    let (node, field) = (&*written.value, &*written.field);
    let typed = deserialize_config::<T>(node, field);
    problems.extend(typed.problems);
    let mut findings = Findings::default();
    let described = typed.value.and_then(|parameters| read(&parameters, Timestamp::now(), &mut findings));
    for (found, severity) in [(findings.errors, Severity::Error), (findings.warnings, Severity::Warning)] {
        problems.extend(found.into_iter().map(|problem| Problem::of_config(node, field, problem, severity)));
    }
    described
}
