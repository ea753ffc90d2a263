//! Every route of the console, and who may use it.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post};
use axum::{Router, handler::Handler};
use tower_http::catch_panic::CatchPanicLayer;

use super::sessions::random_token;
use super::{
    App, api, assets, checkpoint, guard, life, login, messages, outcomes, overview, probes, query, rules,
    topics,
};

/// Bytes of a form.
const MAX_BODY: usize = 16 * 1024;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody who reaches the port: it says nothing of the data.
    Open,
    /// Whoever is logged in.
    Read,
    /// Whoever may change something.
    Full,
}

/// One route.
struct Route {
    method: Method,
    path: &'static str,
    access: Access,
    handler: MethodRouter<Arc<App>>,
}

fn read<H: Handler<T, Arc<App>>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { method: Method::GET, path, access: Access::Read, handler: get(handler) }
}

fn open<H: Handler<T, Arc<App>>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { method: Method::GET, path, access: Access::Open, handler: get(handler) }
}

fn change<H: Handler<T, Arc<App>>, T: 'static>(path: &'static str, access: Access, handler: H) -> Route {
    Route { method: Method::POST, path, access, handler: post(handler) }
}

fn routes() -> Vec<Route> {
    vec![
        open("/healthz", probes::healthz),
        open("/readyz", probes::readyz),
        open("/assets/{name}", assets::serve),
        open("/login", login::show),
        change("/login", Access::Open, login::log_in),
        change("/logout", Access::Open, login::log_out),
        read("/metrics", probes::metrics),
        read("/", overview::page),
        read("/live/overview", overview::live),
        read("/topics", topics::page),
        change("/topics", Access::Full, topics::create),
        read("/live/topics", topics::live),
        read("/topics/{topic}/messages", messages::page),
        read("/topics/{topic}/value", messages::value),
        read("/query", query::page),
        read("/live/query", query::live),
        read("/rules", rules::page),
        read("/rules/{rule}", rules::one),
        read("/outcomes", outcomes::page),
        read("/record", life::page),
        read("/checkpoint", checkpoint::page),
        read("/checkpoint/{batch}", checkpoint::batch),
        read("/api/status", api::status),
        read("/api/progress", api::progress),
        read("/api/topics", api::topics),
        read("/api/topics/{topic}/messages", messages::json),
        read("/api/query", api::query),
        read("/api/rules", api::rules),
        read("/api/outcomes", api::outcomes),
        read("/api/record", life::json),
        read("/api/checkpoint", api::checkpoint),
    ]
}

/// Who may use `method` on the route `path`, as it is written above; `None` if there is none.
pub(super) fn access(method: &Method, path: &str) -> Option<Access> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let rules = ACCESS
        .get_or_init(|| routes().into_iter().map(|route| (route.method, route.path, route.access)).collect());
    rules.iter().find(|(of, at, _)| of == method && *at == path).map(|&(.., access)| access)
}

static ACCESS: std::sync::OnceLock<Vec<(Method, &'static str, Access)>> = std::sync::OnceLock::new();

/// The console as a service.
pub(super) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for route in routes() {
        router = router.route(route.path, route.handler);
    }
    router
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(Arc::clone(&app), guard::guard))
        .with_state(app)
}

/// The metrics alone, for a port without login.
pub(super) fn metrics_router(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(probes::metrics))
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
        .with_state(app)
}

/// A bug: the log has what happened, the browser its number.
fn panicked(cause: Box<dyn std::any::Any + Send>) -> axum::response::Response {
    let request = random_token();
    let cause =
        cause.downcast_ref::<String>().map(String::as_str).or_else(|| cause.downcast_ref::<&str>().copied());
    tracing::error!("the console failed, request {request}: {}", cause.unwrap_or("for a reason unknown"));
    let text = format!("Something went wrong in the console; the engine goes on. Request {request}.");
    (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text)
        .into_response()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use axum::body::Body;
    use axum::http::{HeaderMap, Request};
    use tower::ServiceExt;

    use super::super::guard::Hosts;
    use super::super::kafka::Browser;
    use super::super::link::LinkFile;
    use super::super::users::{Role, User, Users, UsersFrom};
    use super::*;
    use crate::batch::trigger::Trigger;
    use crate::checkpoint::Location;
    use crate::clock::ManualClock;
    use crate::now::NowCell;
    use crate::observe::{About, Telemetry};
    use crate::query::Program;
    use crate::query::folder::SqlFolder;
    use crate::source::kafka::KafkaConfig;

    const HOST: &str = "127.0.0.1:9021";
    const ORIGIN: &str = "http://127.0.0.1:9021";

    /// A console in front of nothing: no broker answers, there is no checkpoint.
    fn app() -> Arc<App> {
        let folder = SqlFolder::read(Path::new("sql"), |_| None).expect("reads");
        let about = About {
            program: Arc::new(Program::plan(folder).expect("plans")),
            brokers: "127.0.0.1:1".to_owned(),
            checkpoint: Location::Folder("/nowhere/checkpoint".into()),
            trigger: Trigger::Once,
            started_ms: 0,
        };
        let address = HOST.parse().expect("an address");
        Arc::new(App {
            telemetry: Arc::new(Telemetry::new(about, NowCell::default(), Arc::new(ManualClock::new(0)))),
            asker: None,
            browser: Browser::new(KafkaConfig::new("127.0.0.1:1", Default::default())),
            documents: None,
            users: Users::new(UsersFrom::Link).expect("users"),
            sessions: Default::default(),
            guesses: Default::default(),
            traffic: Default::default(),
            hosts: Hosts::new(address, None),
            cookie: "ecomm_batch_9021".to_owned(),
            link: Arc::new(LinkFile::of(address)),
        })
    }

    async fn ask(app: &Arc<App>, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let answer = router(Arc::clone(app)).oneshot(request).await.expect("answers");
        let (head, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
        (head.status, head.headers, String::from_utf8_lossy(&body).into_owned())
    }

    fn request(method: &Method, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).expect("a request")
    }

    /// A route with something in each of its places.
    fn filled(path: &str) -> String {
        ["topic", "rule", "batch", "name"]
            .iter()
            .fold(path.to_owned(), |path, place| path.replace(&format!("{{{place}}}"), "x"))
    }

    fn session(app: &App, role: Role) -> String {
        let user = User { name: "ada".to_owned(), role, login: [0; 32] };
        format!("ecomm_batch_9021={}", app.sessions.begin(user, Instant::now()))
    }

    #[tokio::test]
    async fn every_route_but_the_open_ones_asks_who_it_is() {
        let app = app();
        let over = session(&app, Role::Full);
        app.sessions.end(over.split_once('=').expect("a cookie").1);
        for Route { method, path, access, .. } in routes() {
            for cookie in
                ["", "ecomm_batch_9021=", "ecomm_batch_9021=0123456789abcdef0123456789abcdef", &over]
            {
                let headers = [("host", HOST), ("origin", ORIGIN), ("cookie", cookie)];
                let (status, headers, body) = ask(&app, request(&method, &filled(path), &headers)).await;
                let is_refused = status == StatusCode::UNAUTHORIZED
                    || status == StatusCode::SEE_OTHER && headers["location"] == "/login";
                let is_open = access == Access::Open;
                assert!(
                    is_refused != is_open || path == "/logout" || path == "/login",
                    "{method} {path} {cookie}: {status} {body}"
                );
                assert!(is_open || body.len() < 100, "{method} {path}: {body}");
                for name in
                    ["content-security-policy", "x-content-type-options", "referrer-policy", "cache-control"]
                {
                    assert!(headers.contains_key(name), "{method} {path}: no {name}");
                }
                assert!(!headers.contains_key("access-control-allow-origin"));
            }
        }
    }

    #[tokio::test]
    async fn another_host_or_origin_is_refused_before_anything_else() {
        let app = app();
        let cookie = session(&app, Role::Full);
        for host in ["evil.example", "127.0.0.1.nip.io:9021", "localhost", "127.0.0.1:80", ""] {
            let (status, ..) =
                ask(&app, request(&Method::GET, "/", &[("host", host), ("cookie", &cookie)])).await;
            assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{host}");
        }
        let twice = [("host", HOST), ("host", HOST), ("cookie", cookie.as_str())];
        assert_eq!(ask(&app, request(&Method::GET, "/", &twice)).await.0, StatusCode::MISDIRECTED_REQUEST);
        let absolute =
            request(&Method::GET, "http://127.0.0.1:9021/", &[("host", HOST), ("cookie", &cookie)]);
        assert_eq!(ask(&app, absolute).await.0, StatusCode::MISDIRECTED_REQUEST);
        for more in [
            &[][..],
            &[("origin", "null")],
            &[("origin", "http://evil.example")],
            &[("origin", "http://localhost:9021")],
            &[("origin", ORIGIN), ("sec-fetch-site", "cross-site")],
            &[("origin", ORIGIN), ("sec-fetch-site", "same-site")],
        ] {
            for path in ["/topics", "/login", "/logout"] {
                let headers = [&[("host", HOST), ("cookie", cookie.as_str())], more].concat();
                let (status, ..) = ask(&app, request(&Method::POST, path, &headers)).await;
                assert_eq!(status, StatusCode::FORBIDDEN, "{path} {more:?}");
            }
        }
        assert!(app.sessions.has("ada", Instant::now()), "nothing was changed");
    }

    #[tokio::test]
    async fn who_may_only_read_changes_nothing() {
        let app = app();
        let cookie = session(&app, Role::Read);
        let headers = [("host", HOST), ("origin", ORIGIN), ("cookie", cookie.as_str())];
        for Route { method, path, access, .. } in routes() {
            let is_slow = path.contains("topics") || path.contains("record");
            if access == Access::Open || is_slow && method == Method::GET {
                continue;
            }
            let (status, ..) = ask(&app, request(&method, &filled(path), &headers)).await;
            assert_eq!(status == StatusCode::FORBIDDEN, access == Access::Full, "{method} {path}: {status}");
        }
    }

    #[tokio::test]
    async fn what_is_no_route_is_not_found() {
        let app = app();
        let cookie = session(&app, Role::Full);
        let headers = [("host", HOST), ("origin", ORIGIN), ("cookie", cookie.as_str())];
        for path in [
            "/nothing",
            "/assets/console.css",
            "/assets/..%2f..%2fetc%2fpasswd",
            "/assets/%2e%2e/%2e%2e/etc/passwd",
            "/assets/console%00.css",
            "/assets/..\\console.css",
            "/rules/..%2f..%2fCargo.toml",
            "/rules/%3Cscript%3E",
            "/checkpoint/..%2fmetadata",
            "/checkpoint/-1",
            "/checkpoint/99999999999999999999",
        ] {
            let (status, _, body) = ask(&app, request(&Method::GET, path, &headers)).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
            assert!(!body.contains("<script>") && !body.contains("root:"), "{path}: {body}");
        }
        let (status, ..) = ask(&app, request(&Method::DELETE, "/topics", &headers)).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn a_link_logs_in_once_and_only_by_post() {
        let app = app();
        let token = app.users.new_link(Instant::now());
        let get = request(&Method::GET, &format!("/login?once={token}"), &[("host", HOST)]);
        let (status, headers, body) = ask(&app, get).await;
        assert!(status == StatusCode::OK && body.contains("Log in as admin"), "{body}");
        assert!(!headers.contains_key("set-cookie"), "a look at the link is no login");
        let post = || {
            let request = Request::builder().method(Method::POST).uri("/login").header("host", HOST);
            let request =
                request.header("origin", ORIGIN).header("content-type", "application/x-www-form-urlencoded");
            request.body(Body::from(format!("once={token}"))).expect("a request")
        };
        let (status, headers, _) = ask(&app, post()).await;
        let cookie = headers["set-cookie"].to_str().expect("text");
        assert!(status == StatusCode::SEE_OTHER && headers["location"] == "/", "{status}");
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(&token),
            "{cookie}"
        );
        assert_eq!(ask(&app, post()).await.0, StatusCode::UNAUTHORIZED);
        let headers = [("host", HOST), ("cookie", cookie.split(';').next().expect("a pair"))];
        assert_eq!(ask(&app, request(&Method::GET, "/", &headers)).await.0, StatusCode::OK);
        app.link.remove();
    }
}
