//! Endpoints that behave and endpoints that don't, played by a few lines of TCP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::{FinishReason, Flow};
use reason::{Ask, Completer, Endpoint, EndpointOptions, Error, Pool};
use text::template::Message;

const ANSWER: &str = "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"four\"}}]}\n\n\
    data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
    data: [DONE]\n\n";

/// What the endpoint does with the n-th ask.
type Script = fn(usize) -> (u16, &'static str, &'static str);

struct Played {
    url: String,
    asks: Arc<AtomicUsize>,
    most_at_once: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<String>>>,
}

fn play(script: Script) -> Played {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let played = Played {
        url: format!("http://{}", listener.local_addr().unwrap()),
        asks: Arc::default(),
        most_at_once: Arc::default(),
        seen: Arc::default(),
    };
    let (asks, most, seen) =
        (played.asks.clone(), played.most_at_once.clone(), played.seen.clone());
    let now = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (asks, most, seen, now) = (asks.clone(), most.clone(), seen.clone(), now.clone());
            std::thread::spawn(move || answer(stream, script, &asks, &most, &seen, &now));
        }
    });
    played
}

fn answer(
    mut stream: TcpStream,
    script: Script,
    asks: &AtomicUsize,
    most: &AtomicUsize,
    seen: &Mutex<Vec<String>>,
    now: &AtomicUsize,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse().unwrap();
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let (status, kind, text) = if head.starts_with("GET /v1/models") {
        (200, "application/json", r#"{"data":[{"id":"played"}]}"#)
    } else {
        seen.lock().unwrap().push(head + &String::from_utf8(body).unwrap());
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let reply = script(asks.fetch_add(1, Ordering::SeqCst));
        std::thread::sleep(Duration::from_millis(20));
        now.fetch_sub(1, Ordering::SeqCst);
        reply
    };
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
}

fn options() -> EndpointOptions {
    EndpointOptions {
        pause: Duration::from_millis(20),
        patience: Duration::from_secs(5),
        ..EndpointOptions::default()
    }
}

fn ask() -> Ask {
    Ask::chat(vec![Message::new("user", "2 + 2?")])
}

fn complete(pool: &Pool) -> Result<engine::Completion, Error> {
    pool.complete(&ask(), &mut |_| Flow::Continue)
}

#[test]
fn a_stream_is_put_together() {
    let played = play(|_| (200, "text/event-stream", ANSWER));
    let options = EndpointOptions { key: Some("sesame".into()), ..options() };
    let pool = Pool::connect(&[played.url], &options).unwrap();
    assert_eq!(pool.name(), "played");
    let answer = complete(&pool).unwrap();
    assert_eq!((&*answer.reasoning, &*answer.content), ("hm", "four"));
    assert_eq!(answer.finish_reason, FinishReason::Stop);
    let seen = played.seen.lock().unwrap();
    assert!(seen[0].contains("Bearer sesame") && seen[0].contains("2 + 2?"), "{}", seen[0]);
}

#[test]
fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
    let flaky = play(|n| match n {
        0 => (503, "application/json", r#"{"error":{"message":"loading"}}"#),
        1 => (429, "text/plain", "slow down"),
        2 => (200, "text/event-stream", "data: {\"choices\":[{\"delta\":{}}]}\n\n"),
        _ => (200, "text/event-stream", ANSWER),
    });
    let pool = Pool::connect(&[flaky.url], &options()).unwrap();
    assert_eq!(complete(&pool).unwrap().content, "four");
    assert_eq!(flaky.asks.load(Ordering::SeqCst), 4);

    let strict = play(|_| (400, "application/json", r#"{"error":{"message":"no such field"}}"#));
    let pool = Pool::connect(&[strict.url], &options()).unwrap();
    let error = complete(&pool).unwrap_err().to_string();
    assert!(error.contains("400") && error.contains("no such field"), "{error}");
    assert_eq!(strict.asks.load(Ordering::SeqCst), 1);

    let down = play(|_| (500, "text/plain", "broken"));
    let pool = Pool::connect(&[down.url], &EndpointOptions { tries: 3, ..options() }).unwrap();
    assert!(complete(&pool).unwrap_err().to_string().contains("broken"));
    assert_eq!(down.asks.load(Ordering::SeqCst), 3);
}

#[test]
fn what_was_told_is_not_told_twice() {
    let cut = play(|_| {
        (200, "text/event-stream", "data: {\"choices\":[{\"delta\":{\"content\":\"fo\"}}]}\n\n")
    });
    let pool = Pool::connect(&[cut.url], &options()).unwrap();
    let mut told = 0;
    let outcome = pool.complete(&ask(), &mut |_| {
        told += 1;
        Flow::Continue
    });
    assert!(matches!(outcome, Err(Error::Unavailable { .. })), "{outcome:?}");
    assert_eq!(told, 1);
}

#[test]
fn asks_are_spread_and_never_more_than_slots_at_a_time() {
    let good = play(|_| (200, "text/event-stream", ANSWER));
    let bad = play(|_| (502, "text/plain", "gone"));
    let also = play(|_| (200, "text/event-stream", ANSWER));
    let urls = [good.url.clone(), bad.url.clone(), also.url.clone()];
    let pool = Pool::connect(&urls, &EndpointOptions { slots: 2, ..options() }).unwrap();
    assert_eq!(pool.slots(), 6);
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| assert_eq!(complete(&pool).unwrap().content, "four"));
        }
    });
    for played in [&good, &also] {
        assert!(played.asks.load(Ordering::SeqCst) >= 4);
        assert!(played.most_at_once.load(Ordering::SeqCst) <= 2);
    }
    let failed = bad.asks.load(Ordering::SeqCst);
    assert!(failed < 24, "the endpoint that fails is left alone: {failed}");
}

#[test]
fn nobody_there_is_said_at_once() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}");
    let error = Endpoint::connect(&url, &options()).err().unwrap().to_string();
    assert!(error.contains(&url) && error.contains("connection refused"), "{error}");
}
