//! Why an expression is not compiled.

/// Why an expression is refused when it is planned.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    /// The word of the SQL that it is about.
    pub(crate) word: Option<String>,
    pub(crate) advice: Option<String>,
}

pub(crate) fn refuse(message: impl Into<String>) -> Refusal {
    Refusal { message: message.into(), word: None, advice: None }
}

impl Refusal {
    pub(crate) fn at(mut self, word: &str) -> Self {
        self.word.get_or_insert_with(|| word.to_owned());
        self
    }

    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}
