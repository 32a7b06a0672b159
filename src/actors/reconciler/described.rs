//! What the reconciler tells of itself.

use std::{collections::BTreeMap, sync::Arc};

use actix::{Context, Handler, Message, MessageResult};

use super::{Reconciler, Reloaded};
use crate::{base::Subject, resources::ResolvedModel};

/// Asks for the state and the resources behind it.
#[derive(Message)]
#[rtype(result = "Described")]
pub struct Describe;

pub struct Described {
    pub last: Reloaded,
    pub model: Option<Arc<ResolvedModel>>,
    /// Resources that are not in force as written, each once: `Kind namespace/name`, reason.
    pub not_ready: BTreeMap<String, String>,
}

impl Handler<Describe> for Reconciler {
    type Result = MessageResult<Describe>;

    fn handle(&mut self, _: Describe, _: &mut Context<Self>) -> Self::Result {
        let resources = self.model.iter().flat_map(|model| &model.resources);
        let refused =
            resources.filter_map(|state| Some((state.subject.to_string(), state.ready.clone().err()?)));
        let compiled = self.not_ready.iter().map(|(subject, reason)| (subject.to_string(), reason.clone()));
        let closed = self.unreachable().map(|(_, instance, reason)| {
            (Subject::new("ApiInstance", instance.name.clone()).to_string(), reason)
        });
        MessageResult(Described {
            last: self.last.clone(),
            model: self.model.clone(),
            not_ready: closed.chain(compiled).chain(refused).collect(),
        })
    }
}
