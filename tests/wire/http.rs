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

/// One request on a connection of its own.
pub fn ask(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let length = body.len();
    write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}").expect("sends");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("answers");
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
