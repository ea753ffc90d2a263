//! What DataFusion's planner says, in the words of this program: without its types, its plans, its debug output.

/// A complaint about SQL.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// One line.
    pub(crate) message: String,
    /// Line and column, where the message itself told them.
    pub(crate) place: Option<(u64, u64)>,
    /// What there is to choose from.
    pub(crate) note: Option<String>,
    /// What to do; `None`: what the planner advises.
    pub(crate) help: Option<String>,
}

/// Before messages, one after the other.
const PREFIXES: [&str; 6] = [
    "Error during planning: ",
    "SQL error: ",
    "Schema error: ",
    "This feature is not implemented: ",
    "Arrow error: ",
    "Parser error: ",
];

/// Arrow's names of types, and what people write.
const TYPES: [(&str, &str); 7] = [
    ("Utf8View", "VARCHAR"),
    ("Utf8", "VARCHAR"),
    ("Int64", "BIGINT"),
    ("Int32", "INT"),
    ("Float64", "DOUBLE"),
    ("Boolean", "BOOLEAN"),
    ("Date32", "DATE"),
];

/// Reads what the planner said.
pub(crate) fn in_our_words(text: &str) -> Complaint {
    let mut message = text;
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| message.strip_prefix(prefix)) {
        message = rest;
    }
    let message = message.replace("datafusion.public.", "");
    let message = message.replace("ParserError(\"", "").replace("TokenizerError(\"", "");
    let message = message.trim_end_matches("\")").to_owned();
    let (headline, rest) = message.split_once('\n').unwrap_or((&message, ""));
    if let Some(unknown) = headline.strip_prefix("No field named ") {
        return no_column(unknown, rest);
    }
    if let Some(name) = headline.strip_prefix("table '").and_then(|rest| rest.strip_suffix("' not found")) {
        return Complaint {
            message: format!("there is no table or view '{name}'"),
            help: Some(
                "views read sources; rules and outputs read the join view (or the only source), and reference tables in subqueries"
                    .to_owned(),
            ),
            ..Complaint::default()
        };
    }
    if let Some(name) = headline.strip_prefix("Invalid function '").and_then(|rest| rest.split('\'').next()) {
        return Complaint { message: format!("there is no function '{name}'"), ..Complaint::default() };
    }
    if let Some(found) = headline.strip_prefix("Unary operator 'NOT' requires a boolean expression, got ") {
        return Complaint {
            message: format!("NOT takes a boolean, not {}", type_name(found)),
            help: Some("compare it with something".to_owned()),
            ..Complaint::default()
        };
    }
    if headline.starts_with("Too many columns! The subquery should only return one column") {
        return Complaint { message: "a scalar subquery has one column".to_owned(), ..Complaint::default() };
    }
    if headline.starts_with("Dot access not supported") {
        return Complaint {
            message: "a field of a struct is not taken by a dot here".to_owned(),
            place: place_in_dump(headline),
            help: Some("write value['field']".to_owned()),
            ..Complaint::default()
        };
    }
    Complaint {
        place: place_in_text(&message).or_else(|| place_in_dump(&message)),
        message: without_dump(&message),
        ..Complaint::default()
    }
}

/// `order_amout. Did you mean 'order_payments.order_amount'?`, and below it the valid fields.
fn no_column(unknown: &str, rest: &str) -> Complaint {
    let (name, guess) = unknown.split_once(". Did you mean '").unwrap_or((unknown.trim_end_matches('.'), ""));
    let guess = guess.trim_end_matches("'?");
    let guess = if name.contains('.') { guess } else { guess.rsplit('.').next().unwrap_or_default() };
    let message = match guess.is_empty() {
        true => format!("there is no column '{name}'"),
        false => format!("there is no column '{name}'; did you mean '{guess}'?"),
    };
    let fields = rest.strip_prefix("Valid fields are ").map(|fields| fields.trim_end_matches('.'));
    let note = fields.map(|fields| {
        let fields: Vec<&str> = fields.split(", ").collect();
        let table = |field: &str| field.rsplit_once('.').map(|(table, _)| table.to_owned());
        let is_one_table = fields.iter().all(|field| table(field) == table(fields[0]));
        let bare = |field: &&str| match is_one_table {
            true => field.rsplit('.').next().unwrap_or(field).to_owned(),
            false => (*field).to_owned(),
        };
        format!("there are {}", fields.iter().map(bare).collect::<Vec<_>>().join(", "))
    });
    Complaint { message, place: None, note, help: Some(String::new()) }
}

fn type_name(arrow: &str) -> String {
    match TYPES.iter().find(|(name, _)| *name == arrow) {
        Some((_, sql)) => (*sql).to_owned(),
        None => arrow.replace("Decimal128(", "DECIMAL("),
    }
}

/// The parser writes the place into its text: `… at Line: 3, Column: 9`.
fn place_in_text(message: &str) -> Option<(u64, u64)> {
    let (_, rest) = message.rsplit_once("Line: ")?;
    let (line, rest) = rest.split_once(", Column: ")?;
    let column: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((line.parse().ok()?, column.parse().ok()?))
}

/// The planner writes syntax trees into its text: `… span: Span(Location(1,23)..Location(1,27)) …`.
fn place_in_dump(message: &str) -> Option<(u64, u64)> {
    let (_, rest) = message.split_once("Span(Location(")?;
    let (line, rest) = rest.split_once(',')?;
    Some((line.parse().ok()?, rest.split(')').next()?.parse().ok()?))
}

/// Without the place, which is shown, and without a syntax tree.
fn without_dump(message: &str) -> String {
    let message = message.split(" at Line: ").next().unwrap_or(message);
    match message.find("Span(Location(").and_then(|at| message[..at].find(" {")) {
        // The name of the node stands before the brace.
        Some(brace) => {
            message[..message[..brace].rfind(' ').unwrap_or(brace)].trim_end_matches([':', ' ']).to_owned()
        }
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_no_types_plans_or_debug_output() {
        for (text, message, place) in [
            (
                "SQL error: ParserError(\"Expected: an SQL statement, found: SELEC at Line: 1, Column: 1\")",
                "Expected: an SQL statement, found: SELEC",
                Some((1, 1)),
            ),
            (
                "Error during planning: table 'datafusion.public.order_payment' not found",
                "there is no table or view 'order_payment'",
                None,
            ),
            (
                "Error during planning: Invalid function 'foo'.\nDid you mean 'floor'?",
                "there is no function 'foo'",
                None,
            ),
            (
                "Error during planning: Unary operator 'NOT' requires a boolean expression, got Utf8",
                "NOT takes a boolean, not VARCHAR",
                None,
            ),
            (
                "Arrow error: Parser error: Invalid input syntax for type interval: \"abc\"",
                "Invalid input syntax for type interval: \"abc\"",
                None,
            ),
            (
                "Error during planning: Substring without for/from is not valid Substring { expr: Identifier(Ident { value: \"a\", span: Span(Location(1,15)..Location(1,23)) }) }",
                "Substring without for/from is not valid",
                Some((1, 15)),
            ),
            (
                "This feature is not implemented: Dot access not supported for non-string expr: Identifier(Ident { value: \"rule\", span: Span(Location(1,23)..Location(1,27)) })",
                "a field of a struct is not taken by a dot here",
                Some((1, 23)),
            ),
        ] {
            let complaint = in_our_words(text);
            assert_eq!((complaint.message.as_str(), complaint.place), (message, place), "{text}");
        }
    }

    #[test]
    fn a_column_that_is_not_there_is_told_with_those_that_are() {
        let one = in_our_words(
            "Schema error: No field named amout. Did you mean 'v.amount'?\nValid fields are v.id, v.amount.",
        );
        assert_eq!(one.message, "there is no column 'amout'; did you mean 'amount'?");
        assert_eq!(one.note.as_deref(), Some("there are id, amount"));
        let two = in_our_words("Schema error: No field named x.\nValid fields are o.id, p.id.");
        assert_eq!(two.message, "there is no column 'x'");
        assert_eq!(two.note.as_deref(), Some("there are o.id, p.id"));
    }
}
