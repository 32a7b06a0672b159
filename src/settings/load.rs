//! Layers the sources with the `config` crate and checks every name and value.

use std::{collections::BTreeMap, fmt};

use config::{Map, Source, Value as Node, ValueKind};

use crate::{
    base::{Diagnostic, Diagnostics, suggest::closest},
    document::read_text,
};

use super::{
    Kind, Settings,
    read::Reader,
    source::Sources,
    table::{FILE_VARIABLE, NOT_SUPPORTED_YET, OTHER_VARIABLES, PREFIX, SETTINGS, Setting},
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
            .add_source(Layer::file(self, &mut problems))
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
struct Layer(Map<String, Node>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + std::marker::Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Node>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

impl Layer {
    fn defaults() -> Self {
        let origin = "default".to_owned();
        Self(SETTINGS.iter().map(|s| (s.key.to_owned(), Node::new(Some(&origin), s.default))).collect())
    }

    fn file(sources: &Sources, problems: &mut Diagnostics) -> Self {
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
        match config::File::from_str(&text, config::FileFormat::Yaml).collect() {
            Ok(root) => layer.walk(root, "", &shown, problems),
            Err(error) => problems.push(
                Diagnostic::error(format!("settings file `{shown}` is not a YAML map: {error}"))
                    .help("docs/settings.md has an example"),
            ),
        }
        layer
    }

    /// Takes what the table knows; everything else is a problem.
    fn walk(&mut self, tree: Map<String, Node>, prefix: &str, file: &str, problems: &mut Diagnostics) {
        let sorted: BTreeMap<String, Node> = tree.into_iter().collect();
        for (name, node) in sorted {
            let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            let origin = format!("{file}:{key}");
            if Setting::find(&key).is_some() {
                self.0.insert(key, Node::new(Some(&origin), node.kind));
                continue;
            }
            let section = format!("{key}.");
            let is_section = SETTINGS.iter().any(|setting| setting.key.starts_with(&section));
            match node.kind {
                ValueKind::Table(inner) if is_section => self.walk(inner, &key, file, problems),
                ValueKind::Nil if is_section => {}
                _ if is_section => problems.push(
                    Diagnostic::error(format!("`{key}` is a group of settings, not a value ({origin})"))
                        .help(format!("write the settings below it, such as `{}`", first_below(&section))),
                ),
                _ => problems.push(unknown(&key, &origin)),
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
                layer.0.insert(setting.key.to_owned(), Node::new(Some(name), value.as_str()));
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
            if !name.starts_with(PREFIX) || name == FILE_VARIABLE || OTHER_VARIABLES.contains(&name.as_str())
            {
                continue;
            }
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == *name) {
                layer.0.insert(setting.key.to_owned(), Node::new(Some(name), value.as_str()));
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
            let node = match layer.0.remove(&given.key).map(|node| node.kind) {
                Some(ValueKind::Array(mut items)) => {
                    items.push(Node::new(Some(&given.flag), given.value.as_str()));
                    ValueKind::Array(items)
                }
                Some(first) => ValueKind::Array(vec![
                    Node::new(Some(&given.flag), first),
                    Node::new(Some(&given.flag), given.value.as_str()),
                ]),
                // A path may have a comma.
                None if given.flag != "--set" && matches!(setting.kind, Kind::List(_)) => {
                    ValueKind::Array(vec![Node::new(Some(&given.flag), given.value.as_str())])
                }
                None => ValueKind::String(given.value.clone()),
            };
            layer.0.insert(given.key.clone(), Node::new(Some(&given.flag), node));
        }
        layer
    }
}

fn unknown(key: &str, origin: &str) -> Diagnostic {
    let meant = closest(key, SETTINGS.iter().map(|setting| setting.key));
    Diagnostic::error(format!("unknown setting `{key}` ({origin})")).help(suggestion(meant))
}

fn suggestion(meant: Option<&str>) -> String {
    meant.map_or_else(
        || "docs/settings.md lists all settings".to_owned(),
        |meant| format!("did you mean `{meant}`?"),
    )
}

fn first_below(section: &str) -> &'static str {
    SETTINGS.iter().map(|setting| setting.key).find(|key| key.starts_with(section)).unwrap_or_default()
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
