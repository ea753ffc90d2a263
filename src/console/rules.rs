//! Rules: what each says, how often it is broken, and the newest rows that break it.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::App;
use super::guard::Visitor;
use super::page::{count, frame, time, visible};
use crate::batch::counts::RuleTally;
use crate::observe::Telemetry;
use crate::observe::example::{Example, ExampleKind};
use crate::observe::health::percent;
use crate::observe::history::{Bucket, COARSE};

/// Minutes of the small bars.
const BARS: i64 = 60;

/// What is told of a rule.
struct Told {
    name: String,
    tally: RuleTally,
    pairs: u64,
    /// Violations of each of the last minutes, the oldest first.
    minutes: Vec<u64>,
    newest: Option<Example>,
}

fn told(telemetry: &Telemetry) -> Vec<Told> {
    let now_ms = telemetry.now_ms();
    telemetry.history(|history| {
        let last = history.last();
        let rules = telemetry.about.program.rules.iter().map(|rule| {
            let tally =
                last.and_then(|batch| batch.total_tally.rules.get(&rule.name)).copied().unwrap_or_default();
            let of_rule = |bucket: &Bucket| {
                bucket.tally.rules.get(&rule.name).map_or(0, |count| count.reject + count.warn)
            };
            let span = (now_ms - (BARS - 1) * COARSE.width_ms, now_ms + COARSE.width_ms);
            Told {
                name: rule.name.clone(),
                tally,
                pairs: last.map_or(0, |batch| batch.total.valid + batch.total.rejected),
                minutes: history.filled(COARSE, span, of_rule).into_iter().map(|(_, count)| count).collect(),
                newest: history.examples(&ExampleKind::Rule(rule.name.clone())).next().cloned(),
            }
        });
        rules.collect()
    })
}

/// All rules.
pub(super) async fn page(State(app): State<Arc<App>>, Extension(visitor): Extension<Visitor>) -> Response {
    let body = html! {
        h1 { "Rules" }
        p .muted { "A pair can break several rules; it is rejected once. Counts are since the checkpoint began." }
        div .scroll tabindex="0" role="region" aria-label="Rules" {
            table .cards {
                thead { tr {
                    th scope="col" { "rule" } th scope="col" .right { "rejects" } th scope="col" .right { "warns" } th scope="col" .right { "share" }
                    th scope="col" { "last hour, a bar a minute" } th scope="col" { "newest" }
                } }
                tbody {
                    @for rule in told(&app.telemetry) {
                        tr {
                            td data-th="rule" { a href=(format!("/rules/{}", super::address(&rule.name))) { (rule.name) } }
                            td .right data-th="rejects" { (count(rule.tally.reject)) }
                            td .right data-th="warns" { (count(rule.tally.warn)) }
                            td .right data-th="share" { (percent(rule.tally.reject as f64 / rule.pairs.max(1) as f64)) }
                            td data-th="last hour" { (sparkline(&rule.minutes)) }
                            td data-th="newest" {
                                @match &rule.newest {
                                    Some(example) => { (visible(example.detail.as_deref().unwrap_or("no detail"))) " " span .muted { (time(example.time_ms)) } },
                                    None => span .muted { "nothing since the start" },
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    frame(&app, &visitor, "/rules", "Rules", body)
}

fn sparkline(values: &[u64]) -> Markup {
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let sum: u64 = values.iter().sum();
    html! {
        svg .spark viewBox="0 0 180 24" role="img" aria-label=(format!("{sum} in the last hour, {most} in the worst minute at most")) {
            @for (at, &value) in values.iter().enumerate().filter(|(_, value)| **value > 0) {
                @let height = (value as f64 / most as f64 * 22.0).max(1.5);
                rect .rejected x=(at * 3) y=(format!("{:.1}", 24.0 - height)) width="2" height=(format!("{height:.1}")) {}
            }
        }
    }
}

/// One rule.
pub(super) async fn one(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Response {
    let program = &app.telemetry.about.program;
    let Some(rule) = program.rules.iter().find(|rule| rule.name == name) else {
        let body = html! { h1 { "No such rule" } p { a href="/rules" { "All rules" } } };
        return (StatusCode::NOT_FOUND, frame(&app, &visitor, "/rules", "No such rule", body))
            .into_response();
    };
    let file = program.folder.files.iter().find(|file| file.path.ends_with(&format!("/{name}.sql")));
    let examples: Vec<Example> = app
        .telemetry
        .history(|history| history.examples(&ExampleKind::Rule(name.clone())).cloned().collect());
    let body = html! {
        h1 { "Rule " (rule.name) }
        pre tabindex="0" { (file.map_or(rule.text.as_str(), |file| file.text.as_str())) }
        h2 { "Newest pairs that break it" }
        @if examples.is_empty() { p .empty { "Nothing broke it since the start of this console." } }
        @else { (examples_table(&examples)) }
    };
    frame(&app, &visitor, "/rules", &format!("Rule {name}"), body)
}

fn examples_table(examples: &[Example]) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label="Newest violations" {
            table .cards {
                thead { tr { th scope="col" { "batch time" } th scope="col" .right { "batch" } th scope="col" { "severity" } th scope="col" { "detail" } th scope="col" { "records" } } }
                tbody {
                    @for example in examples {
                        tr {
                            td data-th="batch time" { (time(example.time_ms)) }
                            td .right data-th="batch" { a href=(format!("/checkpoint/{}", example.batch)) { (example.batch) } }
                            td data-th="severity" { (example.severity.map_or("", |severity| severity.name())) }
                            td data-th="detail" { (visible(example.detail.as_deref().unwrap_or("–"))) }
                            td data-th="records" { (origins(example)) }
                        }
                    }
                }
            }
        }
    }
}

/// Links to the records behind a row.
pub(super) fn origins(example: &Example) -> Markup {
    html! {
        @for (at, (tp, offset)) in example.origins.iter().enumerate() {
            @if at > 0 { " · " }
            a href=(record_address(&tp.topic, tp.partition, *offset)) { (tp) "@" (offset) }
        }
    }
}

/// The page of one record.
pub(super) fn record_address(topic: &str, partition: i32, offset: i64) -> String {
    format!("/topics/{}/messages?from=offset&at={offset}&p={partition}&n=1", super::address(topic))
}
