//! A record's life: where it is now, what was stored of it, and its bytes in Kafka, by any key of the program.
//!
//! Four places are looked at side by side, each with a budget of its own; one that fails or is too slow says so and
//! leaves the others alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Response};
use bson::Document;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

use super::App;
use super::documents;
use super::guard::Visitor;
use super::kafka::{AT_THE_ENDS, Found, From, Search};
use super::page::{bytes_as_text, frame, time, visible};
use super::rules::record_address;
use crate::batch::offset::TopicPartition;
use crate::clock::rfc3339_ms;
use crate::observe::health::{counted, number};
use crate::observe::inspector::{Answer, NoAnswer};
use crate::observe::progress::to_ms;
use crate::query::Program;
use crate::query::output::{Reads, SinkTarget};
use crate::query::side::Side;
use crate::source::Records;

/// For how long the engine may take to answer; a batch that is under way has to end first.
const ENGINE_PATIENCE: Duration = Duration::from_millis(1_500);

/// Records of each topic that are shown.
const MAX_RECORDS: usize = 20;

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    by: String,
    #[serde(default)]
    value: String,
    /// `kafka`: the newest records of the topics are looked through in any case, which takes up to two seconds.
    #[serde(default)]
    scan: String,
}

/// The columns that a record is known by: PRIMARY KEYs, and what the join compares.
pub(super) fn keys(program: &Program) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    let of_sources = program.sources.iter().flat_map(|source| source.primary_key_names().map(str::to_owned));
    let of_join = program.join.iter().flat_map(|join| &join.keys).flat_map(|key| {
        key.split(" = ")
            .filter_map(|side| Some(side.trim().rsplit_once('.')?.1.to_owned()))
            .collect::<Vec<_>>()
    });
    for key in of_sources.chain(of_join) {
        if !keys.contains(&key) && key.chars().all(|c| c.is_alphanumeric() || c == '_') {
            keys.push(key);
        }
    }
    keys
}

/// One place that was looked at.
struct Part<T> {
    found: Result<T, String>,
    took_ms: u64,
}

async fn timed<T>(look: impl Future<Output = Result<T, String>>) -> Part<T> {
    let started = Instant::now();
    let found = look.await;
    Part { found, took_ms: started.elapsed().as_millis() as u64 }
}

/// A document and the output that it is in.
struct Stored {
    output: String,
    document: Document,
}

/// Everything that was found.
struct Life {
    state: Part<Answer>,
    outputs: Part<Vec<Stored>>,
    letters: Part<Vec<Stored>>,
    kafka: Part<InKafka>,
}

/// The records themselves.
#[derive(Default)]
struct InKafka {
    /// Each by itself, by Kafka's timestamp.
    records: Vec<Records>,
    /// How many were looked at.
    looked_at: u64,
    /// There may be more: the look took too long, or found too many.
    is_cut: bool,
    /// The topics were looked through; else only what rows and documents name is here.
    is_scan: bool,
}

impl InKafka {
    /// Records that rows and documents name, however far back they are; few of them.
    async fn add_named(&mut self, app: &App, named: Vec<(TopicPartition, i64)>) {
        let known = |records: &[Records], tp: &TopicPartition, offset: i64| {
            records.iter().any(|of| of.tp == *tp && of.iter().any(|record| record.offset() == offset))
        };
        for (tp, offset) in named {
            if known(&self.records, &tp, offset) || self.records.len() >= MAX_RECORDS {
                continue;
            }
            // What retention has deleted can't be shown.
            if let Ok(Some(record)) = app.browser.record(&tp.topic, tp.partition, offset).await {
                self.records.push(record);
            }
        }
        self.records.sort_by_key(|record| record.iter().next().map(|record| record.timestamp_ms()));
    }
}

/// Looks at state and documents, then for the records that they name. Topics are looked through if that is asked for,
/// or if nothing else knows of the record.
async fn look(app: &App, Asked { by, value, scan }: &Asked) -> Life {
    let (state, outputs, letters) = tokio::join!(
        timed(in_state(app, by, value)),
        timed(in_outputs(app, by, value)),
        timed(in_letters(app, value)),
    );
    let mut named: Vec<(TopicPartition, i64)> = Vec::new();
    for (side, meta, _) in state.found.iter().flat_map(|answer| &answer.rows) {
        let topic = app.telemetry.about.program.topic(of_number(*side));
        named.push((TopicPartition::new(topic.clone(), meta.partition), meta.offset));
    }
    let stored = outputs.found.iter().chain(&letters.found).flatten();
    named.extend(stored.flat_map(|stored| documents::positions(&stored.document)));
    let is_scan = scan == "kafka" || named.is_empty();
    let records = async {
        let mut found = if is_scan { in_kafka(app, by, value).await? } else { InKafka::default() };
        found.add_named(app, named).await;
        Ok(found)
    };
    let kafka = timed(records).await;
    Life { state, outputs, letters, kafka }
}

fn of_number(side: usize) -> Side {
    if side == 0 { Side::Left } else { Side::Right }
}

async fn in_state(app: &App, by: &str, value: &str) -> Result<Answer, String> {
    let asker = app.asker.as_ref().ok_or("no engine runs in this process")?;
    let answer = asker.ask(by, value, ENGINE_PATIENCE).await;
    answer.map_err(|none| match none {
        NoAnswer::Busy => "the engine is busy with a batch; ask again".to_owned(),
        NoAnswer::Stopped => "the engine has stopped".to_owned(),
    })
}

/// The outputs that are in MongoDB: name, database and collection.
fn targets(program: &Program, reads: Reads, has: Option<&str>) -> Vec<(String, String, String)> {
    let outputs = program.outputs.iter().filter(|output| output.reads == reads);
    let outputs = outputs.filter(|output| has.is_none_or(|name| output.schema.index_of(name).is_ok()));
    let target = |output: &crate::query::output::Output| match &output.target {
        SinkTarget::MongoDb { database, collection, .. } => {
            Some((output.name.clone(), database.clone(), collection.clone()))
        }
        SinkTarget::Files { .. } => None,
    };
    outputs.filter_map(target).collect()
}

async fn in_outputs(app: &App, by: &str, value: &str) -> Result<Vec<Stored>, String> {
    let Some(documents) = &app.documents else { return Ok(Vec::new()) };
    let looks = targets(&app.telemetry.about.program, Reads::View, Some(by)).into_iter().map(
        async |(output, database, collection)| {
            let found = documents.with_field(&database, &collection, by, value).await?;
            Ok(found.into_iter().map(|document| Stored { output: output.clone(), document }).collect())
        },
    );
    gathered(futures::future::join_all(looks).await)
}

async fn in_letters(app: &App, value: &str) -> Result<Vec<Stored>, String> {
    let Some(documents) = &app.documents else { return Ok(Vec::new()) };
    let looks = targets(&app.telemetry.about.program, Reads::DeadLetters, None).into_iter().map(
        async |(output, database, collection)| {
            let found = documents.with_key(&database, &collection, value).await?;
            Ok(found.into_iter().map(|document| Stored { output: output.clone(), document }).collect())
        },
    );
    gathered(futures::future::join_all(looks).await)
}

fn gathered(found: Vec<Result<Vec<Stored>, String>>) -> Result<Vec<Stored>, String> {
    Ok(found.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// The records of the program's topics that have the value in that field: those of the last part of each topic
/// that two seconds reach.
async fn in_kafka(app: &App, by: &str, value: &str) -> Result<InKafka, String> {
    let lag = app.telemetry.lag();
    let looks =
        app.telemetry.about.program.sources.iter().filter(|source| source.columns.index_of(by).is_ok()).map(
            async |source| {
                let of_topic = lag.extents.iter().filter(|(tp, _)| tp.topic == source.topic);
                let starts =
                    of_topic.map(|(tp, extent)| (tp.partition, (extent.latest - REACH).max(extent.earliest)));
                let starts: std::collections::BTreeMap<i32, i64> = starts.collect();
                if starts.is_empty() {
                    return Ok(Found { ended: AT_THE_ENDS, ..Found::default() });
                }
                let search = Search {
                    topic: source.topic.to_string(),
                    partition: None,
                    from: From::Cursor(starts),
                    limit: MAX_RECORDS,
                    contains: None,
                    field: Some((by.to_owned(), value.to_owned())),
                    uncommitted: false,
                };
                app.browser.read(search).await.map_err(|error| error.headline())
            },
        );
    let mut all = InKafka { is_scan: true, ..InKafka::default() };
    for found in futures::future::join_all(looks).await {
        let found: Found = found?;
        all.looked_at += found.looked_at;
        all.is_cut |= found.ended != AT_THE_ENDS;
        all.records.extend(found.records);
    }
    Ok(all)
}

/// Offsets of each partition that are looked at, back from its end.
const REACH: i64 = 50_000;

/// The page.
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Response {
    let program = &app.telemetry.about.program;
    let is_known = keys(program).contains(&asked.by);
    let body = match is_known && !asked.value.is_empty() {
        false => html! {
            h1 { "A record's life" }
            p .empty { "Search by " (keys(program).join(", ")) " with the field above." }
        },
        true => {
            let life = look(&app, &asked).await;
            html! {
                h1 { "Life of " (asked.by) " = " (visible(&asked.value)) }
                (kafka(&asked, &life.kafka))
                (state(program, &life.state))
                (stored("Stored", &life.outputs))
                (stored("Dead letters with this key", &life.letters))
            }
        }
    };
    frame(&app, &visitor, "/record", "A record's life", body)
}

fn heading(title: &str, took_ms: u64) -> Markup {
    html! { h2 { (title) " " span .muted .small { (took_ms) " ms" } } }
}

fn kafka(asked: &Asked, part: &Part<InKafka>) -> Markup {
    html! {
        section {
            (heading("In Kafka", part.took_ms))
            @if let Ok(found) = &part.found {
                @if !found.is_scan {
                    p .muted {
                        "The records that rows and documents name. "
                        a href=(format!("/record?by={}&value={}&scan=kafka", super::address(&asked.by), super::address(&asked.value))) {
                            "Look through the topics too"
                        }
                    }
                } @else { p .muted {
                    (counted(found.looked_at, "record", "records")) " looked at, of the last " (number(REACH as u64)) " offsets of each partition"
                    @if found.is_cut { "; there was no time for all of them" }
                    ". Older ones are here if a row or a document names them."
                } }
            }
            @match &part.found {
                Err(problem) => p .banner.look role="note" { (problem) },
                Ok(found) if found.records.is_empty() => p .empty { "None." },
                Ok(found) => ol .life {
                    @for of in &found.records {
                        @for record in of.iter() {
                            li {
                                (time(record.timestamp_ms())) " "
                                a href=(record_address(&of.tp.topic, of.tp.partition, record.offset())) { (of.tp) "@" (record.offset()) }
                                pre tabindex="0" { (bytes_as_text(record.value().unwrap_or_default())) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn state(program: &Program, part: &Part<Answer>) -> Markup {
    html! {
        section {
            (heading("In state", part.took_ms))
            @match &part.found {
                Err(problem) => p .banner.look role="note" { (problem) },
                Ok(answer) => {
                    @if answer.rows.is_empty() { p .empty { "No row of it can still match." } }
                    ol .life {
                        @for (side, meta, row) in &answer.rows {
                            @let side = of_number(*side);
                            @let topic = program.topic(side);
                            li {
                                a href=(record_address(topic, meta.partition, meta.offset)) { (topic) "/" (meta.partition) "@" (meta.offset) }
                                ", read in batch " a href=(format!("/checkpoint/{}", meta.batch)) { (meta.batch) } ": "
                                @if meta.matched { "has matched, more partners may come" } @else { "waits for a partner" }
                                " until the watermark passes " (time(to_ms(meta.event_time.saturating_add(program.reach(side)))))
                                pre tabindex="0" { (visible(row)) }
                            }
                        }
                    }
                    @if answer.is_cut { p .muted { "There may be more: only the first rows were looked at." } }
                }
            }
        }
    }
}

fn stored(title: &str, part: &Part<Vec<Stored>>) -> Markup {
    html! {
        section {
            (heading(title, part.took_ms))
            @match &part.found {
                Err(problem) => p .banner.look role="note" { (problem) },
                Ok(found) if found.is_empty() => p .empty { "None." },
                Ok(found) => ol .life {
                    @for stored in found { li { strong { (stored.output) } pre tabindex="0" { (visible(&documents::text(&stored.document))) } } }
                }
            }
        }
    }
}

/// The same for machines.
pub(super) async fn json(State(app): State<Arc<App>>, Query(asked): Query<Asked>) -> Response {
    let program = &app.telemetry.about.program;
    if !keys(program).contains(&asked.by) {
        let problem = json!({ "error": format!("by is one of {}", keys(program).join(", ")) });
        return (axum::http::StatusCode::BAD_REQUEST, axum::Json(problem)).into_response();
    }
    let life = look(&app, &asked).await;
    let of_stored = |part: &Part<Vec<Stored>>| match &part.found {
        Err(problem) => json!({ "error": problem }),
        Ok(found) => found
            .iter()
            .map(|stored| json!({ "output": stored.output, "document": stored.document }))
            .collect(),
    };
    let state = match &life.state.found {
        Err(problem) => json!({ "error": problem }),
        Ok(answer) => answer
            .rows
            .iter()
            .map(|(side, meta, row)| {
                json!({
                    "side": side,
                    "partition": meta.partition,
                    "offset": meta.offset,
                    "batch": meta.batch,
                    "matched": meta.matched,
                    "row": row,
                })
            })
            .collect(),
    };
    let kafka = match &life.kafka.found {
        Err(problem) => json!({ "error": problem }),
        Ok(found) => found
            .records
            .iter()
            .flat_map(|of| {
                of.iter().map(|record| {
                    json!({
                        "topic": *of.tp.topic,
                        "partition": of.tp.partition,
                        "offset": record.offset(),
                        "timestamp": rfc3339_ms(record.timestamp_ms()),
                        "value": bytes_as_text(record.value().unwrap_or_default()),
                    })
                })
            })
            .collect(),
    };
    axum::Json(json!({
        "state": state,
        "outputs": of_stored(&life.outputs),
        "deadLetters": of_stored(&life.letters),
        "kafka": kafka,
    }))
    .into_response()
}
