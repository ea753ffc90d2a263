//! What must stay as it is while a checkpoint is in use.
//!
//! Rules, outputs, what a source's OPTIONS say and the view's select list may change between runs; what
//! decides which rows are in state, and what they look like, may not. A column that state does not keep
//! is only decoded, and may change like a rule.

use std::collections::BTreeMap;

use arrow::datatypes::{Field, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::query::Program;
use crate::query::change::{Change, Effect};
use crate::query::explain::range_in_words;
use crate::query::scalar::SqlType;
use crate::query::side::Side;

/// The parts of a program that state and offsets depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    sources: Vec<SourceFingerprint>,
    join_type: Option<String>,
    keys: Vec<String>,
    time_range: Option<(Nanos, Nanos)>,
    /// The other predicates of ON: which rows can match is part of which rows were kept.
    predicates: Vec<String>,
    /// What stands between each source and the join; `None` for a table as it is.
    source_views: Vec<Option<String>>,
    /// The columns that state keeps of each side.
    state: Vec<BTreeMap<String, Column>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SourceFingerprint {
    table: String,
    topic: String,
    columns: BTreeMap<String, Column>,
    primary_key: Vec<String>,
    event_time: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Column {
    /// As Arrow names it, which tells all types apart.
    arrow: String,
    /// As people write it.
    sql: String,
    nullable: bool,
}

impl Fingerprint {
    /// The fingerprint of a program.
    pub fn of(program: &Program) -> Self {
        let sources = program
            .sources
            .iter()
            .map(|source| SourceFingerprint {
                table: source.name.clone(),
                topic: source.topic.to_string(),
                columns: columns(&source.columns),
                primary_key: source.primary_key_names().map(str::to_owned).collect(),
                event_time: source.event_time_name().to_owned(),
            })
            .collect();
        let join = program.join.as_ref();
        Self {
            sources,
            join_type: join.map(|join| join.join_type.to_string()),
            keys: join.map(|join| join.keys.clone()).unwrap_or_default(),
            time_range: join.map(|join| join.time_range),
            predicates: join.map(|join| join.predicates.clone()).unwrap_or_default(),
            source_views: program.inputs().map(|input| input.description.clone()).collect(),
            state: join
                .map(|join| Side::BOTH.map(|side| columns(&join.side(side).input.columns)).to_vec())
                .unwrap_or_default(),
        }
    }

    /// What differs, as far as state and offsets depend on it.
    pub(crate) fn changes(&self, next: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut new_checkpoint = |what: String| changes.push(Change { what, effect: Effect::NewCheckpoint });
        if self.join_type != next.join_type {
            let name = |join: &Option<String>| match join {
                Some(join) => format!("{} JOIN", join.to_uppercase()),
                None => "no join".to_owned(),
            };
            new_checkpoint(format!(
                "the join is {}, it was {}",
                name(&next.join_type),
                name(&self.join_type)
            ));
        }
        if let (Some(old), Some(new)) = (self.time_range, next.time_range)
            && old != new
        {
            let (old, new) = (range_in_words(old), range_in_words(new));
            new_checkpoint(format!("the join's time range: {new}; until now {old}"));
        }
        let mut casts = false;
        for (what, old, new) in [
            ("join key", self.keys.join(" AND "), next.keys.join(" AND ")),
            ("join's further condition", self.predicates.join(" AND "), next.predicates.join(" AND ")),
        ] {
            if uncast(&old) != uncast(&new) {
                let named = |text: String| if text.is_empty() { "nothing".to_owned() } else { text };
                new_checkpoint(format!("the {what} is {}, it was {}", named(new), named(old)));
            } else {
                casts |= old != new;
            }
        }
        let tables = |fingerprint: &Self| -> Vec<(String, String)> {
            let sources = fingerprint.sources.iter();
            sources.map(|source| (source.table.clone(), source.topic.clone())).collect()
        };
        if tables(self) != tables(next) {
            let named = |tables: Vec<(String, String)>| {
                let named =
                    tables.into_iter().map(|(table, topic)| format!("{table} from topic \"{topic}\""));
                named.collect::<Vec<_>>().join(", ")
            };
            new_checkpoint(format!(
                "the sources are {}; they were {}",
                named(tables(next)),
                named(tables(self))
            ));
            return changes;
        }
        for ((old, new), source) in self.source_views.iter().zip(&next.source_views).zip(&next.sources) {
            let text = |view: &Option<String>| view.as_deref().map(uncast);
            if text(old) != text(new) {
                let what = format!("the view over \"{}\", its SELECT or its WHERE", source.table);
                new_checkpoint(match (old, new) {
                    (None, _) => format!("{what}, is new"),
                    (_, None) => format!("{what}, is gone"),
                    _ => format!("{what}, has changed"),
                });
            } else {
                casts |= old != new;
            }
        }
        if casts {
            changes.push(Change {
                what: "a CAST before the join is a TRY_CAST, or the other way round: the same key".to_owned(),
                effect: Effect::NextBatch,
            });
        }
        for (number, (old, new)) in self.sources.iter().zip(&next.sources).enumerate() {
            let kept = |fingerprint: &Self| fingerprint.state.get(number).cloned().unwrap_or_default();
            old.changes(new, &kept(self), &kept(next), &mut changes);
        }
        changes
    }
}

impl SourceFingerprint {
    /// * `kept`, `keeps`: the columns that state has of it, and that it is to have.
    fn changes(
        &self,
        next: &Self,
        kept: &BTreeMap<String, Column>,
        keeps: &BTreeMap<String, Column>,
        changes: &mut Vec<Change>,
    ) {
        let table = &next.table;
        let mut tell = |effect: Effect, what: String| changes.push(Change { what, effect });
        if self.primary_key != next.primary_key {
            let named = |key: &[String]| match key.is_empty() {
                true => "none".to_owned(),
                false => format!("({})", key.join(", ")),
            };
            let (new, old) = (named(&next.primary_key), named(&self.primary_key));
            tell(Effect::NewCheckpoint, format!("the PRIMARY KEY of \"{table}\" is {new}, it was {old}"));
        }
        if self.event_time != next.event_time {
            let what = format!(
                "the watermark column of \"{table}\" is \"{}\", it was \"{}\"",
                next.event_time, self.event_time
            );
            tell(Effect::NewCheckpoint, what);
        }
        let unlike = |new: &Column, old: &Column, name: &str| {
            format!("column \"{name}\" of \"{table}\" is {new}, it was {old}")
        };
        for (name, new) in keeps.iter().filter(|(name, new)| kept.get(*name) != Some(new)) {
            match kept.get(name) {
                Some(old) if old.arrow != new.arrow => tell(Effect::NewCheckpoint, unlike(new, old, name)),
                Some(old) if new.nullable => tell(Effect::NextBatch, unlike(new, old, name)),
                Some(old) => {
                    tell(Effect::NewCheckpoint, unlike(new, old, name) + "; rows in state may have NULL")
                }
                None if name.starts_with('_') || self.columns.contains_key(name) => {
                    let what = format!("the view uses column \"{name}\" of \"{table}\"");
                    tell(Effect::NewCheckpoint, what + ", which rows in state were stored without");
                }
                None if new.nullable => {
                    tell(Effect::NullInState, format!("column \"{name}\" of \"{table}\", {new}, is new"));
                }
                None => {
                    let what = format!("column \"{name}\" of \"{table}\", {new}, is new");
                    tell(Effect::NewCheckpoint, what + ", and rows in state have none");
                }
            }
        }
        for (name, new) in next.columns.iter().filter(|(name, _)| kept.get(*name) == keeps.get(*name)) {
            match self.columns.get(name) {
                Some(old) if old == new => {}
                Some(old) if old.arrow != new.arrow && self.primary_key.contains(name) => {
                    tell(Effect::NewCheckpoint, unlike(new, old, name) + ", and its keys are remembered");
                }
                Some(old) => tell(Effect::NextBatch, unlike(new, old, name)),
                None => tell(Effect::NextBatch, format!("column \"{name}\" of \"{table}\", {new}, is new")),
            }
        }
        for name in self.columns.keys().filter(|name| !next.columns.contains_key(*name)) {
            tell(Effect::NextBatch, format!("column \"{name}\" of \"{table}\" is gone"));
        }
    }
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sql)?;
        if self.nullable { Ok(()) } else { f.write_str(" NOT NULL") }
    }
}

/// A row whose CAST fails is malformed, one whose TRY_CAST fails has a NULL: neither is ever in state, and
/// all others are the same.
fn uncast(text: &str) -> String {
    text.replace("TRY_CAST(", "CAST(")
}

fn columns(schema: &SchemaRef) -> BTreeMap<String, Column> {
    let column = |field: &Field| Column {
        arrow: field.data_type().to_string(),
        sql: SqlType::name(field.data_type()),
        nullable: field.is_nullable(),
    };
    schema.fields().iter().map(|field| (field.name().clone(), column(field))).collect()
}
