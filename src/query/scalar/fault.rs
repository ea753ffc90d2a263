//! What can go wrong at a row.

/// Why an expression has no value for a row; in PostgreSQL's words where it has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault(String);

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    pub(crate) fn division_by_zero() -> Self {
        Self::new("division by zero")
    }

    pub(crate) fn message(&self) -> &str {
        &self.0
    }
}
