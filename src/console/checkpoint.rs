//! The checkpoint: its batches, their files and their SQL. The console never changes it: it shows the commands.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::App;
use super::guard::Visitor;
use super::page::{count, event_time, frame, time};
use crate::batch::{BatchId, BatchPlan};
use crate::checkpoint::record::CommitRecord;
use crate::checkpoint::{Checkpoint, Records};
use crate::error::Result;
use crate::observe::health::{bytes, counted, number};

/// Batches of the page.
const MAX_BATCHES: usize = 100;

pub(super) async fn records(app: &App) -> Result<Option<Records>> {
    Checkpoint::read_only(&app.telemetry.about.checkpoint)?.records().await
}

/// The page.
pub(super) async fn page(State(app): State<Arc<App>>, Extension(visitor): Extension<Visitor>) -> Response {
    let body = html! {
        h1 { "Checkpoint" }
        @match records(&app).await {
            Err(error) => p .banner.look role="note" { (error.headline()) },
            Ok(None) => p .empty { "There is no checkpoint at " code { (app.telemetry.about.checkpoint) } " yet." },
            Ok(Some(records)) => (content(&app, &records)),
        }
    };
    frame(&app, &visitor, "/checkpoint", "Checkpoint", body)
}

fn content(app: &App, records: &Records) -> Markup {
    let location = &app.telemetry.about.checkpoint;
    let last = records.commits.values().next_back();
    let state_bytes: u64 =
        last.iter().flat_map(|commit| commit.state.iter().flatten()).map(|file| file.bytes).sum();
    let num_files = last.map_or(0, |commit| commit.state.iter().flatten().count());
    let programs: std::collections::BTreeSet<&String> =
        records.plans.values().map(|plan| &plan.program).collect();
    html! {
        p { code { (location) } " · query " code { (records.metadata.query_id) } ", since " (time(records.metadata.started_ms)) }
        p {
            (counted(records.plans.len() as u64, "batch", "batches")) " kept, " (records.plans.len().saturating_sub(records.commits.len())) " without an outcome · state "
            (bytes(state_bytes)) " in " (counted(num_files as u64, "file", "files")) " · " (counted(programs.len() as u64, "version", "versions")) " of the SQL"
        }
        ul .commands {
            li { code { "ecomm-batch checkpoint verify " (location) } }
            @if let Some(last) = last {
                li { code { "ecomm-batch checkpoint rollback " (location) " --to " (last.batch_id.0.saturating_sub(1)) } " shows what it would do" }
            }
        }
        div .scroll tabindex="0" role="region" aria-label="Batches" {
            table .cards {
                thead { tr {
                    th scope="col" .right { "batch" } th scope="col" { "planned" } th scope="col" .right { "offsets" } th scope="col" .right { "records" }
                    th scope="col" .right { "state rows" } th scope="col" .right { "state files" } th scope="col" { "watermark" } th scope="col" { "SQL" } th scope="col" { "outcome" }
                } }
                tbody { @for (id, plan) in records.plans.iter().rev().take(MAX_BATCHES) { (row(*id, plan, records.commits.get(id))) } }
            }
        }
    }
}

fn row(id: BatchId, plan: &BatchPlan, commit: Option<&CommitRecord>) -> Markup {
    html! {
        tr {
            td .right data-th="batch" { a href=(format!("/checkpoint/{id}")) { (id) } }
            td data-th="planned" { (time(plan.time_ms)) }
            td .right data-th="offsets" { (count(plan.num_offsets().unsigned_abs())) }
            td .right data-th="records" { @match commit { Some(commit) => (count(commit.counts.records)), None => "–" } }
            td .right data-th="state rows" {
                @match commit { Some(commit) => (commit.rows.iter().map(|&rows| number(rows)).collect::<Vec<_>>().join(" + ")), None => "–" }
            }
            td .right data-th="state files" {
                @match commit { Some(commit) => (bytes(commit.state.iter().flatten().map(|file| file.bytes).sum())), None => "–" }
            }
            td data-th="watermark" { @match commit { Some(commit) => (event_time(commit.watermark)), None => "–" } }
            td data-th="SQL" { code { (plan.program.chars().take(8).collect::<String>()) } }
            td data-th="outcome" { @if commit.is_some() { "done" } @else { strong { "pending" } } }
        }
    }
}

/// One batch.
pub(super) async fn batch(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Path(number): Path<String>,
) -> Response {
    let id = number.parse().ok().map(BatchId);
    let records = records(&app).await.ok().flatten();
    let found = id
        .zip(records.as_ref())
        .and_then(|(id, records)| Some((records.plans.get(&id)?, records.commits.get(&id))));
    let Some((plan, commit)) = found else {
        let body = html! { h1 { "No such batch" } p { "The checkpoint keeps the last batches only. " a href="/checkpoint" { "All that are kept" } } };
        return (StatusCode::NOT_FOUND, frame(&app, &visitor, "/checkpoint", "No such batch", body))
            .into_response();
    };
    let body = html! {
        h1 { "Batch " (plan.id) }
        p {
            "Planned " (time(plan.time_ms)) " · SQL " code { (plan.program.chars().take(8).collect::<String>()) } " · watermark "
            (event_time(plan.watermark)) " → " @match commit { Some(commit) => (event_time(commit.watermark)), None => "pending" }
        }
        h2 { "Offsets" }
        table .cards {
            thead { tr { th scope="col" { "partition" } th scope="col" .right { "from" } th scope="col" .right { "to, exclusive" } th scope="col" .right { "left behind" } th scope="col" { "records" } } }
            tbody {
                @for (tp, range) in &plan.ranges {
                    tr {
                        td data-th="partition" { (tp) }
                        td .right data-th="from" { (count(range.start.unsigned_abs())) }
                        td .right data-th="to" { (count(range.end.unsigned_abs())) }
                        td .right data-th="left behind" { (count((range.latest - range.end).max(0).unsigned_abs())) }
                        td data-th="records" { @if !range.is_empty() {
                            a href=(format!("/topics/{}/messages?from=offset&at={}&p={}&n=50", super::address(&tp.topic), range.start, tp.partition)) { "its records" }
                        } }
                    }
                }
            }
        }
        @if let Some(commit) = commit { (outcome(commit)) }
    };
    frame(&app, &visitor, "/checkpoint", &format!("Batch {}", plan.id), body)
}

fn outcome(commit: &CommitRecord) -> Markup {
    let counts = serde_json::to_value(commit.counts).unwrap_or_default();
    let counts: Vec<(String, u64)> = counts
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, count)| Some((name.clone(), count.as_u64().filter(|count| *count > 0)?)))
        .collect();
    html! {
        h2 { "What became of its records" }
        table { tbody { @for (name, number) in &counts { tr { th scope="row" { (name) } td .right { (count(*number)) } } } } }
        h2 { "Files of the state" }
        ul { @for file in commit.state.iter().flatten() { li { code { (file.name) } " " (bytes(file.bytes)) } } }
    }
}
