//! What is wrong with a document, before it is known which resource it belongs to.

use super::{Node, Place};
use crate::base::{ConfigProblem, Diagnostic, Location, Severity, Subject};

/// A finding with its place and field path; [`Problem::about`] makes it a [`Diagnostic`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    /// Path such as `spec.rules[0].path`; empty when the finding is about the text itself.
    pub field: String,
    pub location: Location,
    pub message: String,
    /// What to do, most useful first.
    pub help: Vec<String>,
}

impl Problem {
    pub fn error(place: &Place, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, place, field, message)
    }

    pub fn warning(place: &Place, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, place, field, message)
    }

    fn new(severity: Severity, place: &Place, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity,
            field: field.into(),
            location: place.location(),
            message: message.into(),
            help: Vec::new(),
        }
    }

    /// A problem with parameters, with the position of the value that it names, or of the closest one around it;
    /// `field` is the path of `config`.
    pub fn of_config(config: &Node, field: &str, problem: ConfigProblem, severity: Severity) -> Self {
        let mut node = config;
        for part in problem.field.split(['.', '[', ']']).filter(|part| !part.is_empty()) {
            let child = match part.parse::<usize>() {
                Ok(index) => node.items().get(index),
                Err(_) => node.get_ignore_case(part),
            };
            match child {
                Some(child) => node = child,
                None => break,
            }
        }
        let path = match problem.field.as_str() {
            "" => field.to_owned(),
            inner if inner.starts_with('[') => format!("{field}{inner}"),
            inner => format!("{field}.{inner}"),
        };
        let mut placed = Self::new(severity, &node.place, path, problem.message);
        placed.help = problem.help;
        placed
    }

    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// Without the line that it is about, which is not to be shown.
    #[must_use]
    pub fn without_excerpt(mut self) -> Self {
        self.location.line_text = "".into();
        self
    }

    /// Whether it is about something that is written in a file, and not about a stand-in (see
    /// [`Deserialized::partial`](super::Deserialized)).
    pub fn is_somewhere(&self) -> bool {
        !self.location.file.is_empty()
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The same finding, as one about a resource.
    pub fn about(self, subject: &Subject) -> Diagnostic {
        Diagnostic::from(self).about(subject)
    }
}

impl From<Problem> for Diagnostic {
    fn from(problem: Problem) -> Self {
        Self {
            severity: problem.severity,
            subject: None,
            location: Some(problem.location),
            field: Some(problem.field).filter(|field| !field.is_empty()),
            message: problem.message,
            help: problem.help,
        }
    }
}
