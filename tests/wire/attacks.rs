//! The console of an engine, attacked: it stays small, answers others, and lets in who may.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::http::{Answer, PAGES, ask, log_in, post, post_from};
use super::pipeline::Pipeline;
use super::services::{Services, free_port, terminate, until};

/// What an attack may cost.
const MEMORY: u64 = 32 << 20;

struct Target {
    engine: Child,
    port: u16,
    ada: String,
}

impl Target {
    fn get(&self, path: &str) -> Answer {
        ask(self.port, "GET", path, &[("Cookie", &self.ada)], "")
    }

    /// The engine's memory, in bytes.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.engine.id())).expect("runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// What an attack leaves: the pages answer, and memory is as it was.
    fn stands(&self, attack: &str, before: u64) {
        for path in PAGES {
            assert_eq!(self.get(path).status, 200, "{path} after {attack}");
        }
        let now = self.memory();
        assert!(now < before + MEMORY, "{attack}: {before} bytes before, {now} after");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_stands() {
    let Some(services) = Services::start().await else { return };
    let pipeline = Pipeline::new(&services, "attacks");
    pipeline.produce(&["--count", "5000"]);
    let port = free_port();
    let engine = pipeline
        .command("run")
        .args(["--trigger", "1s", "--checkpoint", &pipeline.checkpoint])
        .args(["--console", &format!("127.0.0.1:{port}"), "--console-users"])
        .arg(super::console::users(&pipeline))
        // What is freed goes back at once, so that what is measured is what is held and not what malloc keeps.
        .env("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=131072")
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    until("the console answers", async || TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    let mut target = Target { engine, port, ada: log_in(port, "name=ada&password=correct+horse") };
    until("everything is read", async || target.get("/api/status").body.contains("Up to date")).await;
    for path in PAGES {
        target.get(path);
    }

    let before = target.memory();
    a_session_is_not_chosen_by_others(&target);
    what_is_too_large_is_refused(&target);
    target.stands("what is too large", before);
    who_is_slow_is_cut_off(&target);
    target.stands("slow connections", before);
    many_readers_are_told_to_wait(&target);
    target.stands("many readers", before);
    a_thousand_guesses_get_nowhere(&target).await;
    target.stands("a thousand guesses", before);

    terminate(&target.engine).await;
    assert!(target.engine.wait().expect("reaped").success());
    pipeline.reconciles();
}

fn a_session_is_not_chosen_by_others(target: &Target) {
    let chosen = format!("ecomm_batch_{}={}", target.port, "a".repeat(32));
    let answer = post(target.port, "/login", &chosen, "name=bob&password=battery+staple");
    assert_eq!(answer.status, 303);
    assert!(!answer.head.contains(&"a".repeat(32)), "{}", answer.head);
    assert_eq!(ask(target.port, "GET", "/live/overview", &[("Cookie", &chosen)], "").status, 401);
}

fn what_is_too_large_is_refused(target: &Target) {
    let headers: Vec<(String, String)> =
        (0..10_000).map(|number| (format!("X-{number}"), "x".repeat(40))).collect();
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = ask(target.port, "GET", "/", &headers, "");
    assert_eq!(answer.status, 431, "{}", answer.head);
    let path = format!("/record?by=order_id&value={}", "x".repeat(20_000));
    let answer = target.get(&path);
    assert!([414, 431].contains(&answer.status), "{}", answer.head);
    let form = format!("name=ada&password={}", "x".repeat(1 << 20));
    assert_eq!(post(target.port, "/login", "", &form).status, 413);
    let many = "/topics/orders-attacks/messages?from=newest&n=1000000000";
    assert!(target.get(many).body.matches("data-th=\"value\"").count() <= 500);
    for odd in [
        "/topics/orders-attacks/messages?from=offset&at=-9223372036854775808&n=1",
        "/topics/orders-attacks/messages?from=offset&at=99999999999999999999",
        "/topics/orders-attacks/messages?from=offset&at=0&p=-1",
        "/topics/orders-attacks/messages?after=0:x",
    ] {
        assert!(target.get(odd).status < 500, "{odd}: {}", target.get(odd).head);
    }
}

/// All connections are taken by who sends a byte a second: they are cut off, and others get their answer.
fn who_is_slow_is_cut_off(target: &Target) {
    let mut slow: Vec<TcpStream> =
        (0..65).map(|_| TcpStream::connect(("127.0.0.1", target.port)).expect("connects")).collect();
    for stream in &mut slow[..32] {
        // A form whose body does not come.
        let head = format!(
            "POST /login HTTP/1.1\r\nHost: 127.0.0.1:{0}\r\nOrigin: http://127.0.0.1:{0}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n",
            target.port
        );
        stream.write_all(head.as_bytes()).expect("sends");
    }
    let asked = Instant::now();
    let port = target.port;
    let visitor = std::thread::spawn(move || ask(port, "GET", "/healthz", &[], "").status);
    let head = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ";
    for at in 0..12 {
        for stream in &mut slow {
            // Whoever was cut off can't send.
            let _ = stream.write_all(&head[at..=at]);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(visitor.join().expect("answered"), 200);
    println!("the 66th connection was answered after {:.1} s at most", asked.elapsed().as_secs_f64());
    for mut stream in slow {
        stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        let mut bytes = Vec::new();
        let end = stream.read_to_end(&mut bytes);
        let is_waiting = end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!is_waiting, "a slow connection is still open");
    }
}

fn many_readers_are_told_to_wait(target: &Target) {
    let path = "/topics/payments-attacks/messages?from=offset&at=0&n=500&has=nowhere";
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..200).map(|_| scope.spawn(|| target.get(path).status)).collect();
        readers.into_iter().map(|reader| reader.join().expect("answered")).collect()
    });
    let count = |status: u16| statuses.iter().filter(|found| **found == status).count();
    println!("200 readers: {} were served, {} told to wait", count(200), count(503));
    assert!(count(200) > 0 && count(503) > 0 && count(200) + count(503) == 200, "{statuses:?}");
}

async fn a_thousand_guesses_get_nowhere(target: &Target) {
    let began = Instant::now();
    let guess =
        |name: &str, number: u32| post(target.port, "/login", "", &format!("name={name}&password={number}"));
    // Ten at once, and names that are nobody's too.
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let guessers: Vec<_> = (0..10)
            .map(|guesser| {
                scope.spawn(move || {
                    let name = ["ada", "bob", "nobody"][guesser % 3];
                    (0..100).map(|number| guess(name, number).status).collect::<Vec<u16>>()
                })
            })
            .collect();
        guessers.into_iter().flat_map(|guesser| guesser.join().expect("answered")).collect()
    });
    let took = began.elapsed();
    let wrong = statuses.iter().filter(|status| **status == 401).count() as u64;
    assert_eq!(statuses.iter().filter(|status| **status == 429).count() as u64, 1000 - wrong, "{statuses:?}");
    assert!(wrong >= 1 && wrong <= 6 + took.as_secs() / 10, "{wrong} were looked at in {took:?}");
    println!("1,000 guesses in {:.1} s: {wrong} were looked at", took.as_secs_f64());
    assert!(guess("ada", 0).head.contains("retry-after: "), "{}", guess("ada", 0).head);

    // Ada, who is logged in, notices nothing; bob comes from elsewhere and is in; here one has to wait.
    assert_eq!(target.get("/").status, 200);
    let bob = "name=bob&password=battery+staple";
    assert_eq!(post_from([127, 0, 0, 2], target.port, "/login", bob).await.status, 303);
    assert_eq!(post(target.port, "/login", "", bob).status, 429);
    until("bob is in from here", async || post(target.port, "/login", "", bob).status == 303).await;
    let metrics = target.get("/metrics").body;
    assert!(metrics.contains("ecomm_batch_console_logins_total{outcome=\"slowed\"}"), "{metrics}");
}
