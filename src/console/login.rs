//! Logging in: by name and password, or by a link that is good once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Extension, Form, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::App;
use super::guard::Visitor;
use super::page::{bare, html_page};
use super::traffic::Login;
use super::users::User;

/// Bytes of a name or a password that are looked at.
const MAX_FIELD: usize = 256;

/// `GET /login`.
#[derive(Debug, Deserialize)]
pub(super) struct Once {
    once: Option<String>,
}

/// `POST /login`.
#[derive(Deserialize)]
pub(super) struct Secrets {
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: String,
    once: Option<String>,
}

/// The form; with a link one button, so that whoever only looks at the link (a scanner, a prefetch) does not use it up.
pub(super) async fn show(State(app): State<Arc<App>>, Query(query): Query<Once>) -> Response {
    form(&app, query.once.as_deref(), None).into_response()
}

fn form(app: &App, once: Option<&str>, problem: Option<&str>) -> Response {
    let body: Markup = html! {
        main #main .login {
            h1 { "ecomm-batch" span .muted { " on " (app.telemetry.about.brokers) } }
            @if app.users.is_development() {
                p .banner.wrong role="note" { strong { "Development login: " } "anyone on this machine can enter." }
            }
            @if let Some(problem) = problem { p .banner.wrong role="alert" { (problem) } }
            form method="post" action="/login" {
                @if let Some(once) = once {
                    input type="hidden" name="once" value=(once);
                    p { "This link logs in once, as " strong { "admin" } "." }
                    button type="submit" autofocus { "Log in as admin" }
                } @else {
                    label { "Name" input type="text" name="name" autocomplete="username" required autofocus; }
                    label { "Password" input type="password" name="password" autocomplete="current-password" required; }
                    button type="submit" { "Log in" }
                }
            }
            @if once.is_none() && app.users.is_by_link() {
                p .muted { "The first link was printed where the engine was started: "
                    code { "ecomm-batch console link" } " shows a new one." }
            }
        }
    };
    html_page(&bare("Log in", body))
}

/// Logs in and sends the browser to the first page, so that a link's secret leaves the address bar.
pub(super) async fn log_in(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Form(secrets): Form<Secrets>,
) -> Response {
    let now = Instant::now();
    if let Some(once) = &secrets.once {
        return match app.users.use_link(once, now) {
            Some(user) => {
                app.traffic.login(Login::Ok);
                app.renew_link();
                enter(&app, &visitor, user, now)
            }
            None => {
                app.traffic.login(Login::Wrong);
                audit(&visitor, "-", "a link that is not good any more");
                let problem = "This link is not good any more: `ecomm-batch console link` shows a new one.";
                (StatusCode::UNAUTHORIZED, form(&app, None, Some(problem))).into_response()
            }
        };
    }
    let name: String = secrets.name.chars().take(MAX_FIELD).collect();
    let password: String = secrets.password.chars().take(MAX_FIELD).collect();
    let address = format!("@{}", visitor.address);
    // Wrong guesses of others keep nobody out who is logged in already, or who makes none from where they are.
    let is_slowed_by_name = !app.sessions.has(&name, now) && app.guesses.has(&address, now);
    let by_name = is_slowed_by_name.then(|| app.guesses.wait(&name, now)).flatten();
    if let Some(wait) = app.guesses.wait(&address, now).max(by_name) {
        app.traffic.login(Login::Slowed);
        audit(&visitor, &name, "slowed down");
        return slowed(&app, wait);
    }
    // Wrong until it is known to be right: guesses that come at once are counted before the first is answered.
    app.guesses.wrong(&name, now);
    app.guesses.wrong(&address, now);
    match app.users.check(&name, &password).await {
        Some(user) => {
            app.traffic.login(Login::Ok);
            app.guesses.right(&name);
            app.guesses.right(&address);
            enter(&app, &visitor, user, now)
        }
        None => {
            app.traffic.login(Login::Wrong);
            audit(&visitor, &name, "wrong password");
            (StatusCode::UNAUTHORIZED, form(&app, None, Some("Name or password is wrong."))).into_response()
        }
    }
}

fn slowed(app: &App, wait: Duration) -> Response {
    let seconds = wait.as_secs() + 1;
    let problem = format!("Too many tries. Again in {seconds} s.");
    let mut answer = (StatusCode::TOO_MANY_REQUESTS, form(app, None, Some(&problem))).into_response();
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

fn enter(app: &App, visitor: &Visitor, user: User, now: Instant) -> Response {
    if let Some(before) = &visitor.session {
        app.sessions.end(before);
    }
    audit(visitor, &user.name, "logged in");
    let id = app.sessions.begin(user, now);
    with_cookie(app, &id, "Max-Age=43200")
}

/// Logs out: other tabs of the browser find out with their next look.
pub(super) async fn log_out(State(app): State<Arc<App>>, Extension(visitor): Extension<Visitor>) -> Response {
    if let Some(id) = &visitor.session {
        app.sessions.end(id);
        audit(&visitor, visitor.user.as_ref().map_or("-", |user| &user.name), "logged out");
    }
    let mut answer = with_cookie(&app, "", "Max-Age=0");
    if let Ok(to) = HeaderValue::try_from("/login") {
        answer.headers_mut().insert(header::LOCATION, to);
    }
    answer
}

fn with_cookie(app: &App, id: &str, life: &str) -> Response {
    let secure = if app.hosts.is_secure() { "; Secure" } else { "" };
    let cookie = format!("{}={id}; Path=/; HttpOnly; SameSite=Strict; {life}{secure}", app.cookie);
    let mut answer = Redirect::to("/").into_response();
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}

/// Who did what, from where; a name is what somebody typed, so it is quoted.
pub(super) fn audit(visitor: &Visitor, name: &str, what: &str) {
    tracing::info!("console: {name:?} from {}: {what}", visitor.address);
}
