//! Floor 2: the DataWeave subset of `#[ … ]` in policy parameters (reference section 7).
//!
//! * [`Template`]: the text of a parameter, compiled when the configuration is loaded.
//! * [`Scope`]: where the variables come from; implemented by whoever holds a request.
//! * [`Value`]: what an evaluation gives; borrows from the template and the scope.
//!
//! `lexer` → `parser`, `operands` (with `functions`, `variables`, `refusals`) → `ast` → `eval` (with `calls`
//! and `removal`, within a `budget`). `payload` and `xml` read bodies.

mod ast;
mod budget;
mod calls;
mod charset;
mod convert;
mod errors;
mod eval;
mod functions;
mod lexer;
mod operands;
mod parser;
mod payload;
mod refusals;
mod removal;
mod scope;
mod template;
mod value;
mod variables;
mod xml;

#[cfg(test)]
mod tests;

pub use budget::PRODUCED_BYTES_MAX;
pub use errors::{EvalError, ExpressionError, Warning};
pub use parser::DEPTH_MAX;
pub use payload::{PAYLOAD_DEPTH_MAX, PAYLOAD_VALUES_MAX, payload_value};
pub use scope::{Attribute, Scope, Uses};
pub use template::{EXPRESSION_BYTES_MAX, Template};
pub use value::{Items, Member, Object, Value};
