//! Which outputs a record goes to.

use std::{io, sync::Arc};

use super::{
    Applied, Log, LogPlan,
    output::{Output, Sink},
    plan::{OutputSpec, Target},
    sinks::{FileSink, HttpSink},
};
use crate::{
    base::Diagnostics,
    outbound::{Limits, OutboundClient},
};

/// The outputs of one plan, standard output aside.
#[derive(Default)]
pub(super) struct Routes {
    pub runtime: Vec<Arc<Output>>,
    pub access: Vec<Arc<Output>>,
    started: Vec<(OutputSpec, Arc<Output>)>,
}

impl Routes {
    /// Takes over what runs already under the same specification, and starts the rest.
    pub fn build(
        log: &Log,
        plan: &LogPlan,
        specs: Vec<OutputSpec>,
        applied: &mut Applied,
        found: &mut Diagnostics,
    ) -> Self {
        let before = log.0.routes.load();
        let mut routes = Self::default();
        for spec in specs {
            let used = plan.runtime.contains(&spec.name) || plan.access.contains(&spec.name);
            if !used || spec.target == Target::Stdout {
                continue;
            }
            let kept = before.started.iter().find(|(old, _)| *old == spec).map(|(_, output)| output.clone());
            let output = kept.map_or_else(|| start(log, &spec, applied), Ok);
            match output {
                Ok(output) => routes.started.push((spec, output)),
                Err(error) => found.extend(
                    plan.outputs.iter().filter(|output| *output.name == spec.name).map(|output| {
                        output.name.error(format!("log output `{}` cannot start: {error}", spec.name)).into()
                    }),
                ),
            }
        }
        let named = |names: &[String]| {
            let started = routes.started.iter().map(|(_, output)| output);
            started.filter(|output| names.contains(&output.name)).cloned().collect()
        };
        (routes.runtime, routes.access) = (named(&plan.runtime), named(&plan.access));
        routes
    }

    pub fn all(&self) -> impl Iterator<Item = &Output> {
        self.started.iter().map(|(_, output)| &**output)
    }

    pub fn files(&self) -> impl Iterator<Item = &Output> {
        let files = self.started.iter().filter(|(spec, _)| matches!(spec.target, Target::File(_)));
        files.map(|(_, output)| &**output)
    }
}

fn start(log: &Log, spec: &OutputSpec, applied: &mut Applied) -> io::Result<Arc<Output>> {
    let sink: Box<dyn Sink> = match &spec.target {
        Target::Http(target) => {
            let client = match &applied.client {
                Some(client) => client.clone(),
                None => applied.client.insert(OutboundClient::start(Limits::default())?).clone(),
            };
            Box::new(HttpSink::new(target.clone(), client))
        }
        Target::File(path) => Box::new(FileSink::new(path.clone())),
        Target::Stdout => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let totals = applied.totals.entry(spec.name.clone()).or_default().clone();
    let output = Output::start(&spec.name, spec.form.clone(), log.0.limits, totals, sink, log.report())?;
    applied.queues.push(output.queue().clone());
    Ok(Arc::new(output))
}
