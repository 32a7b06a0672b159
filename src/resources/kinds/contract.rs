//! `Contract` (configuration reference 3.5, observed only): a client application of an API.

use serde::Deserialize;

use super::typed;
use crate::{
    base::Secret,
    document::{Node, Problem, RawNode, Spanned},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    /// Name of an `ApiInstance`.
    api_id: Spanned<String>,
    client: Client,
    #[serde(default)]
    sla: RawNode,
}

#[derive(Deserialize)]
struct Client {
    id: Spanned<String>,
    secret: Option<Secret>,
}

pub(super) fn read(spec: &Node, problems: &mut Vec<Problem>) -> Option<()> {
    let written: Written = typed(spec, "spec", problems)?;
    for (what, value) in [("apiId", &written.api_id), ("client.id", &written.client.id)] {
        if value.is_empty() {
            problems.push(value.error(format!("`{what}` is empty")));
        }
    }
    let mut warning = written.api_id.warning("Contract resources are not supported yet");
    warning = warning.help("they come with the policies that identify client applications");
    if written.client.secret.is_none() && written.sla.is_null() {
        warning = warning.help("this one has neither a secret nor an SLA");
    }
    problems.push(warning);
    Some(())
}
