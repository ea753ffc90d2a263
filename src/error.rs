//! What can stop a batch or the process, named by the reaction it asks for.
//!
//! A bad record is never an [`Error`]: it is data, a dead letter. An error is for a batch or a
//! process that can't go on, and its [`ErrorKind`] tells a person (and the exit code) what to do.

use std::fmt;

/// The result of everything that can stop a batch.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reaction that an [`Error`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A flag, a file of settings or the SQL is wrong: mend it and start again.
    Config,
    /// A service can't be reached: the engine waits and tries the same batch again.
    Unavailable,
    /// The checkpoint contradicts itself or does not fit the program: a person decides.
    Checkpoint,
    /// Records that the engine was to read are gone from the broker.
    DataLoss,
    /// Another engine holds the checkpoint or has taken over the collections.
    Fenced,
    /// The sink refuses for good: rights, credentials, ownership.
    Sink,
    /// Anything else, a bug or a broken disk.
    Internal,
}

impl ErrorKind {
    /// The exit code of a process that stops with this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Config => 2,
            Self::Checkpoint => 3,
            Self::DataLoss => 4,
            Self::Fenced => 5,
            Self::Sink => 6,
            Self::Unavailable | Self::Internal => 1,
        }
    }
}

/// Why a batch or the process can't go on: what was tried, on which thing, the cause, and advice.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    context: Vec<(&'static str, String)>,
    /// Each on a line of its own.
    advice: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` is lower-case, without a final period, names in double quotes.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), context: Vec::new(), advice: Vec::new(), source: None }
    }

    /// A flag or a piece of SQL that the user has to mend.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// A service that can't be reached at the moment.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// A checkpoint that can't be trusted or does not fit.
    pub fn checkpoint(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Checkpoint, message)
    }

    /// Something that should not happen.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Adds a name and a value that locate the error: `topic`, `path`, `batch_id`.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.context.push((key, value.to_string()));
        self
    }

    /// Says what to do about it, on a line of its own; below what was said before.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice.push(advice.into());
        self
    }

    /// Keeps the cause, which is printed after the message.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Message and cause on one line, without advice: for an error that this one is the cause of.
    pub(crate) fn headline(&self) -> String {
        match &self.source {
            Some(source) => format!("{}: {source}", self.message),
            None => self.message.clone(),
        }
    }

    /// The reaction that it asks for.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    /// The message, its context, the cause, and below them the advice.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Below the first line of a message stands the SQL that it points at.
        let (headline, below) = match self.message.split_once('\n') {
            Some((headline, below)) => (headline, Some(below)),
            None => (self.message.as_str(), None),
        };
        f.write_str(headline)?;
        if !self.context.is_empty() {
            let pairs: Vec<String> =
                self.context.iter().map(|(key, value)| format!("{key}={value}")).collect();
            write!(f, " ({})", pairs.join(", "))?;
        }
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        if let Some(below) = below {
            write!(f, "\n{below}")?;
        }
        self.advice.iter().try_for_each(|advice| write!(f, "\n  help: {advice}"))
    }
}

impl std::error::Error for Error {}

/// DataFusion and Arrow fail at run time only by a bug or for lack of memory; what a person can
/// mend is found while planning, where `query` makes a [`ErrorKind::Config`] of it.
impl From<datafusion::error::DataFusionError> for Error {
    fn from(source: datafusion::error::DataFusionError) -> Self {
        Self::internal("a query failed").because(source.strip_backtrace())
    }
}

impl From<datafusion::arrow::error::ArrowError> for Error {
    fn from(source: datafusion::arrow::error::ArrowError) -> Self {
        Self::internal("an Arrow operation failed").because(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_the_thing_the_cause_and_the_advice() {
        let error = Error::checkpoint("could not read \"offsets/41\"")
            .with("path", "checkpoints/a")
            .because(std::io::Error::other("disk on fire"))
            .advise("restore it");
        assert_eq!(
            error.to_string(),
            "could not read \"offsets/41\" (path=checkpoints/a): disk on fire\n  help: restore it"
        );
        assert_eq!(error.kind().exit_code(), 3);
    }
}
