//! Records of a topic as they are stored: every digit, every byte; and what became of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::guard::Visitor;
use super::kafka::{AT_THE_ENDS, Found, From, MAX_RECORDS, Search};
use super::page::{bytes_as_text, count, dump, frame, time, visible};
use crate::batch::offset::TopicPartition;
use crate::batch::reason::Reason;
use crate::clock::rfc3339_ms;
use crate::decode::parse_timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::example::{Example, ExampleKind};
use crate::observe::health::bytes as in_bytes;
use crate::observe::history::History;
use crate::source::Record;

/// Bytes of a value that a page shows; the rest is a download.
const MAX_SHOWN: usize = 256 * 1024;

/// Levels of a value that is shown indented.
const MAX_DEPTH: usize = 32;

/// Bytes of a value that the table shows.
const MAX_START: usize = 120;

/// What is asked for; all of it stands in the address.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Asked {
    /// A partition; none or empty: all.
    #[serde(default)]
    p: String,
    /// `newest`, `offset`, `time`, or nothing: nothing is read.
    #[serde(default)]
    from: String,
    /// An offset or a time.
    #[serde(default)]
    at: String,
    /// How many.
    #[serde(default)]
    n: String,
    /// A part of key or value.
    #[serde(default)]
    has: String,
    /// `field=value`.
    #[serde(default)]
    field: String,
    /// Records of open transactions too.
    #[serde(default)]
    iso: String,
    /// `0:4711,1:4702`.
    #[serde(default)]
    after: String,
}

impl Asked {
    fn search(&self, topic: &str) -> Result<Option<Search>> {
        let bad = |what: &str, text: &str| Error::config(format!("{what} can't be \"{text}\""));
        let partition = match self.p.as_str() {
            "" | "all" => None,
            text => Some(text.parse().map_err(|_| bad("a partition", text))?),
        };
        let from = match (self.from.as_str(), self.after.as_str()) {
            (_, after) if !after.is_empty() => {
                let pairs = after.split(',').map(|pair| {
                    let (partition, offset) = pair.split_once(':')?;
                    Some((partition.parse().ok()?, offset.parse().ok()?))
                });
                From::Cursor(
                    pairs
                        .collect::<Option<BTreeMap<i32, i64>>>()
                        .ok_or_else(|| bad("a place to go on", after))?,
                )
            }
            ("", _) => return Ok(None),
            ("newest", _) => From::Newest,
            ("offset", _) => From::Offset(self.at.trim().parse().map_err(|_| bad("an offset", &self.at))?),
            ("time", _) => {
                let text = self.at.trim();
                // What a browser's field gives has no zone, and no seconds if they are zero: it is meant as UTC.
                let end = text
                    .get(11..)
                    .and_then(|rest| rest.find(['Z', '+', '-']))
                    .map_or(text.len(), |at| at + 11);
                let (local, zone) = text.split_at(end);
                let seconds = if local.matches(':').count() == 1 { ":00" } else { "" };
                let zone = if zone.is_empty() { "Z" } else { zone };
                let whole = format!("{local}{seconds}{zone}");
                let nanos = parse_timestamp(&whole).ok_or_else(|| bad("a time", &self.at))?;
                From::Time(i64::try_from(nanos / 1_000_000).map_err(|_| bad("a time", &self.at))?)
            }
            (other, _) => return Err(bad("where to begin", other)),
        };
        let limit = match self.n.as_str() {
            "" => 50,
            text => {
                text.parse::<usize>().map_err(|_| bad("a number of records", text))?.clamp(1, MAX_RECORDS)
            }
        };
        let field = match self.field.as_str() {
            "" => None,
            text => {
                let (name, value) = text.split_once('=').ok_or_else(|| bad("a field and its value", text))?;
                Some((name.trim().to_owned(), value.to_owned()))
            }
        };
        Ok(Some(Search {
            topic: topic.to_owned(),
            partition,
            from,
            limit,
            contains: Some(self.has.clone()).filter(|has| !has.is_empty()),
            field,
            uncommitted: self.iso == "uncommitted",
        }))
    }

    /// The question with another place to begin, as an address below `root`.
    fn address(&self, root: &str, topic: &str, place: &[(&str, &str)]) -> String {
        let filters =
            [("p", &self.p), ("n", &self.n), ("has", &self.has), ("field", &self.field), ("iso", &self.iso)];
        let filters = filters.map(|(name, value)| (name, value.as_str()));
        let pairs = filters.iter().chain(place).filter(|(_, value)| !value.is_empty());
        let pairs: Vec<String> =
            pairs.map(|(name, value)| format!("{name}={}", super::address(value))).collect();
        format!("{root}/topics/{}/messages?{}", super::address(topic), pairs.join("&"))
    }

    /// Where the next page begins.
    fn go_on(&self, topic: &str, next: &BTreeMap<i32, i64>) -> String {
        let after: Vec<String> =
            next.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect();
        self.address("", topic, &[("after", &after.join(","))])
    }

    /// The same for machines.
    fn as_json(&self, topic: &str) -> String {
        self.address("/api", topic, &[("from", &self.from), ("at", &self.at), ("after", &self.after)])
    }
}

/// What became of a record, as far as it is known here.
fn fate(history: &History, next: Option<i64>, tp: &TopicPartition, offset: i64) -> String {
    match next {
        None => return "not read by this program".to_owned(),
        Some(next) if offset >= next => return "not read yet".to_owned(),
        Some(_) => {}
    }
    let batch = history.batches().find(|batch| {
        let mut ranges = batch.sources.iter().flat_map(|source| &source.ranges);
        ranges.any(|(of, range)| of == tp && (range.start..range.end).contains(&offset))
    });
    let is_of_record = |example: &Example| example.origins.iter().any(|(of, at)| of == tp && *at == offset);
    let reason = Reason::ALL
        .into_iter()
        .find(|&reason| history.examples(&ExampleKind::Letter(reason)).any(is_of_record));
    match (batch, reason) {
        (Some(batch), Some(reason)) => format!("batch {}, dead letter: {reason}", batch.batch_id),
        (Some(batch), None) => format!("batch {}", batch.batch_id),
        (None, _) => "read".to_owned(),
    }
}

/// The page.
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Path(topic): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let found = match asked.search(&topic) {
        Ok(Some(search)) => Some(app.browser.read(search).await),
        Ok(None) => None,
        Err(error) => Some(Err(error)),
    };
    let status =
        found.as_ref().map_or(StatusCode::OK, |found| found.as_ref().map_or_else(status, |_| StatusCode::OK));
    let body = html! {
        h1 { "Messages of " (topic) }
        (form(&topic, &asked))
        @match &found {
            None => p .empty { "Nothing was read yet: choose where to begin." },
            Some(Err(error)) => p .banner.look role="alert" { (error.headline()) },
            Some(Ok(found)) => (table(&app, &topic, &asked, found)),
        }
    };
    (status, frame(&app, &visitor, "/topics", &format!("Messages of {topic}"), body)).into_response()
}

fn form(topic: &str, asked: &Asked) -> Markup {
    let from = if asked.from.is_empty() { "newest" } else { &asked.from };
    html! {
        form .fields method="get" action=(format!("/topics/{}/messages", super::address(topic))) {
            label { "From"
                select name="from" {
                    @for (value, name) in [("newest", "the newest"), ("offset", "offset"), ("time", "time (Kafka's, UTC)")] {
                        option value=(value) selected[value == from] { (name) }
                    }
                }
            }
            label { "Offset or time" input type="text" name="at" value=(asked.at) placeholder="4711 or 2026-01-05T10:30"; }
            label { "Partition" input type="text" name="p" value=(asked.p) placeholder="all" inputmode="numeric"; }
            label { "How many" input type="number" name="n" value=(if asked.n.is_empty() { "50" } else { &asked.n }) min="1" max=(MAX_RECORDS); }
            label { "Contains" input type="text" name="has" value=(asked.has); }
            label { "Field" input type="text" name="field" value=(asked.field) placeholder="order_id=o-1"; }
            label .check { input type="checkbox" name="iso" value="uncommitted" checked[asked.iso == "uncommitted"]; " open transactions too" }
            button type="submit" { "Read" }
        }
    }
}

fn table(app: &App, topic: &str, asked: &Asked, found: &Found) -> Markup {
    let next = app.telemetry.next_offsets();
    let records: Vec<(&TopicPartition, Record<'_>)> =
        found.records.iter().flat_map(|of| of.iter().map(move |record| (&of.tp, record))).collect();
    html! {
        p role="status" {
            (count(records.len() as u64)) " records; " (count(found.looked_at)) " looked at, " (in_bytes(found.bytes as u64))
            ", in " (found.took_ms) " ms; ended " (found.ended) ". "
            @if !found.next.is_empty() && found.ended != AT_THE_ENDS {
                a href=(asked.go_on(topic, &found.next)) { "Go on from here" } " · "
            }
            a href=(asked.as_json(topic)) { "as JSON" }
        }
        div .scroll tabindex="0" role="region" aria-label="Records" {
            table .cards .records {
                thead { tr {
                    th scope="col" { "partition@offset" } th scope="col" { "Kafka time" } th scope="col" { "key" } th scope="col" { "value" }
                    th scope="col" .right { "bytes" } th scope="col" { "fate" }
                } }
                tbody {
                    @for (tp, record) in &records {
                        @let fate = app.telemetry.history(|history| fate(history, next.get(tp).copied(), tp, record.offset()));
                        tr {
                            td data-th="partition@offset" { (tp.partition) "@" (count(record.offset().unsigned_abs())) }
                            td data-th="Kafka time" { (time(record.timestamp_ms())) }
                            td data-th="key" { @match record.key() { Some(key) => code { (start(key)) }, None => span .muted { "none" } } }
                            td data-th="value" { (value_of(tp, record)) }
                            td .right data-th="bytes" { (count(record.value().map_or(0, <[u8]>::len) as u64)) }
                            td data-th="fate" { (fate) }
                        }
                    }
                }
            }
        }
    }
}

fn value_of(tp: &TopicPartition, record: &Record<'_>) -> Markup {
    let Some(value) = record.value() else { return html! { span .muted { "tombstone" } } };
    let (shown, is_cut) = (&value[..value.len().min(MAX_SHOWN)], value.len() > MAX_SHOWN);
    let headers: Vec<_> = record.headers().collect();
    html! {
        details id=(format!("r{}-{}", tp.partition, record.offset())) {
            summary { code { (start(value)) } }
            @if let Some(pretty) = pretty(shown).filter(|_| !is_cut) {
                p .form { "indented, every digit as it is stored" } pre tabindex="0" { (pretty) }
            }
            p .form { "as it is stored" } pre tabindex="0" { (bytes_as_text(shown)) }
            details { summary { "bytes" } pre tabindex="0" { (dump(&shown[..shown.len().min(4096)])) } }
            @if !headers.is_empty() {
                p .form { "headers" }
                ul { @for (name, value) in &headers { li { code { (visible(name)) } ": "
                    @match value { Some(value) => code { (bytes_as_text(value)) }, None => "null" } } } }
            }
            p { a href=(format!("/topics/{}/value?p={}&o={}", super::address(&tp.topic), tp.partition, record.offset())) download {
                @if is_cut { "Download all of it" } @else { "Download" } } }
        }
    }
}

/// Indented without being parsed: digits, order and repeated names stay; `None` for what is no JSON.
fn pretty(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    // Each level indents all that is in it: what is deep would become much longer than it is.
    if depth(text) > MAX_DEPTH {
        return None;
    }
    jsonxf::pretty_print(text).ok().map(|text| visible(&text))
}

/// How deep the objects and lists of a JSON text are nested.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut is_escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn start(value: &[u8]) -> String {
    let mut end = value.len().min(MAX_START);
    if let Ok(text) = std::str::from_utf8(value) {
        while !text.is_char_boundary(end) {
            end -= 1;
        }
    }
    let mut text = match std::str::from_utf8(&value[..end]) {
        Ok(text) => visible(text),
        Err(_) => value[..end.min(32)].iter().map(|byte| format!("{byte:02x} ")).collect(),
    };
    if end < value.len() {
        text.push('…');
    }
    text
}

/// One value, to keep.
#[derive(Debug, Deserialize)]
pub(super) struct OneValue {
    p: i32,
    o: i64,
}

/// The bytes of a value.
pub(super) async fn value(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Path(topic): Path<String>,
    Query(OneValue { p, o }): Query<OneValue>,
) -> Response {
    super::login::audit(
        &visitor,
        visitor.user.as_ref().map_or("-", |user| &user.name),
        &format!("download {topic:?}/{p}@{o}"),
    );
    match app.browser.record(&topic, p, o).await {
        Ok(Some(records)) => {
            let bytes = records.get(0).value().unwrap_or_default().to_vec();
            let mut answer = bytes.into_response();
            let headers = answer.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            if let Ok(name) = HeaderValue::try_from(format!("attachment; filename=\"record-{p}-{o}.bin\"")) {
                headers.insert(header::CONTENT_DISPOSITION, name);
            }
            answer
        }
        Ok(None) => (StatusCode::NOT_FOUND, "There is no record at that offset.").into_response(),
        Err(error) => refused(&error),
    }
}

fn status(error: &Error) -> StatusCode {
    match error.kind() {
        ErrorKind::Config => StatusCode::BAD_REQUEST,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// An error as an answer for machines.
pub(super) fn refused(error: &Error) -> Response {
    (status(error), axum::Json(json!({ "error": error.headline() }))).into_response()
}

/// The same for machines.
pub(super) async fn json(
    State(app): State<Arc<App>>,
    Path(topic): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let found = match asked.search(&topic) {
        Ok(Some(search)) => app.browser.read(search).await,
        Ok(None) => Ok(Found::default()),
        Err(error) => Err(error),
    };
    match found {
        Err(error) => refused(&error),
        Ok(found) => axum::Json(json!({
            "records": found.records.iter().flat_map(|of| of.iter().map(|record| record_json(&of.tp, &record))).collect::<Vec<_>>(),
            "lookedAt": found.looked_at,
            "bytes": found.bytes,
            "tookMs": found.took_ms,
            "ended": found.ended,
            "next": found.next,
        }))
        .into_response(),
    }
}

/// Bytes as text where they are UTF-8, else as base64.
fn record_json(tp: &TopicPartition, record: &Record<'_>) -> Value {
    let bytes = |bytes: Option<&[u8]>| match bytes {
        None => Value::Null,
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
        },
    };
    json!({
        "topic": *tp.topic,
        "partition": tp.partition,
        "offset": record.offset(),
        "timestamp": rfc3339_ms(record.timestamp_ms()),
        "key": bytes(record.key()),
        "value": bytes(record.value()),
        "headers": record.headers().map(|(name, value)| json!([name, bytes(value)])).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stay_as_they_are_stored() {
        let value = br#"{"amount":12.500,"id":12345678901234567890,"id":1}"#;
        let text = pretty(value).expect("JSON");
        assert!(
            text.contains("12.500") && text.contains("12345678901234567890") && text.contains("\"id\": 1"),
            "{text}"
        );
        assert_eq!(pretty(b"{"), None);
        assert_eq!(pretty(b"\xff"), None);
        let deep = [vec![b'['; 10_000], vec![b']'; 10_000]].concat();
        assert_eq!(pretty(&deep), None);
        assert_eq!(depth(r#"{"a]":["\"[",[1]]}"#), 3);
        assert_eq!(start("ä".repeat(100).as_bytes()), format!("{}…", "ä".repeat(60)));
        assert_eq!(start(b"\xff\x00"), "ff 00 ");
    }

    #[test]
    fn a_place_to_begin_is_an_offset_a_time_or_where_a_page_ended() {
        let asked = |from: &str, at: &str, after: &str| {
            let asked = Asked {
                from: from.to_owned(),
                at: at.to_owned(),
                after: after.to_owned(),
                ..Asked::default()
            };
            asked.search("orders").map(|search| search.map(|search| search.from))
        };
        assert_eq!(asked("", "", "").expect("nothing"), None);
        assert_eq!(asked("newest", "", "").expect("fits"), Some(From::Newest));
        assert_eq!(asked("offset", " 4711", "").expect("fits"), Some(From::Offset(4711)));
        for text in [
            "2026-01-05T10:30",
            "2026-01-05T10:30:00",
            "2026-01-05T10:30:00Z",
            "2026-01-05T11:30:00+01:00",
            "2026-01-05T05:30-05:00",
        ] {
            assert_eq!(asked("time", text, "").expect(text), Some(From::Time(1_767_609_000_000)), "{text}");
        }
        assert_eq!(asked("", "", "0:5,2:7").expect("fits"), Some(From::Cursor([(0, 5), (2, 7)].into())));
        for (from, at, after) in
            [("offset", "x", ""), ("time", "noon", ""), ("never", "", ""), ("", "", "0:"), ("", "", "a")]
        {
            assert!(asked(from, at, after).is_err(), "{from} {at} {after}");
        }
    }
}
