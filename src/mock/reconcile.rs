//! Whether what came out is what went in: the producer's ledger against documents and state.
//!
//! Every record of the ledger must be where the ledger expects it, with its ids and amounts: both sides
//! become lists of facts, which must be equal as multisets. What is not, is told with what became of the record
//! instead. Documents of records that the ledger does not know are counted; with `--exact` there may be none.
//! It knows the shipped SQL and the producer, nothing of the engine but its checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use bson::{Bson, Document, doc};
use futures::TryStreamExt;
use serde_json::Value;

use crate::checkpoint::{Checkpoint, Location};
use crate::cli::ReconcileArgs;
use crate::error::{Error, Result};
use crate::mock::ledger::{Entry, Ledger, name};
use crate::mock::plan::{Destination, Topic};
use crate::query::Program;
use crate::query::side::Side;
use crate::settings::mongodb_uri;
use crate::sink::mongodb::{client_of_primary, unreadable};
use crate::state::restore;
use crate::stdout::say;

/// The outputs of the shipped SQL.
pub const OUTPUTS: [&str; 5] =
    ["validated_orders", "rejected_payments", "unpaid_orders", "orphan_payments", "dead_letters"];

/// How many differences are shown.
const SHOWN: usize = 20;

/// What is in an output or in state: a fact, and which records it is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Where, and what it says: to be equal to what the ledger expects.
    pub fact: String,
    /// The records: `orders/0/17`, `order o-1`, `payment p-1`.
    pub about: Vec<String>,
    /// In words: `a dead letter: late`.
    pub what: String,
}

/// What a comparison found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Facts that were expected and found, by where.
    pub agreed: BTreeMap<String, u64>,
    /// Facts that were expected and not found, and what became of the record instead.
    pub missing: Vec<String>,
    /// Facts that were found and not expected.
    pub unexpected: Vec<String>,
    /// Facts about records that are not in the ledger.
    pub others: u64,
}

/// Whether the ledger knows all records that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// It does: nothing else may be there, and what waits at the end of its records waits.
    Exact,
    /// Others may have come before, between and after; they move the watermark too.
    Among,
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
        if self.others > 0 {
            write!(
                f,
                "\n{} documents and waiting rows are of records that the ledger does not know",
                self.others
            )?;
        }
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

/// `reconcile`: exit code 0 if everything is as the ledgers say, 1 if not.
pub async fn reconcile(args: &ReconcileArgs) -> Result<ExitCode> {
    let ledger = Ledger::read_all(&args.ledger)?;
    let mut found = match &args.outputs {
        Some(folder) => documents_of_files(folder)?,
        None => documents_of_mongodb(&mongodb_uri(&args.mongodb)?.0, &args.database).await?,
    };
    found.extend(waiting(&args.checkpoint).await?);
    let scope = if args.exact { Scope::Exact } else { Scope::Among };
    let report = compare(&ledger, found, scope);
    say!("{report}");
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Compares the ledger with the facts found.
pub fn compare(ledger: &Ledger, found: Vec<Found>, scope: Scope) -> Report {
    let mut balance: BTreeMap<&str, i64> = BTreeMap::new();
    let mut became: BTreeMap<&str, &str> = BTreeMap::new();
    for found in &found {
        *balance.entry(&found.fact).or_default() += 1;
        became.extend(found.about.iter().map(|record| (record.as_str(), found.what.as_str())));
    }
    let mut report = Report::default();
    for Expected { alternatives, sent, records } in expected(ledger, scope) {
        let is_there = |fact: &&String| balance.get(fact.as_str()).is_some_and(|&count| count > 0);
        let Some(fact) = alternatives.iter().find(is_there) else {
            let fate = records.iter().find_map(|record| Some((record, became.get(record.as_str())?)));
            let fate = match fate {
                Some((record, what)) => format!("{record} is {what}"),
                None => "nothing is there of it".to_owned(),
            };
            report.missing.push(format!("{} ({sent}): {fate}", alternatives.join(", or ")));
            continue;
        };
        if let Some(count) = balance.get_mut(fact.as_str()) {
            *count -= 1;
        }
        *report.agreed.entry(place_of(fact)).or_default() += 1;
    }
    let known: BTreeSet<String> = ledger.entries.iter().flat_map(records_of).collect();
    for Found { fact, about, .. } in &found {
        let Some(count) = balance.get_mut(fact.as_str()).filter(|count| **count > 0) else { continue };
        *count -= 1;
        match scope == Scope::Exact || about.iter().any(|record| known.contains(record)) {
            true => report.unexpected.push(fact.clone()),
            false => report.others += 1,
        }
    }
    report.unexpected.sort();
    report
}

/// A fact that the ledger expects.
struct Expected {
    /// One of these must be there.
    alternatives: Vec<String>,
    /// What was sent, in words.
    sent: String,
    /// By which names the record can be found elsewhere, the surest first.
    records: Vec<String>,
}

/// The facts that the ledger expects.
fn expected(ledger: &Ledger, scope: Scope) -> Vec<Expected> {
    let orders: BTreeMap<&str, &Entry> = ledger
        .entries
        .iter()
        .filter(|entry| entry.kind == Topic::Orders && entry.output != Destination::DeadLetters)
        .map(|entry| (entry.order_id.as_str(), entry))
        .collect();
    let mut expected = Vec::new();
    for entry in &ledger.entries {
        let payment = entry.payment_id.as_deref().unwrap_or_default();
        let order = orders.get(entry.order_id.as_str());
        let letter = || format!("dead_letters {}", position(&entry.topic, entry.partition, entry.offset));
        let orphan = || alone("orphan_payments", payment, entry.amount_cents);
        let unpaid = || alone("unpaid_orders", &entry.order_id, entry.amount_cents);
        let paid = |place: &str| {
            let order_cents = order.map(|order| order.amount_cents);
            pair(place, &entry.order_id, order_cents, payment, Some(entry.amount_cents))
        };
        let alternatives = match (entry.output, entry.kind) {
            // An order comes out in the document of its payment.
            (Destination::ValidatedOrders | Destination::RejectedPayments, Topic::Orders) => continue,
            (Destination::ValidatedOrders, Topic::Payments) => vec![paid("validated_orders")],
            (Destination::RejectedPayments, Topic::Payments) => vec![paid("rejected_payments")],
            (Destination::UnpaidOrders, _) => vec![unpaid()],
            (Destination::OrphanPayments, _) => vec![orphan()],
            (Destination::DeadLetters, _) => vec![letter()],
            (Destination::DeadLettersOrOrphanPayments, _) => vec![letter(), orphan()],
            (Destination::Waiting, kind) => {
                let waits = format!("waiting {}", position(&entry.topic, entry.partition, entry.offset));
                // Records of others may have moved the watermark past it.
                match (scope, kind) {
                    (Scope::Exact, _) => vec![waits],
                    (Scope::Among, Topic::Orders) => vec![waits, unpaid()],
                    (Scope::Among, Topic::Payments) => vec![waits, orphan()],
                }
            }
        };
        let mut records = records_of(entry);
        if let Some(order) = order.filter(|_| entry.kind == Topic::Payments) {
            records.extend(records_of(order));
        }
        expected.push(Expected { alternatives, sent: format!("sent as {}", name(&entry.class)), records });
    }
    expected
}

/// By which names a record of the ledger is known.
fn records_of(entry: &Entry) -> Vec<String> {
    let id = match &entry.payment_id {
        Some(payment) => format!("payment {payment}"),
        None => format!("order {}", entry.order_id),
    };
    vec![position(&entry.topic, entry.partition, entry.offset), id]
}

fn position(topic: &str, partition: impl std::fmt::Display, offset: impl std::fmt::Display) -> String {
    format!("{topic}/{partition}/{offset}")
}

fn place_of(fact: &str) -> String {
    fact.split(' ').next().unwrap_or_default().to_owned()
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
fn fact(output: &str, document: &Value) -> Found {
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    let cents = |name: &str| document.get(name).and_then(cents_of);
    let (order, payment) = (text("order_id"), text("payment_id"));
    let what = format!("in {output}");
    match output {
        "validated_orders" | "rejected_payments" => Found {
            fact: pair(output, &order, cents("order_amount"), &payment, cents("payment_amount")),
            about: vec![format!("order {order}"), format!("payment {payment}")],
            what,
        },
        "unpaid_orders" => Found {
            fact: format!("{output} {order} of {}", amount(cents("order_amount"))),
            about: vec![format!("order {order}")],
            what,
        },
        "orphan_payments" => Found {
            fact: format!("{output} {payment} of {}", amount(cents("payment_amount"))),
            about: vec![format!("payment {payment}")],
            what,
        },
        _ => {
            let number = |name: &str| document.get(name).and_then(Value::as_i64).unwrap_or(-1);
            let record = position(&text("topic"), number("partition"), number("offset"));
            Found {
                fact: format!("{output} {record}"),
                about: vec![record],
                what: format!("a dead letter: {}", text("reason")),
            }
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
pub fn documents_of_files(folder: &Path) -> Result<Vec<Found>> {
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
pub async fn documents_of_mongodb(uri: &str, database: &str) -> Result<Vec<Found>> {
    let (client, hosts) = client_of_primary(uri).await?;
    let fail = |error: mongodb::error::Error| unreadable(&hosts, &error);
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
pub async fn waiting(checkpoint: &Location) -> Result<Vec<Found>> {
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
        let state = restore::load(&checkpoint, &program, side, commit).await?;
        facts.extend(state.live().map(|reference| state.meta(reference)).filter(|meta| !meta.matched).map(
            |meta| {
                let record = position(topic, meta.partition, meta.offset);
                Found {
                    fact: format!("waiting {record}"),
                    about: vec![record],
                    what: "waiting for a partner".to_owned(),
                }
            },
        ));
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::plan::Class;

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

    fn facts(documents: &[(&str, Value)]) -> Vec<Found> {
        let mut facts: Vec<Found> =
            documents.iter().map(|(output, document)| fact(output, document)).collect();
        facts.push(waits("orders/0/2"));
        facts
    }

    fn waits(record: &str) -> Found {
        Found {
            fact: format!("waiting {record}"),
            about: vec![record.to_owned()],
            what: "waiting".to_owned(),
        }
    }

    #[test]
    fn what_is_as_expected_agrees() {
        for scope in [Scope::Exact, Scope::Among] {
            let report = compare(&ledger(), facts(&documents()), scope);
            assert!(report.is_clean(), "{report}");
            assert_eq!(report.agreed.values().sum::<u64>(), 7);
        }
    }

    #[test]
    fn every_missing_doubled_or_changed_document_is_found() {
        for scope in [Scope::Exact, Scope::Among] {
            for index in 0..documents().len() {
                let mut missing = documents();
                missing.remove(index);
                let report = compare(&ledger(), facts(&missing), scope);
                assert_eq!((report.missing.len(), report.unexpected.len()), (1, 0), "{report}");

                let mut doubled = documents();
                doubled.push(doubled[index].clone());
                let report = compare(&ledger(), facts(&doubled), scope);
                assert_eq!((report.missing.len(), report.unexpected.len()), (0, 1), "{report}");
            }
            let changes = [
                (0, "order_amount", Value::from("12.51")),
                (0, "payment_amount", Value::from("12.5001")),
                (0, "payment_id", Value::from("p-b")),
                (2, "payment_amount", Value::from(-7)),
                (5, "order_amount", Value::from(1.01)),
            ];
            for (index, name, value) in changes {
                let mut changed = documents();
                changed[index].1[name] = value;
                let report = compare(&ledger(), facts(&changed), scope);
                assert_eq!((report.missing.len(), report.unexpected.len()), (1, 1), "{name}: {report}");
            }
            // Who it is about can't be told any more: nothing that the ledger knows, or too much.
            for (index, name, value) in [(1, "order_id", Value::Null), (3, "offset", Value::from(55))] {
                let mut changed = documents();
                changed[index].1[name] = value;
                let report = compare(&ledger(), facts(&changed), scope);
                let strange = if scope == Scope::Exact { (1, 0) } else { (0, 1) };
                assert_eq!(report.missing.len(), 1, "{name}: {report}");
                assert_eq!((report.unexpected.len() as u64, report.others), strange, "{name}: {report}");
            }
        }
    }

    #[test]
    fn a_late_record_in_both_places_is_unexpected() {
        let mut both = documents();
        both.push(("dead_letters", serde_json::json!({"topic": "payments", "partition": 0, "offset": 3})));
        for scope in [Scope::Exact, Scope::Among] {
            assert_eq!(compare(&ledger(), facts(&both), scope).unexpected.len(), 1);
        }
    }

    #[test]
    fn rows_that_do_not_wait_are_missed() {
        let mut found: Vec<Found> =
            documents().iter().map(|(output, document)| fact(output, document)).collect();
        let report = compare(&ledger(), found.clone(), Scope::Exact);
        assert_eq!(report.missing, ["waiting orders/0/2 (sent as matched): nothing is there of it"]);
        // Among others it may have come out since.
        found.push(fact("unpaid_orders", &serde_json::json!({"order_id": "f", "order_amount": "0.01"})));
        assert!(compare(&ledger(), found.clone(), Scope::Among).is_clean());
        assert!(!compare(&ledger(), found, Scope::Exact).is_clean());
    }

    #[test]
    fn what_became_of_a_record_is_told() {
        let mut late = documents();
        late.remove(0);
        late.push((
            "dead_letters",
            serde_json::json!({"topic": "payments", "partition": 0, "offset": 0, "reason": "late"}),
        ));
        let report = compare(&ledger(), facts(&late), Scope::Among);
        assert_eq!(
            report.missing,
            [
                "validated_orders order a of 12.50 paid by p-a with 12.50 (sent as matched): payments/0/0 is a dead letter: late"
            ]
        );
        let strange = ("unpaid_orders", serde_json::json!({"order_id": "zz", "order_amount": "1.00"}));
        let report = compare(&ledger(), facts(&[documents(), vec![strange]].concat()), Scope::Among);
        assert!(report.is_clean() && report.others == 1, "{report}");
    }
}
