//! What `spec.logging` asks for, and what of it can be done (configuration reference 9.2).

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use crate::{
    base::{Diagnostic, Diagnostics, Secret},
    document::{Problem, Spanned},
    outbound::ForwardProxy,
};

use super::{
    Level,
    parameters::{self, Parameters},
    record::Form,
};

/// `spec.logging` after reading. The default is standard output only.
#[derive(Clone, Debug, Default)]
pub struct LogPlan {
    /// Each under a name of its own.
    pub outputs: Vec<OutputPlan>,
    /// `runtimeLogs.logLevel`; `None`: the setting `log.level`.
    pub level: Option<Level>,
    /// `runtimeLogs.outputs`, by name.
    pub runtime: Vec<String>,
    /// `accessLogs.outputs`, by name.
    pub access: Vec<String>,
    /// `spec.forwardProxy`, for outputs of type `http`.
    pub proxy: Option<Arc<ForwardProxy>>,
}

/// One of `outputs`.
#[derive(Clone, Debug)]
pub struct OutputPlan {
    pub name: Spanned<String>,
    pub kind: OutputKind,
    /// By their names in lower case. A value that is no list is a list of one.
    pub parameters: BTreeMap<String, Spanned<Vec<String>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    File,
    Http,
    Stdout,
}

/// An output that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OutputSpec {
    pub name: String,
    pub form: Form,
    pub target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Everything goes there anyway (configuration reference 9.1).
    Stdout,
    File(PathBuf),
    Http(HttpTarget),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HttpTarget {
    pub host: String,
    pub port: u16,
    pub uri: String,
    pub body: Body,
    pub tls: bool,
    pub verify: bool,
    pub headers: Vec<(String, Secret)>,
    /// If it serves the host.
    pub proxy: Option<Arc<ForwardProxy>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    JsonLines,
    JsonArray,
}

impl LogPlan {
    /// What is wrong or not supported yet. An output with an error is left out when the plan is applied; everything
    /// else works.
    pub fn check(&self) -> Diagnostics {
        self.compile().1
    }

    pub(super) fn compile(&self) -> (Vec<OutputSpec>, Diagnostics) {
        let mut all = Diagnostics::default();
        let mut specs: Vec<OutputSpec> = Vec::new();
        for output in &self.outputs {
            let mut found = Vec::new();
            let spec = compile_output(output, &mut found);
            if let Some(mut spec) = spec.filter(|_| !found.iter().any(Problem::is_error)) {
                if let Target::Http(target) = &mut spec.target {
                    // Exact names only (configuration reference 11).
                    let proxy = self.proxy.as_ref().filter(|proxy| proxy.serves_exact(&target.host));
                    target.proxy = proxy.cloned();
                }
                specs.push(spec);
            }
            all.extend(found.into_iter().map(Diagnostic::from));
        }
        (specs, all)
    }
}

fn compile_output(output: &OutputPlan, found: &mut Vec<Problem>) -> Option<OutputSpec> {
    let mut parameters = Parameters::new(output);
    let compiled = match output.kind {
        OutputKind::Stdout => {
            // Its format cannot differ from what goes to standard output anyway.
            parameters.ignore(&["format", "json_date_key", "json_date_format"]);
            Some((Form::Text, Target::Stdout))
        }
        OutputKind::File => parameters::file(&mut parameters, found),
        OutputKind::Http => parameters::http(&mut parameters, found),
    };
    let (form, target) = compiled?;
    // Only now: where one is wrong, not all were asked for.
    parameters.report_unknown(found);
    Some(OutputSpec { name: output.name.value.clone(), form, target })
}
