//! The same facts as JSON. Offsets are numbers, decimals are text.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::messages::refused;
use super::outcomes::{Asked, kinds};
use crate::clock::{rfc3339, rfc3339_ms};
use crate::observe::example::{Example, ExampleKind};
use crate::observe::lag::Lag;
use crate::query::explain::explain;

/// Batches of one answer.
const MAX_BATCHES: usize = 1_000;

/// How it does.
pub(super) async fn status(State(app): State<Arc<App>>) -> Json<Value> {
    let (health, now) = (app.telemetry.health(), app.telemetry.now.get());
    let (lag, next) = (app.telemetry.lag(), app.telemetry.next_offsets());
    let last = app.telemetry.history(|history| history.last().cloned());
    Json(json!({
        "state": health.state.name(),
        "isReady": health.state.is_ready(),
        "severity": health.severity().name(),
        "findings": health.findings.iter().map(|finding| json!({
            "kind": finding.kind,
            "severity": finding.severity.name(),
            "sentence": finding.sentence,
        })).collect::<Vec<_>>(),
        "now": {
            "batchId": now.batch,
            "step": now.step.name(),
            "forMs": now.since.elapsed().as_millis() as u64,
            "waitingFor": now.waiting.as_ref().map(|waiting| json!({
                "service": waiting.service.name(),
                "forMs": waiting.since.elapsed().as_millis() as u64,
                "attempts": waiting.attempts,
                "error": waiting.error,
            })),
        },
        "lag": lag.at_ms.map(|_| lag.total(&next)),
        "watermark": last.as_ref().and_then(|batch| batch.watermark).map(rfc3339),
        "lastBatch": last.map(|batch| batch.to_json()),
    }))
}

/// Which batches are asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Range {
    after: Option<u64>,
    limit: Option<usize>,
}

/// The last batches, as Spark's progress, in order; one a line for whoever accepts `application/x-ndjson`.
pub(super) async fn progress(
    State(app): State<Arc<App>>,
    Query(range): Query<Range>,
    headers: HeaderMap,
) -> Response {
    let limit = range.limit.unwrap_or(100).min(MAX_BATCHES);
    let mut batches: Vec<Value> = app.telemetry.history(|history| {
        let new = history.batches().filter(|batch| range.after.is_none_or(|after| batch.batch_id.0 > after));
        new.take(limit).map(|batch| batch.to_json()).collect()
    });
    batches.reverse();
    let is_lines =
        headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes() == b"application/x-ndjson");
    match is_lines {
        false => Json(Value::from(batches)).into_response(),
        true => {
            let lines: String = batches.iter().map(|batch| format!("{batch}\n")).collect();
            ([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response()
        }
    }
}

/// The topics of the cluster, and how far those of the program are read.
pub(super) async fn topics(State(app): State<Arc<App>>) -> Response {
    let next = app.telemetry.next_offsets();
    let topics = match app.browser.topics().await {
        Ok(topics) => topics,
        Err(error) => return refused(&error),
    };
    let described: serde_json::Map<String, Value> = topics
        .iter()
        .map(|(topic, partitions)| {
            let partitions = partitions.iter().map(|(&partition, &extent)| {
                let tp = crate::batch::offset::TopicPartition::new(topic.as_str(), partition);
                let read = next.get(&tp).copied();
                json!({
                    "partition": partition,
                    "earliest": extent.earliest,
                    "latest": extent.latest,
                    "next": read,
                    "lag": read.map(|read| Lag::of(extent, Some(read))),
                })
            });
            (topic.clone(), partitions.collect())
        })
        .collect();
    Json(Value::from(described)).into_response()
}

/// The program.
pub(super) async fn query(State(app): State<Arc<App>>) -> Json<Value> {
    let program = &app.telemetry.about.program;
    Json(json!({
        "view": program.view.name,
        "sql": program.hash,
        "files": program.folder.files.iter().map(|file| json!({ "path": file.path, "text": file.text })).collect::<Vec<_>>(),
        "explain": explain(program),
    }))
}

/// The rules with their counts and newest violations.
pub(super) async fn rules(State(app): State<Arc<App>>) -> Json<Value> {
    app.telemetry.history(|history| {
        let last = history.last();
        let rules = app.telemetry.about.program.rules.iter().map(|rule| {
            let tally =
                last.and_then(|batch| batch.total_tally.rules.get(&rule.name)).copied().unwrap_or_default();
            let kind = ExampleKind::Rule(rule.name.clone());
            let newest = history.examples(&kind).take(10).map(example);
            json!({
                "name": rule.name,
                "reject": tally.reject,
                "warn": tally.warn,
                "sql": rule.text,
                "newest": newest.collect::<Vec<_>>(),
            })
        });
        Json(rules.collect())
    })
}

/// The newest rows of one kind, or the counts of all.
pub(super) async fn outcomes(State(app): State<Arc<App>>, Query(asked): Query<Asked>) -> Json<Value> {
    let kinds = kinds(&app.telemetry);
    let newest = kinds.iter().find(|(name, ..)| asked.is(name)).map(|(_, kind, _)| {
        app.telemetry.history(|history| history.examples(kind).map(example).collect::<Vec<_>>())
    });
    let counts: serde_json::Map<String, Value> =
        kinds.into_iter().map(|(name, _, count)| (name, count.into())).collect();
    Json(json!({ "counts": counts, "newest": newest }))
}

fn example(example: &Example) -> Value {
    json!({
        "batchId": example.batch,
        "time": rfc3339_ms(example.time_ms),
        "origins": example.origins.iter().map(|(tp, offset)| json!({
            "topic": *tp.topic,
            "partition": tp.partition,
            "offset": offset,
        })).collect::<Vec<_>>(),
        "id": example.id,
        "severity": example.severity.map(|severity| severity.name()),
        "detail": example.detail,
        "body": super::page::bytes_as_text(&example.body),
    })
}

/// The batches of the checkpoint.
pub(super) async fn checkpoint(State(app): State<Arc<App>>) -> Response {
    match super::checkpoint::records(&app).await {
        Err(error) => refused(&error),
        Ok(None) => Json(Value::Null).into_response(),
        Ok(Some(records)) => {
            let batches = records.plans.iter().map(|(id, plan)| {
                let commit = records.commits.get(id);
                json!({
                    "batchId": id,
                    "time": rfc3339_ms(plan.time_ms),
                    "offsets": plan.num_offsets(),
                    "program": plan.program,
                    "counts": commit.map(|commit| commit.counts),
                    "watermark": commit.and_then(|commit| commit.watermark).map(rfc3339),
                    "stateRows": commit.map(|commit| &commit.rows),
                    "isDone": commit.is_some(),
                })
            });
            Json(json!({
                "queryId": records.metadata.query_id,
                "startedAt": rfc3339_ms(records.metadata.started_ms),
                "batches": batches.collect::<Vec<_>>(),
            }))
            .into_response()
        }
    }
}
