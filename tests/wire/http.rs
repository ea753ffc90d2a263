//! A browser's requests, by hand: what is sent is what is written here.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What came back.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Pages and answers for machines of which each shows something of the engine.
pub const PAGES: [&str; 17] = [
    "/",
    "/live/overview",
    "/topics",
    "/live/topics",
    "/query",
    "/live/query",
    "/rules",
    "/rules/amount_matches",
    "/outcomes",
    "/checkpoint",
    "/checkpoint/0",
    "/record?by=order_id&value=nobody",
    "/api/status",
    "/api/progress",
    "/api/query",
    "/api/record?by=order_id&value=nobody",
    "/metrics",
];

/// One request on a connection of its own.
pub fn ask(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    ask_on(stream, port, method, path, headers, body)
}

/// The same from another address of this machine.
pub async fn post_from(from: [u8; 4], port: u16, path: &str, form: &str) -> Answer {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind((std::net::Ipv4Addr::from(from), 0).into()).expect("an address of this machine");
    let stream = socket.connect(([127, 0, 0, 1], port).into()).await.expect("connects");
    let stream = stream.into_std().expect("a stream");
    stream.set_nonblocking(false).expect("waits");
    let origin = format!("http://127.0.0.1:{port}");
    let headers = [("Origin", origin.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
    ask_on(stream, port, "POST", path, &headers, form)
}

fn ask_on(
    mut stream: TcpStream,
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let length = body.len();
    // Of what is too large only a part is taken.
    let _ = write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}");
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// A form, sent from a page of the console.
pub fn post(port: u16, path: &str, cookie: &str, form: &str) -> Answer {
    let origin = format!("http://127.0.0.1:{port}");
    let headers = [
        ("Origin", origin.as_str()),
        ("Cookie", cookie),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    ask(port, "POST", path, &headers, form)
}

/// The cookie of a session that was begun by a form.
pub fn log_in(port: u16, form: &str) -> String {
    let answer = post(port, "/login", "", form);
    assert_eq!(answer.status, 303, "{}", answer.body);
    let cookie = answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    cookie.split(';').next().expect("a pair").to_owned()
}
