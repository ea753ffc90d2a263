//! The first page: how it does in one sentence, where the records went, and six charts.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};

use super::App;
use super::chart::{Chart, Form, Series};
use super::flow;
use super::guard::Visitor;
use super::page::{badge, count, event_time, fragment, frame, freshness, live as live_part, page_name, time};
use crate::observe::Telemetry;
use crate::observe::health::{Health, age, number};
use crate::observe::history::{Bucket, FINE};
use crate::observe::progress::{BatchProgress, to_ms};

/// What the charts show, in milliseconds.
const SPAN_MS: i64 = FINE.width_ms * FINE.len as i64;

/// What they show at least.
const LEAST_SPAN_MS: i64 = 60_000;

/// Batches of the table.
const MAX_BATCHES: usize = 10;

/// The page.
pub(super) async fn page(State(app): State<Arc<App>>, Extension(visitor): Extension<Visitor>) -> Response {
    let first = content(&app.telemetry);
    frame(
        &app,
        &visitor,
        "/",
        "Overview",
        html! { h1 .sr { "Overview" } (live_part("/live/overview", 1, &first)) },
    )
}

/// Its live part.
pub(super) async fn live(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    fragment(&headers, content(&app.telemetry))
}

fn content(telemetry: &Telemetry) -> Markup {
    let health = telemetry.health();
    let last = telemetry.history(|history| history.last().cloned());
    html! {
        (banner(&health))
        @match &last {
            Some(batch) => (flow::draw(batch)),
            None => p .empty { "No batch yet. " code { "ecomm-batch produce --rate 500" } " sends records." },
        }
        div .charts { (charts(telemetry)) }
        (batches(telemetry))
    }
}

/// The judgement in sentences; a screen reader hears it when its word changes.
pub(super) fn banner(health: &Health) -> Markup {
    let class = health.findings.first().map_or("ok", |finding| finding.severity.name());
    html! {
        section .verdict .(class) aria-label="How it does" {
            p .state {
                @if let Some(first) = health.findings.first() { (badge(first.severity)) }
                strong role="status" .sr { (health.state.name()) }
                span { (health.sentence()) }
                (freshness())
            }
            @if health.findings.len() > 1 {
                ul {
                    @for finding in &health.findings[1..] {
                        li { (badge(finding.severity)) span { (finding.sentence) " " a href=(finding.page) { (page_name(finding.page)) } } }
                    }
                }
            }
        }
    }
}

fn charts(telemetry: &Telemetry) -> Markup {
    let now_ms = telemetry.now_ms();
    let buckets: Vec<Bucket> = telemetry.history(|history| {
        history.series(FINE).filter(|bucket| bucket.start_ms >= now_ms - SPAN_MS).cloned().collect()
    });
    // A young engine fills the width.
    let first_ms = buckets.first().map_or(now_ms, |bucket| bucket.start_ms);
    let span = (first_ms.clamp(now_ms - SPAN_MS, now_ms - LEAST_SPAN_MS), now_ms);
    let lag = telemetry.lag();
    let per_second = |value: fn(&Bucket) -> u64| {
        let counts = telemetry.history(|history| history.filled(FINE, (first_ms, now_ms), value));
        let rate = |count: u64| count as f64 * 1000.0 / FINE.width_ms as f64;
        counts.into_iter().map(|(at, count)| (at, Some(rate(count)))).collect::<Vec<_>>()
    };
    let each = |value: &dyn Fn(&Bucket) -> Option<f64>| {
        buckets.iter().map(|bucket| (bucket.start_ms, value(bucket))).collect::<Vec<_>>()
    };
    let series = |name: &str, class, points| Series { name: name.to_owned(), class, points };
    let step = |name: &'static str| {
        each(&move |bucket: &Bucket| {
            bucket.steps_ms.get(name).map(|&ms| ms as f64 / bucket.batches.max(1) as f64)
        })
    };
    let sides = telemetry.history(|history| {
        history.last().map(|batch| batch.state.iter().map(|side| side.source.clone()).collect::<Vec<_>>())
    });
    let rate = |value: f64| format!("{}/s", number(value.round() as u64));
    let chart = |title, form, unit, series| Chart { title, form, span, step_ms: FINE.width_ms, series, unit };
    let whole: fn(f64) -> String = |value| number(value.round() as u64);
    let millis: fn(f64) -> String = |value| age(value.round() as u64);
    let all = [
        chart(
            "Records a second",
            Form::Lines,
            rate as fn(f64) -> String,
            vec![
                series("in", "valid", per_second(|bucket| bucket.counts.records)),
                series("out", "rejected", per_second(Bucket::rows_out)),
            ],
        ),
        chart(
            "Time of a batch by step",
            Form::Stack,
            millis,
            vec![
                series("plan", "filtered", step("queryPlanning")),
                series("read", "valid", step("getBatch")),
                series("join and rules", "alone", step("addBatch")),
                series("sink", "rejected", step("writeSink")),
                series("commit", "waiting", step("walCommit")),
            ],
        ),
        chart(
            "Records behind",
            Form::Lines,
            whole,
            vec![series("lag", "dead", lag.looks.iter().map(|&(ms, lag)| (ms, Some(lag as f64))).collect())],
        ),
        chart(
            "Watermark behind the clock",
            Form::Lines,
            |value| age((value * 1000.0) as u64),
            vec![series(
                "gap",
                "alone",
                each(&|bucket| {
                    let watermark = to_ms(bucket.watermark?);
                    Some((bucket.start_ms - watermark).max(0) as f64 / 1000.0)
                }),
            )],
        ),
        chart(
            "Rows in state",
            Form::Lines,
            whole,
            sides
                .unwrap_or_default()
                .iter()
                .zip(["valid", "rejected"])
                .enumerate()
                .map(|(side, (name, class))| {
                    series(name, class, each(&|bucket| bucket.state_rows.get(side).map(|&rows| rows as f64)))
                })
                .collect(),
        ),
        chart(
            "Outcomes a second",
            Form::Stack,
            rate,
            vec![
                series("valid", "valid", per_second(|bucket| bucket.counts.valid)),
                series("rejected", "rejected", per_second(|bucket| bucket.counts.rejected)),
                series("alone", "alone", per_second(|bucket| bucket.counts.unmatched)),
                series("dead letters", "dead", per_second(|bucket| bucket.counts.dead_letters())),
            ],
        ),
    ];
    html! { @for chart in &all { (chart.draw()) } }
}

fn batches(telemetry: &Telemetry) -> Markup {
    let batches: Vec<Arc<BatchProgress>> =
        telemetry.history(|history| history.batches().take(MAX_BATCHES).cloned().collect());
    let step = |batch: &BatchProgress, name: &str| {
        let found = batch.steps_ms.iter().find(|(step, _)| *step == name);
        found.map_or("–".to_owned(), |(_, ms)| age(*ms))
    };
    html! {
        section {
            h2 { "Last batches" }
            div .scroll tabindex="0" role="region" aria-label="Last batches" {
                table .cards {
                    thead { tr {
                        th scope="col" .right { "batch" } th scope="col" { "time" } th scope="col" .right { "records" }
                        th scope="col" .right { "took" } th scope="col" .right { "read" } th scope="col" .right { "join, rules" }
                        th scope="col" .right { "sink" } th scope="col" .right { "commit" } th scope="col" .right { "valid" }
                        th scope="col" .right { "rejected" } th scope="col" .right { "alone" } th scope="col" .right { "dead" }
                        th scope="col" { "watermark" }
                    } }
                    tbody {
                        @for batch in &batches {
                            tr {
                                td .right data-th="batch" { a href=(format!("/checkpoint/{}", batch.batch_id)) { (batch.batch_id) } }
                                td data-th="time" { (time(batch.time_ms)) }
                                td .right data-th="records" { (count(batch.counts.records)) }
                                td .right data-th="took" { @if batch.steps_ms.is_empty() { "–" } @else { (age(batch.duration_ms())) } }
                                td .right data-th="read" { (step(batch, "getBatch")) }
                                td .right data-th="join, rules" { (step(batch, "addBatch")) }
                                td .right data-th="sink" { (step(batch, "writeSink")) }
                                td .right data-th="commit" { (step(batch, "walCommit")) }
                                td .right data-th="valid" { (count(batch.counts.valid)) }
                                td .right data-th="rejected" { (count(batch.counts.rejected)) }
                                td .right data-th="alone" { (count(batch.counts.unmatched)) }
                                td .right data-th="dead" { (count(batch.dead_letters())) }
                                td data-th="watermark" { (event_time(batch.watermark)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
