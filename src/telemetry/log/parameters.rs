//! Parameters of outputs, in the words of Fluent Bit: names in any case, `on` and `off`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use awc::http::{
    Uri,
    header::{HeaderName, HeaderValue},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    base::{Secret, secret::shown_name},
    document::{Problem, Spanned},
};

use super::{
    plan::{Body, HttpTarget, OutputPlan, Target},
    record::{DateFormat, Form},
    template::{Template, variables},
};

/// Parameters of one output; remembers which were asked for.
pub(super) struct Parameters<'a> {
    output: &'a OutputPlan,
    used: BTreeSet<String>,
}

impl<'a> Parameters<'a> {
    pub fn new(output: &'a OutputPlan) -> Self {
        Self { output, used: BTreeSet::new() }
    }

    pub fn ignore(&mut self, names: &[&str]) {
        self.used.extend(names.iter().map(|name| (*name).to_owned()));
    }

    pub fn report_unknown(&self, found: &mut Vec<Problem>) {
        for (name, value) in self.output.parameters.iter().filter(|(name, _)| !self.used.contains(*name)) {
            let message = format!("parameter `{}` of a log output is not supported yet", shown_name(name));
            found.push(value.warning(message).without_excerpt());
        }
    }

    fn all(&mut self, name: &str) -> Vec<String> {
        self.used.insert(name.to_owned());
        self.output.parameters.get(name).map(|value| value.value.clone()).unwrap_or_default()
    }

    fn one(&mut self, name: &str) -> Option<String> {
        self.all(name).into_iter().next_back().filter(|value| !value.is_empty())
    }

    fn switch(&mut self, name: &str, default: bool, found: &mut Vec<Problem>) -> bool {
        match self.one(name).map(|text| text.to_ascii_lowercase()).as_deref() {
            None => default,
            Some("on" | "true" | "yes" | "1") => true,
            Some("off" | "false" | "no" | "0") => false,
            Some(_) => {
                found.push(self.problem(name, "is neither on nor off").help("expected `on` or `off`"));
                default
            }
        }
    }

    /// Where a parameter stands, or the output that lacks it.
    fn place(&self, name: &str) -> Spanned<()> {
        self.output.parameters.get(name).map_or_else(|| self.output.name.map_ref(), Spanned::map_ref)
    }

    /// Values may be secrets and are never shown.
    fn problem(&self, name: &str, what: &str) -> Problem {
        self.place(name).error(format!("parameter `{name}` of a log output {what}")).without_excerpt()
    }

    fn json(&mut self, date: DateFormat, found: &mut Vec<Problem>) -> Form {
        let date_key = match self.one("json_date_key") {
            None => Some("date".to_owned()),
            Some(word) if word.eq_ignore_ascii_case("false") => None,
            key => key,
        };
        let date = match self.one("json_date_format").as_deref() {
            None => date,
            Some("double") => DateFormat::Double,
            Some("epoch") => DateFormat::Epoch,
            Some("epoch_ms") => DateFormat::EpochMs,
            Some("iso8601") => DateFormat::Iso8601,
            Some("java_sql_timestamp") => DateFormat::JavaSqlTimestamp,
            Some(_) => {
                found.push(
                    self.problem("json_date_format", "has an unknown value")
                        .help("expected `double`, `epoch`, `epoch_ms`, `iso8601` or `java_sql_timestamp`"),
                );
                date
            }
        };
        Form::Json { date_key, date }
    }
}

/// `file`: a folder in `path` and a name in `file`, or an absolute path in `file`.
pub(super) fn file(parameters: &mut Parameters<'_>, found: &mut Vec<Problem>) -> Option<(Form, Target)> {
    let folder = parameters.one("path");
    let Some(name) = parameters.one("file") else {
        found.push(parameters.problem("file", "is missing").help("give the name of the file"));
        return None;
    };
    // Joining an absolute path replaces the folder.
    let path = folder.map_or_else(|| PathBuf::from(&name), |folder| Path::new(&folder).join(&name));
    let template = parameters.one("template");
    let form = match parameters.one("format").map(|format| format.to_ascii_lowercase()).as_deref() {
        Some("template") => {
            let Some(text) = template else {
                found.push(parameters.problem("template", "is missing").help("`format: template` needs it"));
                return None;
            };
            let (template, unknown) = Template::parse(&text);
            for name in unknown {
                let message = format!("`{{{name}}}` is no variable of log templates and stays as it is");
                let problem = parameters.place("template").warning(message);
                found.push(problem.help(format!("variables: {}", variables())));
            }
            Form::Template(template)
        }
        None | Some("out_file" | "plain" | "json" | "json_lines") => {
            parameters.json(DateFormat::Iso8601, found)
        }
        Some(_) => {
            found.push(
                parameters
                    .problem("format", "has a value that is not supported yet")
                    .help("expected `template` or `plain` (lines of JSON)"),
            );
            return None;
        }
    };
    Some((form, Target::File(path)))
}

/// `http`, with the defaults of Fluent Bit except for the format, which there is MessagePack, and the
/// host, which there is 127.0.0.1.
pub(super) fn http(parameters: &mut Parameters<'_>, found: &mut Vec<Problem>) -> Option<(Form, Target)> {
    let tls = parameters.switch("tls", false, found);
    let verify = parameters.switch("tls.verify", true, found);
    let Some(host) = parameters.one("host") else {
        found
            .push(parameters.problem("host", "is missing").help("give the name or address of the collector"));
        return None;
    };
    if host.contains(['/', '@', '?', '#']) || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
        found.push(
            parameters
                .problem("host", "is no host name")
                .help("give a name or an address, without `http://`"),
        );
        return None;
    }
    let port = parameters.one("port").map_or(Some(80), |port| port.parse().ok().filter(|port| *port != 0));
    let Some(port) = port else {
        found.push(parameters.problem("port", "is no port").help("expected a whole number from 1 to 65535"));
        return None;
    };
    let uri = parameters.one("uri").unwrap_or_else(|| "/".to_owned());
    let uri = if uri.starts_with('/') { uri } else { format!("/{uri}") };
    if format!("http://a{uri}").parse::<Uri>().is_err() {
        found.push(parameters.problem("uri", "is no path").help("expected a path such as `/ingest`"));
        return None;
    }
    let body = match parameters.one("format").map(|format| format.to_ascii_lowercase()).as_deref() {
        Some("json_lines" | "json_stream") => Body::JsonLines,
        None | Some("json") => Body::JsonArray,
        Some(_) => {
            found.push(
                parameters
                    .problem("format", "has a value that is not supported yet")
                    .help("expected `json` or `json_lines`"),
            );
            return None;
        }
    };
    let mut headers = Vec::new();
    for header in parameters.all("header") {
        match header.trim().split_once([' ', '\t', ':']) {
            Some((name, value)) if is_header(name, value) => {
                let value = value.trim_start_matches([' ', '\t', ':']).trim();
                headers.push((name.to_owned(), Secret::new(value.to_owned())));
            }
            _ => {
                found.push(
                    parameters
                        .problem("header", "has no value, or characters that cannot be sent")
                        .help("write `Name value`"),
                );
            }
        }
    }
    let password = parameters.one("http_passwd").unwrap_or_default();
    if let Some(user) = parameters.one("http_user") {
        let credentials = STANDARD.encode(format!("{user}:{password}"));
        headers.push(("authorization".to_owned(), Secret::new(format!("Basic {credentials}"))));
    }
    let form = parameters.json(DateFormat::Double, found);
    Some((form, Target::Http(HttpTarget { host, port, uri, body, tls, verify, headers, proxy: None })))
}

fn is_header(name: &str, value: &str) -> bool {
    name.parse::<HeaderName>().is_ok() && value.parse::<HeaderValue>().is_ok()
}
