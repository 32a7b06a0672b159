//! What can be wrong with an expression: at load time, and at evaluation.

use std::{borrow::Cow, error::Error, fmt};

use super::budget::Failure;
use crate::base::Diagnostic;

/// Why a text is not an expression of the subset: a configuration error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionError {
    /// Where, in bytes of the text given to `Template::compile`.
    pub offset: usize,
    pub message: String,
    /// What to do, most useful first.
    pub help: Vec<String>,
}

impl ExpressionError {
    pub(super) fn at(offset: usize, message: impl Into<String>) -> Self {
        Self { offset, message: message.into(), help: Vec::new() }
    }

    #[must_use]
    pub(super) fn help(mut self, text: impl Into<String>) -> Self {
        self.help.insert(0, text.into());
        self
    }
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.message, self.offset)?;
        self.help.iter().try_for_each(|help| write!(f, "; help: {help}"))
    }
}

impl Error for ExpressionError {}

/// Without place and field, which only the reader of the document knows.
impl From<ExpressionError> for Diagnostic {
    fn from(error: ExpressionError) -> Self {
        let message = format!("expression: {} (at byte {})", error.message, error.offset);
        error.help.into_iter().fold(Self::error(message), Self::help)
    }
}

/// Something that is allowed but probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where, in bytes of the text given to `Template::compile`.
    pub offset: usize,
    pub message: String,
    pub help: String,
}

impl Warning {
    pub(super) fn new(offset: usize, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { offset, message: message.into(), help: help.into() }
    }
}

/// Without place and field, which only the reader of the document knows.
impl From<&Warning> for Diagnostic {
    fn from(warning: &Warning) -> Self {
        Self::warning(format!("expression: {} (at byte {})", warning.message, warning.offset))
            .help(warning.help.as_str())
    }
}

/// Why an expression has no value for this request (reference 7.4). The message names types,
/// never values, so it may be logged; clients never see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalError {
    /// Where, in bytes of the text given to `Template::compile`.
    pub offset: usize,
    pub message: Cow<'static, str>,
}

impl EvalError {
    pub(super) fn new(offset: usize, message: impl Into<Cow<'static, str>>) -> Self {
        Self { offset, message: message.into() }
    }

    pub(super) fn failure(offset: usize, failure: Failure) -> Self {
        Self { offset, message: failure.0 }
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.message, self.offset)
    }
}

impl Error for EvalError {}
