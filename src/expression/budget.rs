//! How much one evaluation may produce, and the failure of a single operation.

use std::{borrow::Cow, cell::Cell};

use super::value::Value;

/// Bytes that one evaluation may produce in new strings and lists. Above what a policy can use (a
/// buffered body is 1 MiB by default), below what would hurt a worker.
pub const PRODUCED_BYTES_MAX: usize = 16 << 20;

/// What is left of [`PRODUCED_BYTES_MAX`] in one evaluation.
pub struct Budget(Cell<usize>);

impl Budget {
    pub fn new() -> Self {
        Self(Cell::new(PRODUCED_BYTES_MAX))
    }

    /// Takes `bytes` off.
    ///
    /// # Errors
    /// When the budget does not cover it.
    pub fn spend(&self, bytes: usize) -> Result<(), Failure> {
        match self.0.get().checked_sub(bytes) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(Failure::new(format!(
                "the expression produces more than {} MiB of intermediate values",
                PRODUCED_BYTES_MAX >> 20
            ))),
        }
    }

    /// As [`Budget::spend`], for a list of new values.
    ///
    /// # Errors
    /// When the budget does not cover it.
    pub fn spend_items(&self, items: usize) -> Result<(), Failure> {
        self.spend(items.saturating_mul(size_of::<Value<'_>>()))
    }
}

/// Why a value could not be computed. Names types only, never values: they may be secrets.
#[derive(Debug)]
pub struct Failure(pub Cow<'static, str>);

impl Failure {
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self(message.into())
    }
}
