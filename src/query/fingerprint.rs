//! What must stay as it is while a checkpoint is in use.
//!
//! Rules, outputs, `watermark.delay`, the idle timeouts and the view's select list may change between
//! runs; what decides which rows are in state, and what they look like, may not.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::query::Program;
use crate::query::side::Side;

/// The parts of a program that state and offsets depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    sources: Vec<SourceFingerprint>,
    join_type: Option<String>,
    keys: Vec<String>,
    time_range: Option<(i64, i64)>,
    /// The other predicates of ON: which rows can match is part of which rows were kept.
    predicates: Vec<String>,
    /// What stands between each source and the join; `None` for a table as it is.
    source_views: Vec<Option<String>>,
    /// The columns that state keeps of each side.
    state: Vec<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SourceFingerprint {
    table: String,
    topic: String,
    columns: BTreeMap<String, String>,
    primary_key: Vec<String>,
    event_time: String,
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
                columns: typed(&source.columns),
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
                .map(|join| Side::BOTH.map(|side| typed(&join.side(side).input.columns)).to_vec())
                .unwrap_or_default(),
        }
    }

    /// Whether a checkpoint written under `self` can go on under `next`; otherwise what changed.
    pub fn allows(&self, next: &Self) -> Result<(), String> {
        let changed = |what: &str, old: &dyn std::fmt::Debug, new: &dyn std::fmt::Debug| {
            Err(format!("the {what} changed from {old:?} to {new:?}"))
        };
        if self.join_type != next.join_type {
            return changed("join type", &self.join_type, &next.join_type);
        }
        if self.keys != next.keys {
            return changed("join key", &self.keys, &next.keys);
        }
        if self.time_range != next.time_range {
            return changed("join's time range (nanoseconds)", &self.time_range, &next.time_range);
        }
        if self.predicates != next.predicates {
            return changed("join's condition", &self.predicates, &next.predicates);
        }
        if self.source_views != next.source_views {
            return changed("view over a source", &self.source_views, &next.source_views);
        }
        if self.sources.len() != next.sources.len() {
            return changed("number of sources", &self.sources.len(), &next.sources.len());
        }
        for (old, new) in self.sources.iter().zip(&next.sources) {
            let head = |source: &SourceFingerprint| {
                (
                    source.table.clone(),
                    source.topic.clone(),
                    source.primary_key.clone(),
                    source.event_time.clone(),
                )
            };
            if head(old) != head(new) {
                return changed("table, topic, PRIMARY KEY or watermark column", &head(old), &head(new));
            }
            if let Some((name, data_type)) =
                old.columns.iter().find(|(name, data_type)| new.columns.get(*name) != Some(*data_type))
            {
                return changed(
                    &format!("column \"{name}\" of \"{}\"", old.table),
                    data_type,
                    &new.columns.get(name),
                );
            }
            let added = new
                .columns
                .iter()
                .find(|(name, data_type)| !old.columns.contains_key(*name) && data_type.contains("NOT NULL"));
            if let Some((name, _)) = added {
                return Err(format!(
                    "the new column \"{name}\" of \"{}\" is NOT NULL, and rows in state have none",
                    old.table
                ));
            }
        }
        for ((old, new), source) in self.state.iter().zip(&next.state).zip(&self.sources) {
            let lost = new.keys().find(|name| {
                !old.contains_key(*name) && (name.starts_with('_') || source.columns.contains_key(*name))
            });
            if let Some(name) = lost {
                return Err(format!(
                    "the view uses column \"{name}\" of \"{}\", which rows in state were stored without",
                    source.table
                ));
            }
        }
        Ok(())
    }
}

fn typed(schema: &SchemaRef) -> BTreeMap<String, String> {
    schema
        .fields()
        .iter()
        .map(|field| {
            let null = if field.is_nullable() { "" } else { " NOT NULL" };
            (field.name().clone(), format!("{}{null}", field.data_type()))
        })
        .collect()
}
