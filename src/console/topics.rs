//! Topics: their partitions, how far each is read, what holds the watermark; and new ones.

use std::sync::Arc;

use axum::extract::{Extension, Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::App;
use super::guard::Visitor;
use super::login::audit;
use super::page::{count, event_time, fragment, frame, freshness, live as live_part, time};
use super::users::Role;
use crate::batch::offset::TopicPartition;
use crate::batch::watermark::HeldBy;
use crate::error::Result;
use crate::observe::lag::Lag;
use crate::source::topics::Topics;

/// Partitions and replicas of a topic that is created here, at most.
const MAX_PARTITIONS: i32 = 1_000;

/// The page.
pub(super) async fn page(State(app): State<Arc<App>>, Extension(visitor): Extension<Visitor>) -> Response {
    let topics = app.browser.topics().await;
    let may_create = visitor.user.as_ref().is_some_and(|user| user.role == Role::Full);
    let body = html! {
        h1 { "Topics" }
        (live_part("/live/topics", 5, &read_topics(&app)))
        h2 { "All topics of the cluster" }
        (all(&topics))
        @if may_create { (create_form(None)) }
    };
    frame(&app, &visitor, "/topics", "Topics", body)
}

/// The topics that the program reads.
pub(super) async fn live(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    fragment(&headers, read_topics(&app))
}

fn read_topics(app: &App) -> Markup {
    let telemetry = &app.telemetry;
    let (lag, next) = (telemetry.lag(), telemetry.next_offsets());
    let last = telemetry.history(|history| history.last().cloned());
    let holder = last.as_ref().and_then(|batch| match &batch.held_by {
        HeldBy::Slowest(tp, _) | HeldBy::Unread(tp) => Some(tp.clone()),
        _ => None,
    });
    let state = |tp: &TopicPartition| match &last {
        Some(batch) if holder.as_ref() == Some(tp) => format!("holds the watermark: {}", batch.held_by),
        _ => String::new(),
    };
    html! {
        p .muted {
            @match (&lag.failed, lag.at_ms) {
                (Some((since, error)), _) => { "The broker has not answered since " (time(*since)) ": " (error) ". " },
                (None, Some(at)) => { "The ends of the partitions as of " (time(at)) ". " },
                (None, None) => "The ends of the partitions are not known yet. ",
            }
            (freshness())
        }
        @for source in &telemetry.about.program.sources {
            section {
                h2 { (source.topic) " " a .more href=(format!("/topics/{}/messages", super::address(&source.topic))) { "Messages" } }
                div .scroll tabindex="0" role="region" aria-label=(format!("Partitions of {}", source.topic)) {
                    table .cards {
                        thead { tr {
                            th scope="col" .right { "partition" } th scope="col" .right { "earliest" } th scope="col" .right { "read next" }
                            th scope="col" .right { "end" } th scope="col" .right { "behind" } th scope="col" { "newest event time" }
                            th scope="col" { "state" }
                        } }
                        tbody {
                            @for (tp, extent) in lag.extents.iter().filter(|(tp, _)| tp.topic == source.topic) {
                                @let clock = last.as_ref().and_then(|batch| batch.clocks.get(tp).copied()).unwrap_or_default();
                                tr {
                                    td .right data-th="partition" { (tp.partition) }
                                    td .right data-th="earliest" { (count(extent.earliest.unsigned_abs())) }
                                    td .right data-th="read next" { @match next.get(tp) { Some(&offset) => (count(offset.unsigned_abs())), None => "–" } }
                                    td .right data-th="end" { (count(extent.latest.max(next.get(tp).copied().unwrap_or(0)).unsigned_abs())) }
                                    td .right data-th="behind" { (count(Lag::of(*extent, next.get(tp).copied()))) }
                                    td data-th="newest event time" { (event_time(clock.max_event_time)) }
                                    td data-th="state" { (state(tp)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn all(topics: &Result<Topics>) -> Markup {
    html! {
        @match topics {
            Err(error) => p .banner.look role="note" { (error.headline()) },
            Ok(topics) => div .scroll tabindex="0" role="region" aria-label="All topics" {
                table .cards {
                    thead { tr { th scope="col" { "topic" } th scope="col" .right { "partitions" } th scope="col" .right { "offsets held" } } }
                    tbody {
                        @for (name, partitions) in topics {
                            tr {
                                td data-th="topic" { a href=(format!("/topics/{}/messages", super::address(name))) { (name) } }
                                td .right data-th="partitions" { (partitions.len()) }
                                td .right data-th="offsets held" {
                                    (count(partitions.values().map(|extent| (extent.latest - extent.earliest).unsigned_abs()).sum()))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn create_form(problem: Option<&str>) -> Markup {
    html! {
        h2 #create { "Create a topic" }
        @if let Some(problem) = problem { p .banner.wrong role="alert" { (problem) } }
        form .fields method="post" action="/topics" {
            label { "Name" input type="text" name="topic" required pattern="[A-Za-z0-9._\\-]{1,249}"; }
            label { "Partitions" input type="number" name="partitions" value="3" min="1" max=(MAX_PARTITIONS); }
            label { "Replicas" input type="number" name="replication" value="1" min="1" max="9"; }
            button type="submit" { "Create" }
        }
        p .muted { "The same: " code { "ecomm-batch topics create NAME --partitions 3 --replication 1" } }
    }
}

/// A topic to create.
#[derive(Debug, Deserialize)]
pub(super) struct NewTopic {
    topic: String,
    partitions: i32,
    replication: i32,
}

/// Creates a topic.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Form(new): Form<NewTopic>,
) -> Response {
    let name = visitor.user.as_ref().map_or("-", |user| &user.name);
    let created = match check(&new) {
        Ok(()) => {
            let config = app.browser.config();
            crate::source::topics::create(config, &new.topic, new.partitions, new.replication)
                .await
                .map_err(|e| e.headline())
        }
        Err(problem) => Err(problem),
    };
    let problem = match created {
        Ok(true) => None,
        Ok(false) => Some(format!("There is a topic \"{}\" already.", new.topic)),
        Err(problem) => Some(problem),
    };
    let outcome = problem.as_deref().unwrap_or("created");
    audit(&visitor, name, &format!("create topic {:?}, {} partitions: {outcome}", new.topic, new.partitions));
    match problem {
        None => Redirect::to("/topics").into_response(),
        Some(problem) => {
            let body = html! { h1 { "Topics" } (create_form(Some(&problem))) };
            (StatusCode::BAD_REQUEST, frame(&app, &visitor, "/topics", "Topics", body)).into_response()
        }
    }
}

/// Kafka's own rule for names, and numbers that are meant.
fn check(new: &NewTopic) -> std::result::Result<(), String> {
    let is_name = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if new.topic.is_empty()
        || new.topic.len() > 249
        || !is_name(&new.topic)
        || [".", ".."].contains(&new.topic.as_str())
    {
        return Err(
            "A topic's name has letters, digits, dots, hyphens and underscores, 249 at most.".to_owned()
        );
    }
    if !(1..=MAX_PARTITIONS).contains(&new.partitions) || !(1..=9).contains(&new.replication) {
        return Err(format!("A topic has 1 to {MAX_PARTITIONS} partitions and 1 to 9 replicas."));
    }
    Ok(())
}
