//! What is wrong with a value inside a policy's `config`.

/// Something wrong with a value of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Path below `config`, such as `rateLimits[0].maximumRequests`; empty for all of it.
    pub field: String,
    pub message: String,
    pub help: Vec<String>,
}

impl ConfigProblem {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), help: Vec::new() }
    }

    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }
}
