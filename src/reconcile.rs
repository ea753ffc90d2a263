//! Whether what came out is what went in: the producer's ledger against documents and state.
//!
//! Every record of the ledger must be where the ledger expects it, with its ids and amounts, and
//! nothing else may be there: both sides become lists of facts, which must be equal as multisets.
//! It knows the shipped SQL and the producer, nothing of the engine but its checkpoint.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use bson::{Bson, Document, doc};
use futures::TryStreamExt;
use serde_json::Value;

use crate::checkpoint::{Checkpoint, Location};
use crate::cli::ReconcileArgs;
use crate::error::{Error, ErrorKind, Result};
use crate::producer::ledger::{Entry, Ledger};
use crate::producer::plan::{Destination, Topic};
use crate::query::Program;
use crate::query::side::Side;
use crate::settings::mongodb_uri;
use crate::sink::mongodb::client_of_primary;
use crate::stdout::say;

/// The outputs of the shipped SQL.
pub const OUTPUTS: [&str; 5] =
    ["validated_orders", "rejected_payments", "unpaid_orders", "orphan_payments", "dead_letters"];

/// How many differences are shown.
const SHOWN: usize = 20;

/// What a comparison found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Facts that were expected and found, by where.
    pub agreed: BTreeMap<String, u64>,
    /// Facts that were expected and not found.
    pub missing: Vec<String>,
    /// Facts that were found and not expected.
    pub unexpected: Vec<String>,
}

impl Report {
    /// Whether both sides say the same.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY).set_header([
            "where",
            "as expected",
            "missing",
            "unexpected",
        ]);
        let at = |place: &str, facts: &[String]| {
            facts.iter().filter(|fact| fact.starts_with(&format!("{place} "))).count()
        };
        for place in OUTPUTS.into_iter().chain(["waiting"]) {
            let agreed = self.agreed.get(place).copied().unwrap_or(0);
            table.add_row([
                place.to_owned(),
                agreed.to_string(),
                at(place, &self.missing).to_string(),
                at(place, &self.unexpected).to_string(),
            ]);
        }
        write!(f, "{table}")?;
        for (what, facts) in [("missing", &self.missing), ("unexpected", &self.unexpected)] {
            for fact in facts.iter().take(SHOWN) {
                write!(f, "\n{what}: {fact}")?;
            }
            if facts.len() > SHOWN {
                write!(f, "\n{what}: … and {} more", facts.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}

/// `reconcile`: exit code 0 if everything is as the ledger says, 1 if not.
pub async fn reconcile(args: &ReconcileArgs) -> Result<ExitCode> {
    let ledger = Ledger::read(&args.ledger)?;
    let mut found = match &args.outputs {
        Some(folder) => documents_of_files(folder)?,
        None => documents_of_mongodb(&mongodb_uri(&args.mongodb)?.0, &args.database).await?,
    };
    found.extend(waiting(&args.checkpoint).await?);
    let report = compare(&ledger, found);
    say!("{report}");
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Compares the ledger with the facts found.
pub fn compare(ledger: &Ledger, found: Vec<String>) -> Report {
    let mut balance: BTreeMap<String, i64> = BTreeMap::new();
    for fact in found {
        *balance.entry(fact).or_default() += 1;
    }
    let mut report = Report::default();
    let mut take = |balance: &mut BTreeMap<String, i64>, fact: &str| {
        let is_there = balance.get(fact).is_some_and(|&count| count > 0);
        if is_there {
            *balance.entry(fact.to_owned()).or_default() -= 1;
            let place = fact.split(' ').next().unwrap_or_default().to_owned();
            *report.agreed.entry(place).or_default() += 1;
        }
        is_there
    };
    let mut missing = Vec::new();
    let (facts, alternatives) = expected(ledger);
    for fact in facts {
        if !take(&mut balance, &fact) {
            missing.push(fact);
        }
    }
    for [first, second] in alternatives {
        if !take(&mut balance, &first) && !take(&mut balance, &second) {
            missing.push(format!("{first} (or {second})"));
        }
    }
    report.missing = missing;
    for (fact, count) in balance {
        report.unexpected.extend((0..count).map(|_| fact.clone()));
    }
    report
}

/// The facts that the ledger expects, and those of which one must be there.
fn expected(ledger: &Ledger) -> (Vec<String>, Vec<[String; 2]>) {
    let orders: BTreeMap<&str, &Entry> = ledger
        .entries
        .iter()
        .filter(|entry| entry.kind == Topic::Orders && entry.output != Destination::DeadLetters)
        .map(|entry| (entry.order_id.as_str(), entry))
        .collect();
    let mut facts = Vec::new();
    let mut alternatives = Vec::new();
    for entry in &ledger.entries {
        let payment = entry.payment_id.as_deref().unwrap_or_default();
        let order_cents = orders.get(entry.order_id.as_str()).map(|order| order.amount_cents);
        let letter = format!("dead_letters {}/{}/{}", entry.topic, entry.partition, entry.offset);
        let orphan = || alone("orphan_payments", payment, entry.amount_cents);
        match (entry.output, entry.kind) {
            (Destination::ValidatedOrders | Destination::RejectedPayments, Topic::Payments) => {
                let place = if entry.output == Destination::ValidatedOrders {
                    "validated_orders"
                } else {
                    "rejected_payments"
                };
                facts.push(pair(place, &entry.order_id, order_cents, payment, Some(entry.amount_cents)));
            }
            // An order comes out in the document of its payment.
            (Destination::ValidatedOrders | Destination::RejectedPayments, Topic::Orders) => {}
            (Destination::UnpaidOrders, _) => {
                facts.push(alone("unpaid_orders", &entry.order_id, entry.amount_cents))
            }
            (Destination::OrphanPayments, _) => facts.push(orphan()),
            (Destination::DeadLetters, _) => facts.push(letter),
            (Destination::DeadLettersOrOrphanPayments, _) => alternatives.push([letter, orphan()]),
            (Destination::Waiting, _) => {
                facts.push(format!("waiting {}/{}/{}", entry.topic, entry.partition, entry.offset));
            }
        }
    }
    (facts, alternatives)
}

fn pair(
    place: &str,
    order: &str,
    order_cents: Option<i64>,
    payment: &str,
    payment_cents: Option<i64>,
) -> String {
    format!(
        "{place} order {order} of {} paid by {payment} with {}",
        amount(order_cents),
        amount(payment_cents)
    )
}

fn alone(place: &str, id: &str, cents: i64) -> String {
    format!("{place} {id} of {}", amount(Some(cents)))
}

fn amount(cents: Option<i64>) -> String {
    cents.map_or_else(|| "?".to_owned(), |cents| format!("{}.{:02}", cents / 100, cents % 100))
}

/// The fact that a document states.
fn fact(output: &str, document: &Value) -> String {
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    let cents = |name: &str| document.get(name).and_then(cents_of);
    match output {
        "validated_orders" | "rejected_payments" => pair(
            output,
            &text("order_id"),
            cents("order_amount"),
            &text("payment_id"),
            cents("payment_amount"),
        ),
        "unpaid_orders" => format!("{output} {} of {}", text("order_id"), amount(cents("order_amount"))),
        "orphan_payments" => {
            format!("{output} {} of {}", text("payment_id"), amount(cents("payment_amount")))
        }
        _ => {
            let number = |name: &str| document.get(name).and_then(Value::as_i64).unwrap_or(-1);
            format!("{output} {}/{}/{}", text("topic"), number("partition"), number("offset"))
        }
    }
}

/// An amount with exactly two decimals, as the outputs have it.
fn cents_of(value: &Value) -> Option<i64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    if fraction.len() > 2 {
        return None;
    }
    format!("{whole}{fraction:0<2}").parse().ok()
}

/// The facts of `run --outputs`.
pub fn documents_of_files(folder: &Path) -> Result<Vec<String>> {
    let mut facts = Vec::new();
    for output in OUTPUTS {
        let path = folder.join(output);
        let cannot_read = |source: std::io::Error| {
            Error::config(format!("could not read \"{}\"", path.display())).because(source)
        };
        for entry in std::fs::read_dir(&path).map_err(cannot_read)? {
            let text = std::fs::read_to_string(entry.map_err(cannot_read)?.path()).map_err(cannot_read)?;
            for line in text.lines() {
                let document = serde_json::from_str(line).map_err(|source| {
                    Error::config(format!("\"{}\" holds a line that is no JSON", path.display()))
                        .because(source)
                })?;
                facts.push(fact(output, &document));
            }
        }
    }
    Ok(facts)
}

/// The facts of the collections.
pub async fn documents_of_mongodb(uri: &str, database: &str) -> Result<Vec<String>> {
    let fail = |error: mongodb::error::Error| {
        Error::new(ErrorKind::Sink, "could not read MongoDB").because(error.to_string())
    };
    let (client, _) = client_of_primary(uri).await?;
    let mut facts = Vec::new();
    for output in OUTPUTS {
        let mut documents =
            client.database(database).collection::<Document>(output).find(doc! {}).await.map_err(fail)?;
        while let Some(document) = documents.try_next().await.map_err(fail)? {
            let fields = document.into_iter().map(|(name, value)| (name, plain(value))).collect();
            facts.push(fact(output, &Value::Object(fields)));
        }
    }
    Ok(facts)
}

fn plain(value: Bson) -> Value {
    match value {
        Bson::String(text) => text.into(),
        Bson::Int32(number) => number.into(),
        Bson::Int64(number) => number.into(),
        Bson::Decimal128(number) => number.to_string().into(),
        _ => Value::Null,
    }
}

/// The facts of the state: rows that wait for a first partner.
pub async fn waiting(checkpoint: &Location) -> Result<Vec<String>> {
    let checkpoint = Checkpoint::read_only(checkpoint)?;
    let recovered = checkpoint.recover().await?;
    let Some(plan) = recovered.as_ref().and_then(|recovered| recovered.last_plan.as_ref()) else {
        return Err(Error::checkpoint(format!("\"{}\" is no checkpoint", checkpoint.location())));
    };
    let program = Program::plan(checkpoint.program(&plan.program).await?)?;
    let Some(join) = &program.join else { return Ok(Vec::new()) };
    let mut facts = Vec::new();
    for side in Side::BOTH {
        let topic = &program.sources[join.side(side).input.source].topic;
        let commit = recovered.as_ref().and_then(|recovered| recovered.commit.as_ref());
        let state = checkpoint.load_state(&program, side, commit).await?;
        facts.extend(
            state
                .live()
                .map(|reference| state.meta(reference))
                .filter(|meta| !meta.matched)
                .map(|meta| format!("waiting {topic}/{}/{}", meta.partition, meta.offset)),
        );
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::plan::Class;

    fn entry(kind: Topic, offset: i64, output: Destination, id: &str, cents: i64) -> Entry {
        Entry {
            topic: if kind == Topic::Orders { "orders" } else { "payments" }.to_owned(),
            partition: 0,
            offset,
            kind,
            class: Class::Matched,
            output,
            order_id: id.to_owned(),
            payment_id: (kind == Topic::Payments).then(|| format!("p-{id}")),
            amount_cents: cents,
            event_time: Some(0),
        }
    }

    fn ledger() -> Ledger {
        use Destination as D;
        let entries = vec![
            entry(Topic::Orders, 0, D::ValidatedOrders, "a", 1250),
            entry(Topic::Payments, 0, D::ValidatedOrders, "a", 1250),
            entry(Topic::Orders, 1, D::UnpaidOrders, "b", 5),
            entry(Topic::Payments, 1, D::OrphanPayments, "c", 700),
            entry(Topic::Payments, 2, D::DeadLetters, "d", 1),
            entry(Topic::Payments, 3, D::DeadLettersOrOrphanPayments, "e", 800),
            entry(Topic::Orders, 2, D::Waiting, "f", 1),
            entry(Topic::Orders, 3, D::RejectedPayments, "g", 100),
            entry(Topic::Payments, 4, D::RejectedPayments, "g", 99),
        ];
        Ledger { entries }
    }

    fn documents() -> Vec<(&'static str, Value)> {
        let json = |text: &str| serde_json::from_str(text).expect("JSON");
        vec![
            (
                "validated_orders",
                json(r#"{"order_id":"a","order_amount":12.50,"payment_id":"p-a","payment_amount":12.50}"#),
            ),
            ("unpaid_orders", json(r#"{"order_id":"b","order_amount":"0.05"}"#)),
            ("orphan_payments", json(r#"{"payment_id":"p-c","payment_amount":7.00}"#)),
            ("dead_letters", json(r#"{"topic":"payments","partition":0,"offset":2}"#)),
            ("orphan_payments", json(r#"{"payment_id":"p-e","payment_amount":8.00}"#)),
            (
                "rejected_payments",
                json(r#"{"order_id":"g","order_amount":1.00,"payment_id":"p-g","payment_amount":0.99}"#),
            ),
        ]
    }

    fn facts(documents: &[(&str, Value)]) -> Vec<String> {
        let mut facts: Vec<String> =
            documents.iter().map(|(output, document)| fact(output, document)).collect();
        facts.push("waiting orders/0/2".to_owned());
        facts
    }

    #[test]
    fn what_is_as_expected_agrees() {
        let report = compare(&ledger(), facts(&documents()));
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.agreed.values().sum::<u64>(), 7);
    }

    #[test]
    fn every_missing_doubled_or_changed_document_is_found() {
        for index in 0..documents().len() {
            let mut missing = documents();
            missing.remove(index);
            let report = compare(&ledger(), facts(&missing));
            assert_eq!((report.missing.len(), report.unexpected.len()), (1, 0), "{report}");

            let mut doubled = documents();
            doubled.push(doubled[index].clone());
            let report = compare(&ledger(), facts(&doubled));
            assert_eq!((report.missing.len(), report.unexpected.len()), (0, 1), "{report}");
        }
        let changes = [
            (0, "order_amount", Value::from("12.51")),
            (0, "payment_amount", Value::from("12.5001")),
            (0, "payment_id", Value::from("p-b")),
            (1, "order_id", Value::Null),
            (2, "payment_amount", Value::from(-7)),
            (3, "offset", Value::from(5)),
            (5, "order_amount", Value::from(1.01)),
        ];
        for (index, name, value) in changes {
            let mut changed = documents();
            changed[index].1[name] = value;
            let report = compare(&ledger(), facts(&changed));
            assert_eq!((report.missing.len(), report.unexpected.len()), (1, 1), "{name}: {report}");
        }
    }

    #[test]
    fn a_late_record_in_both_places_is_unexpected() {
        let mut both = documents();
        both.push(("dead_letters", serde_json::json!({"topic": "payments", "partition": 0, "offset": 3})));
        assert_eq!(compare(&ledger(), facts(&both)).unexpected.len(), 1);
    }

    #[test]
    fn rows_that_do_not_wait_are_missed() {
        let found: Vec<String> =
            documents().iter().map(|(output, document)| fact(output, document)).collect();
        assert_eq!(compare(&ledger(), found).missing, ["waiting orders/0/2"]);
    }
}
