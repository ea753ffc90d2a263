//! What every request passes before a handler sees it, and the headers of every answer.
//!
//! ```text
//! Host known? ─ POST from our own page? ─ open, or who is it? ─ may they? ─ handler, within five seconds ─ headers
//!    421            403                    303 or 401             403            503
//! ```

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::App;
use super::routes::{Access, access};
use super::users::{Role, User};

/// For how long a handler may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Which hosts a browser may call us by: others are names that were pointed here (DNS rebinding).
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    /// `host:port` as it stands in `Host`.
    names: Vec<String>,
    /// `https://host` of a proxy before us.
    proxy: Option<String>,
}

impl Hosts {
    /// Loopback at `address`' port, the address itself, and the host of the proxy.
    pub(super) fn new(address: SocketAddr, proxy: Option<&str>) -> Self {
        let port = address.port();
        let mut names: Vec<String> =
            ["localhost", "127.0.0.1", "[::1]"].iter().map(|host| format!("{host}:{port}")).collect();
        if !address.ip().is_unspecified() {
            names.push(address.to_string());
        }
        names.extend(proxy.and_then(|proxy| Some(proxy.split_once("://")?.1.to_owned())));
        Self { names, proxy: proxy.map(str::to_owned) }
    }

    fn know(&self, host: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    /// Whether `origin` is a page of ours, asked for by `host`.
    fn is_ours(&self, origin: &str, host: &str) -> bool {
        match &self.proxy {
            Some(proxy) if origin == proxy => true,
            _ => origin.strip_prefix("http://").is_some_and(|authority| authority.eq_ignore_ascii_case(host)),
        }
    }

    /// Whether the browser speaks TLS to the proxy.
    pub(super) fn is_secure(&self) -> bool {
        self.proxy.as_ref().is_some_and(|proxy| proxy.starts_with("https://"))
    }
}

/// What is known of who asks, for handlers.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// The address of the browser, as far as it can be trusted.
    pub(super) address: IpAddr,
    /// Who is logged in.
    pub(super) user: Option<User>,
    /// The session.
    pub(super) session: Option<String>,
}

/// The checks around every handler.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let asked = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let mut answer = match check(&app, request).await {
        Ok(request) => match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
            Ok(answer) => answer,
            Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "This took too long. Try again."),
        },
        Err(refused) => *refused,
    };
    protect(answer.headers_mut());
    app.traffic.answered(route.as_deref().unwrap_or("none"), answer.status().as_u16(), asked.elapsed());
    answer
}

/// The request with its [`Visitor`], or why it is refused.
async fn check(app: &App, mut request: Request) -> Result<Request, Box<Response>> {
    let refuse = |status, text| Err(Box::new(plain(status, text)));
    let headers = request.headers();
    let hosts: Vec<&HeaderValue> = headers.get_all(header::HOST).iter().collect();
    let host = match (hosts.as_slice(), request.uri().authority()) {
        ([host], None) => host.to_str().unwrap_or_default().to_owned(),
        _ => return refuse(StatusCode::MISDIRECTED_REQUEST, "This is not the host that was asked for."),
    };
    if !app.hosts.know(&host) {
        return refuse(
            StatusCode::MISDIRECTED_REQUEST,
            "This console is not known by that name: use localhost, or --console-behind-proxy.",
        );
    }
    let method = request.method();
    if method != Method::GET && method != Method::HEAD {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let is_ours = text(header::ORIGIN).is_some_and(|origin| app.hosts.is_ours(origin, &host));
        let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
        if !is_ours || site.is_some_and(|site| site != b"same-origin") {
            return refuse(StatusCode::FORBIDDEN, "This form was not sent from a page of this console.");
        }
    }
    let Some(path) = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str) else {
        return refuse(StatusCode::NOT_FOUND, "There is no such page.");
    };
    let Some(access) = access(method, path) else {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "This page is not for that.");
    };
    let address = address_of(app, &request);
    let session = cookie(headers, &app.cookie);
    let is_machine = path.starts_with("/api/") || path.starts_with("/live/") || path == "/metrics";
    if app.users.refresh() {
        app.sessions.keep(|user| app.users.knows(user));
    }
    let is_used = !path.starts_with("/live/");
    let user = session.as_deref().and_then(|id| app.sessions.find(id, is_used, Instant::now()));
    match (access, &user) {
        (Access::Open, _) => {}
        (_, None) if is_machine => return refuse(StatusCode::UNAUTHORIZED, "Log in first."),
        (_, None) => return Err(Box::new(Redirect::to("/login").into_response())),
        (Access::Full, Some(user)) if user.role != Role::Full => {
            return refuse(StatusCode::FORBIDDEN, "You may look, not change: ask for the role \"full\".");
        }
        _ => {}
    }
    request.extensions_mut().insert(Visitor { address, user, session });
    Ok(request)
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// Of a browser behind our own proxy the address that the proxy saw.
fn address_of(app: &App, request: &Request) -> IpAddr {
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::from([127, 0, 0, 1]), |ConnectInfo(address)| address.ip());
    let forwarded = request.headers().get("x-forwarded-for").filter(|_| app.hosts.proxy.is_some());
    let last = forwarded.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    last.unwrap_or(peer)
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
}

/// The headers of every answer.
fn protect(headers: &mut HeaderMap) {
    let fixed = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
             trusted-types fragment",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // With no-referrer a browser would send "Origin: null" with our own forms.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_and_pages_are_known() {
        let hosts = Hosts::new("127.0.0.1:9021".parse().expect("an address"), None);
        for (host, known) in [
            ("localhost:9021", true),
            ("LOCALHOST:9021", true),
            ("127.0.0.1:9021", true),
            ("[::1]:9021", true),
            ("localhost", false),
            ("localhost:80", false),
            ("evil.example:9021", false),
            ("127.0.0.1.nip.io:9021", false),
            ("", false),
        ] {
            assert_eq!(hosts.know(host), known, "{host}");
        }
        for (origin, ours) in [
            ("http://localhost:9021", true),
            ("http://127.0.0.1:9021", false),
            ("https://localhost:9021", false),
            ("http://evil.example", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(hosts.is_ours(origin, "localhost:9021"), ours, "{origin}");
        }
        let hosts = Hosts::new("0.0.0.0:9021".parse().expect("an address"), Some("https://batch.example"));
        assert!(hosts.know("batch.example") && !hosts.know("0.0.0.0:9021") && hosts.is_secure());
        assert!(hosts.is_ours("https://batch.example", "batch.example"));
        assert!(!hosts.is_ours("http://other.example", "batch.example"));
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("theme=dark; ecomm_batch_9021=abc; x=y=z"));
        assert_eq!(cookie(&headers, "ecomm_batch_9021").as_deref(), Some("abc"));
        assert_eq!(cookie(&headers, "x").as_deref(), Some("y=z"));
        assert_eq!(cookie(&headers, "batch_9021"), None);
    }
}
