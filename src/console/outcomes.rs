//! Outcomes: the newest rows of each output, and the newest dead letters of each reason, with the records behind them.

use std::sync::Arc;

use axum::extract::{Extension, Query, State};
use axum::response::Response;
use bson::Document;
use maud::{Markup, html};
use serde::Deserialize;

use super::App;
use super::documents;
use super::guard::Visitor;
use super::page::{bytes_as_text, count, frame, time, visible};
use super::rules::origins;
use crate::batch::reason::Reason;
use crate::observe::Telemetry;
use crate::observe::example::{Example, ExampleKind};
use crate::query::output::{Reads, SinkTarget};

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    kind: String,
}

impl Asked {
    /// Whether this kind is asked for.
    pub(super) fn is(&self, name: &str) -> bool {
        self.kind == name
    }
}

/// Each kind with its count since the checkpoint began.
pub(super) fn kinds(telemetry: &Telemetry) -> Vec<(String, ExampleKind, u64)> {
    let last = telemetry.history(|history| history.last().cloned());
    let program = &telemetry.about.program;
    let outputs = program.outputs.iter().filter(|output| output.reads == Reads::View);
    let mut kinds: Vec<(String, ExampleKind, u64)> = outputs
        .map(|output| {
            let tally = last.as_ref().and_then(|batch| batch.total_tally.outputs.get(&output.name));
            (output.name.clone(), ExampleKind::Output(output.name.clone()), tally.copied().unwrap_or(0))
        })
        .collect();
    for reason in Reason::ALL {
        let of_reason = last.as_ref().map_or(0, |batch| reason.count(&batch.total));
        kinds.push((reason.name().to_owned(), ExampleKind::Letter(reason), of_reason));
    }
    kinds
}

/// The page.
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Response {
    let kinds = kinds(&app.telemetry);
    let chosen = kinds.iter().find(|(name, ..)| asked.is(name)).or(kinds.first());
    let body = html! {
        h1 { "Outcomes" }
        nav .tabs aria-label="Kinds of outcomes" {
            @for (at, (name, kind, total)) in kinds.iter().enumerate() {
                @let is_first_letter = matches!(kind, ExampleKind::Letter(_)) && at > 0 && matches!(kinds[at - 1].1, ExampleKind::Output(_));
                @if is_first_letter { span .muted { "dead letters:" } }
                @let is_current = chosen.is_some_and(|(chosen, ..)| chosen == name);
                a href=(format!("/outcomes?kind={}", super::address(name))) aria-current=[is_current.then_some("page")] { (name) " " (count(*total)) }
            }
        }
        @if let Some((name, kind, _)) = chosen { (newest(&app, name, kind).await) }
    };
    frame(&app, &visitor, "/outcomes", "Outcomes", body)
}

async fn newest(app: &App, name: &str, kind: &ExampleKind) -> Markup {
    let examples: Vec<Example> = app.telemetry.history(|history| history.examples(kind).cloned().collect());
    let stored = match examples.is_empty() {
        true => stored(app, name, kind).await,
        false => None,
    };
    html! {
        h2 { (name) }
        p .muted { "The newest rows that went there, a few of each batch; what is stored is in the output itself." }
        @if !examples.is_empty() {
            (table(&examples, matches!(kind, ExampleKind::Letter(_))))
        } @else if let Some(stored) = stored {
            @match stored {
                Ok(found) if found.is_empty() => p .empty { "Nothing is there." },
                Ok(found) => { p { "From MongoDB:" } @for document in &found { pre tabindex="0" { (visible(&documents::text(document))) } } },
                Err(problem) => p .banner.look role="note" { (problem) },
            }
        } @else {
            p .empty { "Nothing since the start of this console." }
        }
    }
}

/// The last documents of an output's collection; before the engine has stored any, what earlier ones stored.
async fn stored(app: &App, name: &str, kind: &ExampleKind) -> Option<Result<Vec<Document>, String>> {
    let program = &app.telemetry.about.program;
    let output = match kind {
        ExampleKind::Output(name) => program.outputs.iter().find(|output| output.name == *name),
        ExampleKind::Letter(_) => program.outputs.iter().find(|output| output.reads == Reads::DeadLetters),
        ExampleKind::Rule(_) => None,
    }?;
    let SinkTarget::MongoDb { database, collection, .. } = &output.target else { return None };
    let filter = match kind {
        ExampleKind::Letter(_) => bson::doc! { "reason": name },
        _ => bson::doc! {},
    };
    Some(app.documents.as_ref()?.newest(database, collection, filter).await)
}

fn table(examples: &[Example], is_of_letters: bool) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label="Newest rows" {
            table .cards {
                thead { tr {
                    th scope="col" { "batch time" } th scope="col" .right { "batch" }
                    @if is_of_letters { th scope="col" { "what was found" } } @else { th scope="col" { "_id" } }
                    th scope="col" { "records" } th scope="col" { @if is_of_letters { "value" } @else { "document" } }
                } }
                tbody {
                    @for (number, example) in examples.iter().enumerate() {
                        tr {
                            td data-th="batch time" { (time(example.time_ms)) }
                            td .right data-th="batch" { a href=(format!("/checkpoint/{}", example.batch)) { (example.batch) } }
                            @if is_of_letters {
                                td data-th="what was found" { (visible(example.detail.as_deref().unwrap_or("–"))) }
                            } @else {
                                td data-th="_id" { code { (visible(example.id.as_deref().unwrap_or("–"))) } }
                            }
                            td data-th="records" { (origins(example)) }
                            td data-th=(if is_of_letters { "value" } else { "document" }) {
                                details id=(format!("example-{number}")) {
                                    summary { (bytes_as_text(&example.body).chars().take(60).collect::<String>()) "…" }
                                    pre tabindex="0" { (bytes_as_text(&example.body)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
