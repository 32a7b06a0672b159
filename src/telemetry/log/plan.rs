//! What `spec.logging` asks for, and what of it can be done (configuration reference 9.2).

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use crate::{
    base::{Diagnostic, Diagnostics, Secret, suggest::closest},
    outbound::ForwardProxy,
};

use super::{
    Level,
    parameters::{self, Parameters},
    record::Form,
};

/// `spec.logging` after reading. The default is standard output only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPlan {
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputPlan {
    pub name: String,
    /// `type`, as written.
    pub kind: String,
    /// A value that is no list is a list of one.
    pub parameters: BTreeMap<String, Vec<String>>,
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

/// Types of outputs that Fluent Bit has and this gateway does not have yet.
const NOT_SUPPORTED_YET: &[&str] = &[
    "azure",
    "azure_blob",
    "azure_kusto",
    "azure_logs_ingestion",
    "bigquery",
    "chronicle",
    "cloudwatch_logs",
    "counter",
    "datadog",
    "es",
    "exit",
    "flowcounter",
    "forward",
    "gelf",
    "influxdb",
    "kafka",
    "kafka-rest",
    "kinesis_firehose",
    "kinesis_streams",
    "logdna",
    "loki",
    "nats",
    "nrlogs",
    "null",
    "opensearch",
    "opentelemetry",
    "pgsql",
    "plot",
    "prometheus_exporter",
    "prometheus_remote_write",
    "s3",
    "skywalking",
    "slack",
    "splunk",
    "stackdriver",
    "syslog",
    "tcp",
    "td",
    "udp",
    "vivo_exporter",
    "websocket",
];
const SUPPORTED: &[&str] = &["file", "http", "stdout"];

impl LogPlan {
    /// What is wrong or not supported yet. Fields are paths below `spec.logging`. An output with a
    /// problem is left out when the plan is applied; everything else works.
    pub fn check(&self) -> Diagnostics {
        self.compile().1
    }

    pub(super) fn compile(&self) -> (Vec<OutputSpec>, Diagnostics) {
        let mut found = Diagnostics::default();
        let mut specs: Vec<OutputSpec> = Vec::new();
        for (index, output) in self.outputs.iter().enumerate() {
            let place = format!("outputs[{index}]");
            if self.outputs[..index].iter().any(|earlier| earlier.name == output.name) {
                let message = format!("two log outputs are named `{}`", output.name);
                found.push(
                    Diagnostic::error(message).field(format!("{place}.name")).help("the first is used"),
                );
                continue;
            }
            let problems_before = found.iter().filter(|one| one.is_error()).count();
            if let Some(mut spec) = compile_output(output, &place, &mut found)
                && found.iter().filter(|one| one.is_error()).count() == problems_before
            {
                if let Target::Http(target) = &mut spec.target {
                    // Exact names only (configuration reference 11).
                    let proxy = self.proxy.as_ref().filter(|proxy| proxy.serves_exact(&target.host));
                    target.proxy = proxy.cloned();
                }
                specs.push(spec);
            }
        }
        for (place, names) in [("runtimeLogs.outputs", &self.runtime), ("accessLogs.outputs", &self.access)] {
            for (index, name) in names.iter().enumerate() {
                if !self.outputs.iter().any(|output| output.name == *name) {
                    let field = format!("{place}[{index}]");
                    let problem = Diagnostic::error(format!("no log output is named `{name}`")).field(field);
                    let known = self.outputs.iter().map(|output| output.name.as_str());
                    found.push(match closest(name, known) {
                        Some(meant) => problem.help(format!("did you mean `{meant}`?")),
                        None => problem.help("define it under `outputs`"),
                    });
                }
            }
        }
        (specs, found)
    }
}

fn compile_output(output: &OutputPlan, place: &str, found: &mut Diagnostics) -> Option<OutputSpec> {
    let kind = output.kind.to_ascii_lowercase();
    let mut parameters = Parameters::new(output, format!("{place}.parameters"));
    let compiled = match kind.as_str() {
        "stdout" => {
            // Its format cannot differ from what goes to standard output anyway.
            parameters.ignore(&["format", "json_date_key", "json_date_format"]);
            Some((Form::Text, Target::Stdout))
        }
        "file" => parameters::file(&mut parameters, found),
        "http" => parameters::http(&mut parameters, found),
        _ => {
            found.push(unknown_type(&output.kind, &kind).field(format!("{place}.type")));
            return None;
        }
    };
    parameters.report_unknown(found);
    let (form, target) = compiled?;
    Some(OutputSpec { name: output.name.clone(), form, target })
}

fn unknown_type(written: &str, kind: &str) -> Diagnostic {
    if NOT_SUPPORTED_YET.contains(&kind) {
        return Diagnostic::warning(format!("log outputs of type `{written}` are not supported yet"))
            .help("supported: `file`, `http`, `stdout`; lines still go to standard output");
    }
    let problem = Diagnostic::error(format!("unknown type of log output `{written}`"));
    match closest(kind, SUPPORTED.iter().chain(NOT_SUPPORTED_YET).copied()) {
        Some(meant) => problem.help(format!("did you mean `{meant}`?")),
        None => problem.help("supported: `file`, `http`, `stdout`"),
    }
}
