//! The program: its SQL, in words, its plans; how long rows wait; and who holds the watermark.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};

use super::App;
use super::guard::Visitor;
use super::page::{count, event_time, fragment, frame, freshness, live as live_part, time};
use crate::batch::watermark::HeldBy;
use crate::observe::Telemetry;
use crate::observe::health::{age, bytes};
use crate::observe::progress::{BatchProgress, to_ms};
use crate::query::explain::explain;

const WIDTH: f64 = 900.0;
const ROW: f64 = 26.0;

/// The page.
pub(super) async fn page(State(app): State<Arc<App>>, Extension(visitor): Extension<Visitor>) -> Response {
    let program = &app.telemetry.about.program;
    let body = html! {
        h1 { "Query " (program.view.name) }
        (live_part("/live/query", 1, &ladder(&app.telemetry)))
        h2 { "Program" }
        p .muted { "SQL " code { (program.hash.chars().take(8).collect::<String>()) } " of " code { (program.folder.root.display()) } }
        @for file in &program.folder.files {
            details id=(format!("file-{}", file.path)) open[file.path == format!("{}.sql", program.view.name)] {
                summary { (file.path) }
                pre tabindex="0" { (file.text) }
            }
        }
        h2 { "In words, and the plans" }
        pre .explain tabindex="0" { (explain(program)) }
    };
    frame(&app, &visitor, "/query", "Query", body)
}

/// The watermark and the state.
pub(super) async fn live(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    fragment(&headers, ladder(&app.telemetry))
}

fn ladder(telemetry: &Telemetry) -> Markup {
    let Some(batch) = telemetry.history(|history| history.last().cloned()) else {
        return html! { p .empty { "No batch yet." } };
    };
    let now_ms = telemetry.now_ms();
    let holder = match &batch.held_by {
        HeldBy::Slowest(tp, _) | HeldBy::Unread(tp) => Some(tp),
        _ => None,
    };
    let times = batch.clocks.values().filter_map(|clock| clock.max_event_time).map(to_ms);
    let watermark_ms = batch.watermark.map(to_ms);
    let (mut from, mut to) = (i64::MAX, i64::MIN);
    for ms in times.chain(watermark_ms).chain([now_ms]) {
        (from, to) = (from.min(ms), to.max(ms));
    }
    let x = |ms: i64| 130.0 + (ms - from) as f64 / (to - from).max(1) as f64 * (WIDTH - 160.0);
    let height = ROW * (batch.clocks.len() as f64 + 1.0) + 24.0;
    html! {
        section {
            h2 { "Watermark" }
            p {
                strong { (event_time(batch.watermark)) }
                @if let Some(watermark) = watermark_ms { " · " (age((now_ms - watermark).max(0) as u64)) " behind the clock" }
                " · " (held_in_words(&batch)) " " (freshness())
            }
            div .scroll tabindex="0" role="region" aria-label="Watermark ladder" {
                svg .ladder viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label="Event time of each partition, the watermark and the clock" {
                    @if let Some(watermark) = watermark_ms {
                        line .watermark x1=(x(watermark)) y1="14" x2=(x(watermark)) y2=(height - 14.0) {}
                        text .label .end x=(x(watermark) - 4.0) y="12" { "watermark" }
                    }
                    line .clock x1=(x(now_ms)) y1="14" x2=(x(now_ms)) y2=(height - 14.0) {}
                    text .label .end x=(x(now_ms)) y=(height - 2.0) { "now" }
                    @for (row, (tp, clock)) in batch.clocks.iter().enumerate() {
                        @let y = 30.0 + ROW * row as f64;
                        @let is_holder = holder == Some(tp);
                        text .label x="0" y=(y + 4.0) { (tp) }
                        line .grid x1="130" y1=(y) x2=(WIDTH - 30.0) y2=(y) {}
                        @if let Some(max) = clock.max_event_time.map(to_ms) {
                            @if is_holder && let Some(watermark) = watermark_ms {
                                line .delay x1=(x(watermark)) y1=(y) x2=(x(max)) y2=(y) {}
                            }
                            circle .(if is_holder { "holder" } else { "partition" }) cx=(x(max)) cy=(y) r=(if is_holder { "7" } else { "5" }) {}
                        }
                    }
                }
            }
            table .cards {
                caption .sr { "Event time of each partition" }
                thead { tr { th scope="col" { "partition" } th scope="col" { "newest event time" } th scope="col" { "last record" } th scope="col" { "state" } } }
                tbody {
                    @for (tp, clock) in &batch.clocks {
                        tr {
                            td data-th="partition" { (tp) }
                            td data-th="newest event time" { (event_time(clock.max_event_time)) }
                            td data-th="last record" {
                                @match clock.last_record_ms { Some(ms) => (time(ms)), None => "never" }
                            }
                            td data-th="state" { (partition_in_words(telemetry, &batch, tp, clock.last_record_ms, now_ms)) }
                        }
                    }
                }
            }
        }
        section {
            h2 { "Rows that wait" }
            table .cards {
                thead { tr {
                    th scope="col" { "source" } th scope="col" .right { "can still match" } th scope="col" .right { "wait for a first partner" }
                    th scope="col" .right { "keys remembered" } th scope="col" .right { "memory" } th scope="col" { "oldest" }
                } }
                tbody {
                    @for side in &batch.state {
                        tr {
                            td data-th="source" { (side.source) }
                            td .right data-th="can still match" { (count(side.rows)) }
                            td .right data-th="wait for a first partner" { @match side.waiting { Some(waiting) => (count(waiting)), None => "–" } }
                            td .right data-th="keys remembered" { (count(side.keys)) }
                            td .right data-th="memory" { (bytes(side.bytes)) }
                            td data-th="oldest" { (event_time(side.oldest)) }
                        }
                    }
                }
            }
        }
    }
}

fn held_in_words(batch: &BatchProgress) -> String {
    match &batch.held_by {
        HeldBy::Slowest(tp, _) => format!("held by {tp}, the furthest behind"),
        other => format!("it waits: {other}"),
    }
}

fn partition_in_words(
    telemetry: &Telemetry,
    batch: &BatchProgress,
    tp: &crate::batch::offset::TopicPartition,
    last_record_ms: Option<i64>,
    now_ms: i64,
) -> String {
    let program = &telemetry.about.program;
    let Some(source) = program.sources.iter().find(|source| source.topic == tp.topic) else {
        return String::new();
    };
    let holds = match &batch.held_by {
        HeldBy::Slowest(by, _) | HeldBy::Unread(by) if by == tp => "holds the watermark; ",
        _ => "",
    };
    let timeout = source.watermark.idle_timeout.as_millis() as i64;
    match last_record_ms.map(|last| last + timeout - now_ms) {
        Some(left) if left > 0 => format!("{holds}without records it counts for {} more", age(left as u64)),
        Some(_) => format!("{holds}idle"),
        None => format!("{holds}no record yet"),
    }
}
