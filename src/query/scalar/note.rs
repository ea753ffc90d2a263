//! What a reader of an expression should know, where it is used.

/// A difference from PostgreSQL on purpose, or a thing to know, where it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// CAST of a fraction to a whole number.
    DropsFraction,
    /// A quotient of whole numbers.
    WholeQuotient,
    /// Texts that are ordered.
    OrdersTexts,
}

impl Note {
    /// What it says.
    pub fn text(self) -> &'static str {
        match self {
            Self::DropsFraction => {
                "CAST to a whole number drops the fraction (PostgreSQL rounds): write CAST(round(…) AS …) to round"
            }
            Self::WholeQuotient => {
                "a quotient of whole numbers is whole, as in PostgreSQL: write x / 2.0 to keep the fraction"
            }
            Self::OrdersTexts => "texts are ordered by their bytes (PostgreSQL's collation \"C\")",
        }
    }
}
