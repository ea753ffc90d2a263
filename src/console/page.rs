//! The frame of every page, and how numbers, times and foreign text stand in it.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::App;
use super::assets::{ICON, SCRIPT, STYLE};
use super::guard::Visitor;
use super::users::Role;
use crate::clock::{Nanos, rfc3339_ms};
use crate::observe::health::{Severity, number};
use crate::observe::progress::to_ms;
use crate::query::folder::hex;

/// The pages of the menu: address and name.
const MENU: [(&str, &str); 6] = [
    ("/", "Overview"),
    ("/topics", "Topics"),
    ("/query", "Query"),
    ("/rules", "Rules"),
    ("/outcomes", "Outcomes"),
    ("/checkpoint", "Checkpoint"),
];

/// The name of a page of the menu.
pub(super) fn page_name(address: &str) -> &'static str {
    MENU.iter().find(|(of_page, _)| *of_page == address).map_or("Overview", |(_, name)| *name)
}

/// A page as an answer.
pub(super) fn html_page(markup: &Markup) -> Response {
    Html(markup.0.clone()).into_response()
}

/// A part of a page that is asked for again and again: nothing is sent if it is as it was.
pub(super) fn fragment(asked: &HeaderMap, markup: Markup) -> Response {
    let etag = format!("\"{}\"", &hex(&Sha256::digest(markup.0.as_bytes()))[..24]);
    let is_known = asked.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let mut answer = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Html(markup.0).into_response(),
    };
    if let Ok(etag) = HeaderValue::try_from(etag) {
        answer.headers_mut().insert(header::ETAG, etag);
    }
    answer
}

/// A page without menu.
pub(super) fn bare(title: &str, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · ecomm-batch" }
                link rel="stylesheet" href=(STYLE.address());
                link rel="icon" type="image/svg+xml" href=(ICON.address());
                script src=(SCRIPT.address()) {}
            }
            body { (body) }
        }
    }
}

/// A page with menu, search and who is logged in.
pub(super) fn frame(app: &App, visitor: &Visitor, current: &str, title: &str, body: Markup) -> Response {
    let user = visitor.user.as_ref();
    let is_read_only = user.is_none_or(|user| user.role == Role::Read);
    html_page(&bare(
        title,
        html! {
            a .skip href="#main" { "Skip to the page" }
            @if app.users.is_development() {
                p .development role="note" { strong { "Development login: " } "anyone on this machine can enter." }
            }
            header .top {
                a .brand href="/" { "ecomm-batch" }
                span .muted .name { (app.telemetry.about.program.view.name) }
                form .find role="search" action="/record" method="get" {
                    @let keys = super::life::keys(&app.telemetry.about.program);
                    select name="by" aria-label="Search by" {
                        @for key in &keys { option value=(key) { (key) } }
                    }
                    input type="search" name="value" placeholder="find a record…" aria-label="Value to find" required;
                    button type="submit" { "Find" }
                }
                div .who {
                    button type="button" data-switch="zone" aria-pressed="false" hidden { "local time" }
                    button type="button" data-switch="theme" aria-pressed="false" hidden { "theme" }
                    span .muted {
                        (user.map_or("", |user| user.name.as_str()))
                        @if is_read_only { " (read-only)" }
                    }
                    form method="post" action="/logout" { button type="submit" { "Log out" } }
                }
                nav aria-label="Pages" {
                    @for (address, name) in MENU {
                        @let is_current = address == current;
                        a href=(address) aria-current=[is_current.then_some("page")] { (name) }
                    }
                }
            }
            main #main { (body) }
        },
    ))
}

/// A part that refreshes itself every `seconds`; without script the whole page does.
pub(super) fn live(address: &str, seconds: u32, first: &Markup) -> Markup {
    html! {
        noscript { p .muted { "Without script this is as of the last load." } }
        div data-live=(address) data-every=(seconds) { (PreEscaped(&first.0)) }
    }
}

/// The sentence about how fresh a live part is; the script fills it.
pub(super) fn freshness() -> Markup {
    html! { span .muted .fresh data-fresh { "as of the last load" } }
}

/// A filled badge: a shape and a word, not a colour alone.
pub(super) fn badge(severity: Severity) -> Markup {
    let shape = match severity {
        Severity::Ok => "✓",
        Severity::Look => "!",
        Severity::Wrong => "✕",
    };
    html! { span .badge .(severity.name()) { span aria-hidden="true" { (shape) } span .sr { (severity.name()) } } }
}

/// A time with its zone; the script can turn it into local time.
pub(super) fn time(ms: i64) -> Markup {
    let iso = rfc3339_ms(ms);
    // To the millisecond, always as long.
    let whole = rfc3339_ms(ms.div_euclid(1000) * 1000);
    let text = whole.trim_end_matches('Z').replacen('T', " ", 1);
    html! { time datetime=(iso) { (text) "." (format!("{:03}", ms.rem_euclid(1000))) " UTC" } }
}

/// An event time, or a dash.
pub(super) fn event_time(nanos: Option<Nanos>) -> Markup {
    match nanos {
        Some(nanos) => time(to_ms(nanos)),
        None => html! { "–" },
    }
}

/// A count with commas.
pub(super) fn count(count: u64) -> Markup {
    html! { span .num { (number(count)) } }
}

/// Foreign text as it can be shown: what would change the direction of writing, or can't be seen, by its number.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let is_hidden = character.is_control() && character != '\n' && character != '\t'
            || matches!(u32::from(character), 0x00AD | 0x061C | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0xFEFF | 0xFFF9..=0xFFFB | 0xE0000..=0xE007F);
        match is_hidden {
            true => shown.push_str(&format!("⟨U+{:04X}⟩", u32::from(character))),
            false => shown.push(character),
        }
    }
    shown
}

/// Bytes as text where they are UTF-8, else as hexadecimal digits.
pub(super) fn bytes_as_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => visible(text),
        Err(_) => dump(bytes),
    }
}

/// Sixteen bytes a line: offset, hexadecimal digits, what can be read.
pub(super) fn dump(bytes: &[u8]) -> String {
    let line = |(number, chunk): (usize, &[u8])| {
        let digits: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let readable: String = chunk
            .iter()
            .map(|&byte| if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '.' })
            .collect();
        format!("{:08x}  {:47}  {readable}", number * 16, digits.join(" "))
    };
    bytes.chunks(16).enumerate().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_their_zone_and_all_their_digits() {
        assert_eq!(
            time(1_767_609_064_020).0,
            "<time datetime=\"2026-01-05T10:31:04.020Z\">2026-01-05 10:31:04.020 UTC</time>"
        );
        assert_eq!(
            time(-1).0,
            "<time datetime=\"1969-12-31T23:59:59.999Z\">1969-12-31 23:59:59.999 UTC</time>"
        );
    }

    #[test]
    fn what_can_not_be_seen_is_shown_by_its_number() {
        assert_eq!(visible("a\u{202E}b\u{0}c\td"), "a⟨U+202E⟩b⟨U+0000⟩c\td");
        assert_eq!(bytes_as_text("Käse".as_bytes()), "Käse");
        assert_eq!(
            bytes_as_text(b"\xff<b>"),
            "00000000  ff 3c 62 3e                                      .<b>"
        );
    }
}
