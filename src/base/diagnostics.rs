//! Findings about configuration: what is wrong, where, why, and what to do.

use std::{
    collections::HashSet,
    fmt::{self, Write as _},
    sync::Arc,
};

use serde::Serialize;

use super::ids::ResourceName;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// The resource that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    pub kind: Arc<str>,
    pub name: ResourceName,
}

impl Subject {
    pub fn new(kind: impl AsRef<str>, name: ResourceName) -> Self {
        Self { kind: Arc::from(kind.as_ref()), name }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// A place in a source file. Line and column count from 1, the column in characters; `line_text`
/// is that line, for the excerpt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    pub file: Arc<str>,
    pub line: usize,
    pub column: usize,
    pub line_text: Arc<str>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// How many of something: `1 error`, `2 errors`.
pub fn plural<N: fmt::Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    format!("{count} {noun}{}", if count == N::from(1) { "" } else { "s" })
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    pub severity: Severity,
    pub subject: Option<Subject>,
    pub location: Option<Location>,
    /// Path of the field inside the resource, such as `spec.policies[2].config.ips[0]`.
    pub field: Option<String>,
    pub message: String,
    /// What to do, most useful first.
    pub help: Vec<String>,
}

impl Diagnostic {
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message)
    }

    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message)
    }

    fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self {
            severity,
            subject: None,
            location: None,
            field: None,
            message: message.into(),
            help: Vec::new(),
        }
    }

    #[must_use]
    pub fn about(mut self, subject: &Subject) -> Self {
        self.subject = Some(subject.clone());
        self
    }

    #[must_use]
    pub fn at(mut self, location: impl Into<Option<Location>>) -> Self {
        self.location = location.into();
        self
    }

    #[must_use]
    pub fn field(mut self, path: impl Into<String>) -> Self {
        self.field = Some(path.into());
        self
    }

    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// `<Kind> <namespace>/<name>: <reason>` (configuration reference 15), with place and remedy. The source line stays
    /// out.
    pub fn one_line(&self) -> String {
        let mut line = String::new();
        // Writing to a String cannot fail.
        if let Some(subject) = &self.subject {
            let _ = write!(line, "{subject}: ");
        }
        line.push_str(&self.message);
        if let Some(field) = &self.field {
            let _ = write!(line, " ({field})");
        }
        if let Some(location) = &self.location {
            let _ = write!(line, " at {location}");
        }
        for help in &self.help {
            let _ = write!(line, "; help: {help}");
        }
        line
    }
}

/// The form of a terminal, after rustc:
///
/// ```text
/// error: unknown policy `rate-limitng-flex`
///   --> conf/orders.yaml:14:24
///    |
/// 14 |     - policyRef: {name: rate-limitng-flex}
///    |                         ^
///    = in: ApiInstance default/orders, spec.policies[0].policyRef.name
///    = help: did you mean `rate-limiting-flex`?
/// ```
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity.as_str(), self.message)?;
        let mut margin = 0;
        if let Some(location) = &self.location {
            margin = location.line.to_string().len();
            write!(f, "\n{:margin$}--> {location}", "")?;
            if !location.line_text.is_empty() {
                let caret = location.column.saturating_sub(1);
                write!(f, "\n{:margin$} |", "")?;
                write!(f, "\n{} | {}", location.line, location.line_text)?;
                write!(f, "\n{:margin$} | {:caret$}^", "", "")?;
            }
        }
        match (&self.subject, &self.field) {
            (Some(subject), Some(field)) => write!(f, "\n{:margin$} = in: {subject}, {field}", "")?,
            (Some(subject), None) => write!(f, "\n{:margin$} = in: {subject}", "")?,
            (None, Some(field)) => write!(f, "\n{:margin$} = in: {field}", "")?,
            (None, None) => {}
        }
        self.help.iter().try_for_each(|help| write!(f, "\n{:margin$} = help: {help}", ""))
    }
}

/// The form of `--format json`: `{"severity","kind","namespace","name","file","line","column",
/// "field","message","help":[…]}`; absent parts are left out.
impl Serialize for Diagnostic {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("severity", &self.severity)?;
        if let Some(subject) = &self.subject {
            map.serialize_entry("kind", &subject.kind)?;
            map.serialize_entry("namespace", &subject.name.namespace)?;
            map.serialize_entry("name", &subject.name.name)?;
        }
        if let Some(location) = &self.location {
            map.serialize_entry("file", &location.file)?;
            map.serialize_entry("line", &location.line)?;
            map.serialize_entry("column", &location.column)?;
        }
        if let Some(field) = &self.field {
            map.serialize_entry("field", field)?;
        }
        map.serialize_entry("message", &self.message)?;
        map.serialize_entry("help", &self.help)?;
        map.end()
    }
}

/// Findings in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    pub fn extend(&mut self, other: impl IntoIterator<Item = Diagnostic>) {
        self.0.extend(other);
    }

    /// In the order of the files, each thing once: a policy that is bound to a hundred APIs is built a
    /// hundred times. What is wrong with the content of a file (`crt`) that could not be read (`crtFile`)
    /// is left out.
    pub fn tidy(&mut self) {
        let unread = |found: &Diagnostic| {
            let parameter = found.field.as_deref()?.strip_suffix("File")?;
            found.is_error().then(|| (parameter.to_owned(), found.location.clone()))
        };
        let unread: HashSet<_> = self.0.iter().filter_map(unread).collect();
        self.0.retain(|found| {
            let field = found.field.clone().unwrap_or_default();
            !unread.contains(&(field, found.location.clone()))
        });
        let place =
            |found: &Diagnostic| found.location.as_ref().map(|at| (Arc::clone(&at.file), at.line, at.column));
        self.0.sort_by_cached_key(place);
        let mut seen = HashSet::new();
        self.0.retain(|found| seen.insert(found.clone()));
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Diagnostic> {
        self.0.iter_mut()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has_errors(&self) -> bool {
        self.0.iter().any(Diagnostic::is_error)
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|d| d.severity == severity).count()
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!([0_usize, 1, 2].map(|count| plural(count, "error")), ["0 errors", "1 error", "2 errors"]);
    }

    #[test]
    fn the_content_of_a_file_that_was_not_read_is_not_complained_of() {
        let at = |line| Location { file: "a.yaml".into(), line, column: 1, line_text: "".into() };
        let found = |field: &str, line| Diagnostic::error("wrong").field(field).at(at(line));
        let mut all = Diagnostics::default();
        all.extend([found("config.crt", 1), found("config.crtFile", 1), found("config.crt", 2)]);
        all.push(Diagnostic::error("alone"));
        all.tidy();
        assert_eq!(all.count(Severity::Error), 3);
        assert!(!all.iter().any(|one| *one == found("config.crt", 1)));
    }

    #[test]
    fn the_terminal_form_names_place_cause_and_remedy() {
        let subject = Subject::new("ApiInstance", ResourceName::new("default", "orders"));
        let shown = Diagnostic::error("unknown policy `rate-limitng-flex`")
            .about(&subject)
            .at(Location {
                file: "conf/orders.yaml".into(),
                line: 14,
                column: 5,
                line_text: "    rate-limitng-flex".into(),
            })
            .field("spec.policies[0].policyRef.name")
            .help("did you mean `rate-limiting-flex`?")
            .to_string();
        let expected = "error: unknown policy `rate-limitng-flex`
  --> conf/orders.yaml:14:5
   |
14 |     rate-limitng-flex
   |     ^
   = in: ApiInstance default/orders, spec.policies[0].policyRef.name
   = help: did you mean `rate-limiting-flex`?";
        assert_eq!(shown, expected);
    }
}
