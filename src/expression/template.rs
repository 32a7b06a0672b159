//! The text of a parameter: a literal or a compiled expression.

use std::{borrow::Cow, fmt, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    EvalError, ExpressionError, Scope, Uses, Value, Warning,
    eval::evaluate,
    parser::{self, Parsed},
};

/// Length of an expression: above any real one, and a bound on the work to compile it.
pub const EXPRESSION_BYTES_MAX: usize = 8 << 10;

/// A parameter of the kind "expression", compiled. Cheap to clone; shared between workers.
#[derive(Clone)]
pub struct Template(Arc<Compiled>);

struct Compiled {
    source: Box<str>,
    body: Body,
}

enum Body {
    Literal { text: Box<str>, warnings: Vec<Warning> },
    Expression(Parsed),
}

impl Template {
    /// Compiles the text of a parameter. `#[ … ]` around the whole of it (blanks outside ignored)
    /// makes it an expression; everything else is literal text. `\#[` at the start stands for the
    /// characters `#[`.
    ///
    /// # Errors
    /// Syntax errors and constructs outside the subset, with their place and what to do.
    pub fn compile(text: &str) -> Result<Self, ExpressionError> {
        let outer = text.trim();
        let start = text.len() - text.trim_start().len();
        let body = match outer.strip_prefix("#[") {
            Some(rest) => match rest.strip_suffix(']') {
                Some(inner) if inner.len() > EXPRESSION_BYTES_MAX => {
                    return Err(ExpressionError::at(
                        start,
                        format!("the expression is longer than {} KiB", EXPRESSION_BYTES_MAX >> 10),
                    ));
                }
                Some(inner) => Body::Expression(parser::parse(inner, start + "#[".len())?),
                None => Body::Literal { text: text.into(), warnings: vec![unclosed(start)] },
            },
            None if outer.starts_with("\\#[") => {
                Body::Literal { text: text.replacen('\\', "", 1).into(), warnings: Vec::new() }
            }
            None => Body::Literal { text: text.into(), warnings: Vec::new() },
        };
        Ok(Self(Arc::new(Compiled { source: text.into(), body })))
    }

    /// The text as it was given.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The text, when it is no expression.
    pub fn literal(&self) -> Option<&str> {
        match &self.0.body {
            Body::Literal { text, .. } => Some(text),
            Body::Expression(_) => None,
        }
    }

    /// What the expression reads.
    pub fn uses(&self) -> Uses {
        match &self.0.body {
            Body::Literal { .. } => Uses::default(),
            Body::Expression(parsed) => parsed.uses,
        }
    }

    /// The variables under `vars` that the expression names, as dotted paths such as
    /// `request.headers.host`; the empty path when all of `vars` is read.
    pub fn vars(&self) -> &[String] {
        match &self.0.body {
            Body::Literal { .. } => &[],
            Body::Expression(parsed) => &parsed.vars,
        }
    }

    /// Whether the expression reads the header of this name (in lower case), by that name or with all others.
    pub fn reads_header(&self, name: &str) -> bool {
        match &self.0.body {
            Body::Literal { .. } => false,
            Body::Expression(parsed) => {
                parsed.uses.all_headers || parsed.header_names.iter().any(|known| known == name)
            }
        }
    }

    /// What is allowed but probably not meant (reference 7.3).
    pub fn warnings(&self) -> &[Warning] {
        match &self.0.body {
            Body::Literal { warnings, .. } => warnings,
            Body::Expression(parsed) => &parsed.warnings,
        }
    }

    /// The value for a request or response; a literal is a String.
    ///
    /// # Errors
    /// Evaluation errors of reference 7.4: wrong types, a Binary as the result.
    pub fn eval<'a>(&'a self, scope: &'a dyn Scope) -> Result<Value<'a>, EvalError> {
        match &self.0.body {
            Body::Literal { text, .. } => Ok(Value::from(&**text)),
            Body::Expression(parsed) => evaluate(&parsed.root, scope),
        }
    }

    /// The value where a string is wanted: booleans and numbers are printed (`true`, `42`); `None`
    /// for null.
    ///
    /// # Errors
    /// As [`Template::eval`]; also for arrays and objects.
    pub fn eval_string<'a>(&'a self, scope: &'a dyn Scope) -> Result<Option<Cow<'a, str>>, EvalError> {
        match self.eval(scope)? {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            value => match value.to_text() {
                Some(text) => Ok(Some(Cow::Owned(text.into_owned()))),
                None => Err(self.unwanted("String", &value)),
            },
        }
    }

    /// The value where text for people is wanted, as in message logging: as
    /// [`Template::eval_string`], and arrays and objects as JSON.
    ///
    /// # Errors
    /// As [`Template::eval`].
    pub fn eval_text<'a>(&'a self, scope: &'a dyn Scope) -> Result<Option<Cow<'a, str>>, EvalError> {
        match self.eval(scope)? {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            value => Ok(Some(Cow::Owned(value.to_string()))),
        }
    }

    /// The value where a condition is wanted: a Boolean, or one of the strings `true` and `false` (reference 7.4), for
    /// a literal is a String; `None` for null.
    ///
    /// # Errors
    /// As [`Template::eval`]; also for anything else.
    pub fn eval_condition(&self, scope: &dyn Scope) -> Result<Option<bool>, EvalError> {
        match self.eval(scope)? {
            Value::Null => Ok(None),
            Value::Boolean(flag) => Ok(Some(flag)),
            Value::String(text) if text.trim() == "true" => Ok(Some(true)),
            Value::String(text) if text.trim() == "false" => Ok(Some(false)),
            value => Err(self.unwanted("Boolean", &value)),
        }
    }

    fn unwanted(&self, wanted: &str, found: &Value<'_>) -> EvalError {
        let offset = match &self.0.body {
            Body::Literal { .. } => 0,
            Body::Expression(parsed) => parsed.root.offset,
        };
        EvalError::new(
            offset,
            format!("a {wanted} is wanted here, the result is of type {}", found.type_name()),
        )
    }
}

fn unclosed(offset: usize) -> Warning {
    Warning::new(
        offset,
        "the text starts with `#[` but does not end with `]`: it is taken as plain text",
        "close the expression with `]` at the very end, or write `\\#[` for the characters",
    )
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.source())
    }
}

/// Equal when their texts are: so unchanged configuration keeps its compiled form.
impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Template {}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.source())
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::compile(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for Template {
    fn schema_name() -> Cow<'static, str> {
        "Expression".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "dataweave-expression" })
    }
}
