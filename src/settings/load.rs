//! Layers the sources with the `config` crate and checks every name and value.

use std::fmt;

use config::{Map, Source, Value, ValueKind};

use crate::{
    base::{Diagnostic, Diagnostics, suggest::closest},
    document::{Limits, Node, NodeValue, Problem, SourceFile, parse, read_text},
};

use super::{
    Settings,
    read::Reader,
    source::Sources,
    table::{FILE_VARIABLE, NOT_SUPPORTED_YET, OTHER_VARIABLES, PREFIX, SETTINGS, Setting},
    value::split,
};

/// Far above any settings.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Settings, and what the user should know about how they were given.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Settings,
    pub warnings: Diagnostics,
}

/// Settings that cannot be used. All problems at once; for the process it is exit code 78.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    pub problems: Diagnostics,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

impl Sources {
    /// Resolves every setting.
    ///
    /// # Errors
    /// All unknown keys, values that do not fit and an unreadable settings file, each with its source
    /// and what to write instead. The value of an unknown key is never shown: it may be a secret.
    pub fn load(&self) -> Result<Loaded, SettingsError> {
        let mut problems = Diagnostics::default();
        let mut warnings = Diagnostics::default();
        let merged = config::Config::builder()
            .add_source(Layer::defaults())
            .add_source(Layer::file(self, &mut problems, &mut warnings))
            .add_source(Layer::vendor(self, &mut warnings))
            .add_source(Layer::variables(self, &mut problems))
            .add_source(Layer::flags(self, &mut problems))
            .build()
            .and_then(|config| config.collect());
        let merged = merged.unwrap_or_else(|error| {
            problems.push(Diagnostic::error(format!("settings cannot be merged: {error}")));
            Map::new()
        });
        let settings = if problems.has_errors() && merged.is_empty() {
            None
        } else {
            Some(Reader::new(&merged, self, &mut problems, &mut warnings).settings())
        };
        match settings {
            Some(settings) if !problems.has_errors() => Ok(Loaded { settings, warnings }),
            _ => Err(SettingsError { problems }),
        }
    }
}

/// One rank: known keys only, each value with its source as origin.
#[derive(Clone, Debug, Default)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + std::marker::Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

impl Layer {
    fn defaults() -> Self {
        let origin = "default".to_owned();
        Self(SETTINGS.iter().map(|s| (s.key.to_owned(), Value::new(Some(&origin), s.default))).collect())
    }

    fn file(sources: &Sources, problems: &mut Diagnostics, warnings: &mut Diagnostics) -> Self {
        let mut layer = Self::default();
        let Some(path) = sources.settings_file() else { return layer };
        let named = if sources.file.is_some() { "--settings" } else { FILE_VARIABLE };
        let shown = path.display().to_string();
        let text = match read_text(&path, FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(error) => {
                problems.push(
                    Diagnostic::error(format!("settings file `{shown}` cannot be read: {error}"))
                        .help(format!("it was named by {named}")),
                );
                return layer;
            }
        };
        let parsed = parse(&SourceFile::new(shown, text), Limits::default());
        let mut found: Vec<Problem> = parsed.error.into_iter().collect();
        for (index, document) in parsed.documents.into_iter().enumerate() {
            found.extend(document.problems);
            let root = &document.root;
            let refusal = match root.value {
                _ if index > 0 => "a settings file is one document; this is another".to_owned(),
                NodeValue::Mapping(_) => {
                    layer.walk(root, "", problems);
                    continue;
                }
                _ => format!("a settings file is a mapping, not {}", root.describe()),
            };
            found.push(Problem::error(&root.place, "", refusal).help("docs/settings.md has an example"));
        }
        for problem in found {
            let list = if problem.is_error() { &mut *problems } else { &mut *warnings };
            list.push(problem.into());
        }
        layer
    }

    /// Takes what the table knows; everything else is a problem.
    fn walk(&mut self, tree: &Node, prefix: &str, problems: &mut Diagnostics) {
        for (name, node) in tree.entries() {
            let key = format!("{prefix}{}", name.text);
            if Setting::find(&key).is_some() {
                self.0.insert(key, written(node));
                continue;
            }
            let section = format!("{key}.");
            let is_section = first_below(&section).is_some();
            match node.value {
                NodeValue::Mapping(_) if is_section => self.walk(node, &section, problems),
                NodeValue::Null if is_section => {}
                _ => problems.push(unknown(&key, &name.place.location().to_string())),
            }
        }
    }

    fn vendor(sources: &Sources, warnings: &mut Diagnostics) -> Self {
        let mut layer = Self::default();
        for (name, value) in &sources.environment {
            // As the vendor's chart renders an unset value.
            if !name.starts_with("FLEX_") || value.is_empty() {
                continue;
            }
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.vendor == Some(name)) {
                layer.0.insert(setting.key.to_owned(), Value::new(Some(name), value.as_str()));
            } else if let Some((_, why)) = NOT_SUPPORTED_YET.iter().find(|(known, _)| known == name) {
                warnings.push(Diagnostic::warning(format!("{name} is not supported yet: {why}")));
            } else {
                let known = SETTINGS.iter().filter_map(|setting| setting.vendor);
                // Any other name may serve `$NAME` in resources (configuration reference 13).
                if let Some(meant) = closest(name, known) {
                    warnings.push(
                        Diagnostic::warning(format!("{name} has no effect on the process"))
                            .help(format!("did you mean `{meant}`?")),
                    );
                }
            }
        }
        layer
    }

    fn variables(sources: &Sources, problems: &mut Diagnostics) -> Self {
        let mut layer = Self::default();
        for (name, value) in &sources.environment {
            let other = || OTHER_VARIABLES.iter().any(|(other, _)| other == name);
            if !name.starts_with(PREFIX) || name == FILE_VARIABLE || other() {
                continue;
            }
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == *name) {
                layer.0.insert(setting.key.to_owned(), Value::new(Some(name), value.as_str()));
            } else if !is_service_link(name) {
                let variables: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
                let problem = Diagnostic::error(format!("no setting has the variable {name}"));
                let meant = closest(name, variables.iter().map(String::as_str));
                problems.push(problem.help(suggestion(meant)));
            }
        }
        layer
    }

    fn flags(sources: &Sources, problems: &mut Diagnostics) -> Self {
        let mut layer = Self::default();
        for given in &sources.overrides {
            let Some(setting) = Setting::find(&given.key) else {
                problems.push(unknown(&given.key, &given.flag));
                continue;
            };
            let value = |text: &str| Value::new(Some(&given.flag), text);
            let first = layer.0.remove(&given.key);
            let kind = if setting.kind.is_list() {
                let mut items = match first.map(|first| first.kind) {
                    Some(ValueKind::Array(items)) => items,
                    _ => Vec::new(),
                };
                // A path may have a comma.
                let whole = given.flag != "--set";
                let parts = if whole { vec![given.value.clone()] } else { split(&given.value) };
                items.extend(parts.iter().map(|part| value(part)));
                ValueKind::Array(items)
            } else if let Some(first) = first {
                let flags = [first.origin().unwrap_or_default(), &given.flag];
                let message = format!("setting `{}` is given twice ({})", given.key, flags.join(" and "));
                problems.push(Diagnostic::error(message).help("give it once"));
                first.kind
            } else {
                ValueKind::String(given.value.clone())
            };
            layer.0.insert(given.key.clone(), Value::new(Some(&given.flag), kind));
        }
        layer
    }
}

/// A value of the settings file, its place as origin.
fn written(node: &Node) -> Value {
    let kind = match &node.value {
        NodeValue::Scalar { text, .. } => ValueKind::String(text.to_string()),
        NodeValue::Sequence(items) => ValueKind::Array(items.iter().map(written).collect()),
        NodeValue::Mapping(entries) => ValueKind::Table(
            entries.iter().map(|(key, node)| (key.text.to_string(), written(node))).collect(),
        ),
        NodeValue::Null => ValueKind::Nil,
    };
    Value::new(Some(&node.place.location().to_string()), kind)
}

/// The first setting whose key begins with this, a dot at its end.
fn first_below(section: &str) -> Option<&'static str> {
    SETTINGS.iter().map(|setting| setting.key).find(|key| key.starts_with(section))
}

fn unknown(key: &str, origin: &str) -> Diagnostic {
    if let Some(first) = first_below(&format!("{key}.")) {
        return Diagnostic::error(format!("`{key}` is a group of settings, not a value ({origin})"))
            .help(format!("write the settings below it, such as `{first}`"));
    }
    let meant = closest(key, SETTINGS.iter().map(|setting| setting.key));
    Diagnostic::error(format!("unknown setting `{key}` ({origin})")).help(suggestion(meant))
}

fn suggestion(meant: Option<&str>) -> String {
    meant.map_or_else(
        || "docs/settings.md lists all settings".to_owned(),
        |meant| format!("did you mean `{meant}`?"),
    )
}

/// Kubernetes announces a Service named `portcullis` or `portcullis-admin` to every pod of its
/// namespace by variables such as `PORTCULLIS_SERVICE_HOST` and `PORTCULLIS_PORT_80_TCP_ADDR`; they
/// are nobody's mistake.
fn is_service_link(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX.trim_end_matches('_')) else { return false };
    rest.ends_with("_SERVICE_HOST")
        || rest.contains("_SERVICE_PORT")
        || rest.ends_with("_PORT")
        || rest.split_once("_PORT_").is_some_and(|(_, tail)| tail.starts_with(|c: char| c.is_ascii_digit()))
}
