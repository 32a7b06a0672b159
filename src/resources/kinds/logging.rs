//! `spec.logging` of a `Configuration` (configuration reference 9.2).

use serde::Deserialize;

use super::{Ordered, sound, typed};
use crate::{
    base::{Secret, suggest::closest},
    document::{Node, NodeValue, OneOrMany, Problem, RawNode, Spanned},
    telemetry::log::{Level, OutputKind, STDOUT},
};

/// Where log lines go, standard output always included.
#[derive(Clone, Debug, Default)]
pub struct Logging {
    pub outputs: Vec<LogOutput>,
    pub level: Option<Level>,
    /// Names of outputs.
    pub runtime_outputs: Vec<String>,
    /// Names of outputs.
    pub access_outputs: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct LogOutput {
    pub name: Spanned<String>,
    /// `None`: any other Fluent Bit output, accepted with a warning, receives nothing.
    pub kind: Option<OutputKind>,
    /// Keys in lower case; a key may have several values (`header`). Values may be credentials.
    pub parameters: Vec<(Spanned<String>, Vec<Secret>)>,
}

impl LogOutput {
    /// The value of a parameter, the last of several. An empty one is none.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, values) = self.parameters.iter().rfind(|(key, _)| **key == name)?;
        values.last().map(|value| value.expose().as_str()).filter(|value| !value.is_empty())
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WrittenLogging {
    /// A list, or a map by name.
    outputs: Option<Spanned<RawNode>>,
    runtime_logs: WrittenLogs,
    access_logs: WrittenLogs,
    /// Whether the vendor's platform receives logs.
    anypoint: Anypoint,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WrittenLogs {
    log_level: Option<Level>,
    /// A list of names, or a map such as `{anypoint: disabled}`.
    outputs: Option<Spanned<RawNode>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Anypoint {
    forward_logs: Option<Spanned<bool>>,
}

#[derive(Deserialize)]
struct ListedOutput {
    name: Spanned<String>,
    r#type: Spanned<String>,
    #[serde(default)]
    parameters: Ordered<OneOrMany<Secret>>,
}

#[derive(Deserialize)]
struct MappedOutput {
    r#type: Spanned<String>,
    #[serde(default)]
    parameters: Ordered<OneOrMany<Secret>>,
}

impl WrittenLogging {
    pub(super) fn read(self, problems: &mut Vec<Problem>) -> Logging {
        let outputs = self.outputs.map(|outputs| read_outputs(&outputs, problems)).unwrap_or_default();
        if let Some(forward) = self.anypoint.forward_logs.filter(|forward| forward.value) {
            problems.push(
                forward
                    .warning("forwarding logs to the vendor's platform is not supported yet")
                    .help("remove it, or set it to `false`"),
            );
        }
        let mut names = |logs: Option<Spanned<RawNode>>| {
            logs.map(|logs| read_names(&logs, &outputs, problems)).unwrap_or_default()
        };
        let runtime_outputs = names(self.runtime_logs.outputs);
        let access_outputs = names(self.access_logs.outputs);
        // The vendor documents the level under `runtimeLogs` only; it governs both kinds.
        let level = self.runtime_logs.log_level.or(self.access_logs.log_level);
        Logging { outputs, level, runtime_outputs, access_outputs }
    }
}

fn read_outputs(written: &Spanned<RawNode>, problems: &mut Vec<Problem>) -> Vec<LogOutput> {
    let node: &Node = &written.value;
    let mut outputs: Vec<LogOutput> = Vec::new();
    if !matches!(node.value, NodeValue::Mapping(_)) {
        let list: Option<Vec<ListedOutput>> = typed(node, &written.field, problems);
        for output in list.unwrap_or_default() {
            if outputs.iter().any(|other| *other.name == *output.name) {
                problems
                    .push(output.name.error(format!("the output `{}` is given twice", output.name.value)));
                continue;
            }
            outputs.push(read_output(&output.name, &output.r#type, output.parameters, problems));
        }
    } else {
        let map: Option<Ordered<MappedOutput>> = typed(node, &written.field, problems);
        for (name, output) in map.unwrap_or_default().0 {
            outputs.push(read_output(&name, &output.r#type, output.parameters, problems));
        }
    }
    outputs
}

fn read_output(
    name: &Spanned<String>,
    kind: &Spanned<String>,
    parameters: Ordered<OneOrMany<Secret>>,
    problems: &mut Vec<Problem>,
) -> LogOutput {
    let lower = kind.to_ascii_lowercase();
    let kind = match lower.as_str() {
        "file" => Some(OutputKind::File),
        "http" => Some(OutputKind::Http),
        "stdout" => Some(OutputKind::Stdout),
        _ => {
            let mut problem = kind.warning(format!(
                "outputs of type `{}` are not supported yet; nothing is sent there",
                kind.value
            ));
            if let Some(close) = closest(&lower, ["file", "http", "stdout"]) {
                problem = problem.help(format!("did you mean `{close}`?"));
            }
            problems.push(problem.help("supported: `file`, `http`, `stdout`"));
            None
        }
    };
    let parameters = parameters.0.into_iter();
    let parameters =
        parameters.map(|(key, values)| (key.map(|key| key.to_ascii_lowercase()), values.0)).collect();
    let output = LogOutput { name: name.clone(), kind, parameters };
    if name.chars().any(char::is_control) {
        problems.push(
            name.error(format!("the name `{}` of an output has a control character", name.escape_debug()))
                .help("use letters, digits and `-`"),
        );
    }
    if **name == STDOUT && matches!(kind, Some(OutputKind::File | OutputKind::Http)) {
        // Two outputs of one name could not be told apart in the metrics.
        problems.push(
            name.error("the name `stdout` is that of standard output, where every line goes anyway")
                .help("give the output another name"),
        );
    }
    let missing = match kind {
        Some(OutputKind::File)
            if output.parameter("file").is_none() && output.parameter("path").is_none() =>
        {
            Some("file")
        }
        Some(OutputKind::Http) if output.parameter("host").is_none() => Some("host"),
        _ => None,
    };
    if let Some(missing) = missing {
        problems.push(
            name.error(format!("the output `{}` needs the parameter `{missing}`", name.value))
                .help(format!("add `{missing}` to its `parameters`")),
        );
    }
    output
}

/// The outputs that one kind of log is sent to.
fn read_names(written: &Spanned<RawNode>, outputs: &[LogOutput], problems: &mut Vec<Problem>) -> Vec<String> {
    let node: &Node = &written.value;
    let mut names: Vec<Spanned<String>> = Vec::new();
    if !matches!(node.value, NodeValue::Mapping(_)) {
        let list: Option<OneOrMany<Spanned<String>>> = typed(node, &written.field, problems);
        names.extend(list.unwrap_or_default().0);
    } else {
        let map: Option<Ordered<Spanned<String>>> = typed(node, &written.field, problems);
        for (name, state) in map.unwrap_or_default().0 {
            match state.to_ascii_lowercase().as_str() {
                // The platform gets nothing from this gateway in either state.
                "disabled" | "false" => {}
                "enabled" | "true" if name.value == "anypoint" => problems.push(
                    state
                        .warning("forwarding logs to the vendor's platform is not supported yet")
                        .help("write `disabled`"),
                ),
                "enabled" | "true" => names.push(name),
                _ => problems
                    .push(state.error(format!("`{}` is neither `enabled` nor `disabled`", state.value))),
            }
        }
    }
    if !sound(problems) {
        return Vec::new();
    }
    let known: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
    for name in names.iter().filter(|name| !known.contains(&name.as_str())) {
        let mut problem = name.error(format!("there is no output `{}`", name.value));
        if let Some(close) = closest(name, known.iter().copied()) {
            problem = problem.help(format!("did you mean `{close}`?"));
        }
        problems.push(problem.help("define it under `logging.outputs`"));
    }
    names.into_iter().map(|name| name.value).collect()
}
