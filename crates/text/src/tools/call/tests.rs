use super::*;
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// All events, neighbouring arguments joined, and how it ended.
fn events(pieces: &[&str]) -> (Vec<CallEvent>, Result<(), Malformed>) {
    let mut stream = CallStream::new();
    let mut all: Vec<CallEvent> = Vec::new();
    for event in pieces.iter().flat_map(|piece| stream.push(piece)) {
        match (all.last_mut(), event) {
            (Some(CallEvent::Arguments(text)), CallEvent::Arguments(more)) => text.push_str(&more),
            (_, event) => all.push(event),
        }
    }
    (all, stream.finish())
}

fn name(text: &str) -> CallEvent {
    CallEvent::Name(text.to_string())
}

fn arguments(text: &str) -> CallEvent {
    CallEvent::Arguments(text.to_string())
}

fn call(name: &str, arguments: &str) -> Call {
    Call { name: name.to_string(), arguments: arguments.to_string() }
}

fn reason(text: &str) -> &'static str {
    let malformed = parse(text).unwrap_err();
    assert_eq!(malformed.text, text);
    malformed.reason
}

#[test]
fn events_come_as_soon_as_they_can() {
    let mut stream = CallStream::new();
    assert_eq!(stream.push("\n{\"name\": \"get_"), []);
    assert_eq!(stream.push("weather\""), [name("get_weather")]);
    assert_eq!(stream.push(", \"arguments\": {\"place\": \"Z"), [arguments("{\"place\": \"Z")]);
    assert_eq!(stream.push("ürich\\"), [arguments("ürich\\")]);
    assert_eq!(stream.push("n\" }"), [arguments("n\" }")]);
    assert_eq!(stream.push("\n}\n"), [CallEvent::End]);
    assert_eq!(stream.finish(), Ok(()));
}

#[test]
fn arguments_are_never_reformatted() {
    let text = "{ \"a\" :1.50,\"b\":[ ],\n\"\\u00e9\": \"}{\", \"a\": 1e2 }";
    let whole = format!("{{\"type\": \"function\", \"name\":\"f\",\"parameters\" : {text} }}");
    assert_eq!(parse(&whole), Ok(vec![call("f", text)]));
}

#[test]
fn arguments_wait_for_the_name() {
    let mut stream = CallStream::new();
    assert_eq!(stream.push("{\"arguments\": {\"a\": 1}, \"name\": \"f"), []);
    assert_eq!(stream.push("\"}"), [name("f"), arguments("{\"a\": 1}"), CallEvent::End]);
}

#[test]
fn arguments_in_a_string_are_decoded() {
    let inner = "{\"a\": \"\\\"\\n\\u00e9 🦙/\"}";
    for quoted in [
        serde_json::to_string(inner).unwrap(),
        serde_json::to_string(inner).unwrap().replace('🦙', "\\ud83e\\udd99").replace('/', "\\/"),
        serde_json::to_string(&format!(" {inner}\n")).unwrap(),
    ] {
        let text = format!("{{\"name\": \"f\", \"arguments\": {quoted}}}");
        assert_eq!(parse(&text), Ok(vec![call("f", inner)]), "{text}");
    }
    let string = |inner: &str| format!("{{\"name\": \"f\", \"arguments\": \"{inner}\"}}");
    assert_eq!(reason(&string("Bern")), "its arguments are not an object");
    assert_eq!(reason(&string("{")), "the JSON in its arguments breaks off");
    assert_eq!(reason(&string("{}{")), "text follows the value");
    for half in ["\\ud83e", "\\ud83ex", "\\ud83e\\n", "\\ud83e\\ud83e", "\\udd99"] {
        assert_eq!(reason(&string(&format!("{{\\\"a\\\": \\\"{half}\\\"}}"))), HALF, "{half}");
    }
}

#[test]
fn no_arguments_are_an_empty_object() {
    for fields in ["", ", \"arguments\": null", ", \"arguments\": \" \"", ", \"arguments\":{}"] {
        let text = format!("{{\"name\": \"f\"{fields}}}");
        assert_eq!(parse(&text), Ok(vec![call("f", "{}")]), "{text}");
    }
    assert_eq!(parse("{\"arguments\": null, \"name\": \"f\"}"), Ok(vec![call("f", "{}")]));
}

#[test]
fn several_calls() {
    let (f, g) = ("{\"name\": \"f\", \"arguments\": {\"a\": 1}}", "{\"name\": \"g\"}");
    let wanted = Ok(vec![call("f", "{\"a\": 1}"), call("g", "{}")]);
    for text in [
        format!("[{f}, {g}]"),
        format!("{f}\n{g}"),
        format!("{f}; {g}"),
        format!("{f}, {g}}}"),
        format!("{f}{g} That was it. {f}"),
    ] {
        assert_eq!(parse(&text), wanted, "{text}");
    }
    let (before, ended) = events(&[f, "\n{\"name\": "]);
    assert_eq!(before, [name("f"), arguments("{\"a\": 1}"), CallEvent::End]);
    assert_eq!(ended.unwrap_err().reason, "it breaks off");
}

#[test]
fn what_is_no_call_is_given_back() {
    assert_eq!(reason(""), "it is empty");
    assert_eq!(reason("[]"), "it is not a JSON object");
    assert_eq!(reason("f(1)"), "it is not a JSON object");
    assert_eq!(reason("{}"), "it has no name");
    assert_eq!(reason("{'name': 'f'}"), "a key is not a string");
    assert_eq!(reason("{\"name\": 1}"), "its name is not a string");
    assert_eq!(reason("{\"name\": \"\"}"), "its name is empty");
    assert_eq!(reason("{\"name\": \"f\", \"name\": \"g\"}"), "it has two names");
    let twice = "{\"name\": \"f\", \"arguments\": {}, \"parameters\": {}}";
    assert_eq!(reason(twice), "it has arguments twice");
    assert_eq!(reason("{\"name\": \"f\", \"arguments\": [1]}"), "its arguments are not an object");
    assert_eq!(reason("{\"name\": \"f\", \"arguments\": {\"a\": 1"), "it breaks off");
    assert_eq!(reason("{\"name\": \"f\", \"id\": 1.}"), "a number breaks off");
    assert_eq!(reason("{\"name\": \"f\",}"), "a key is not a string");
}

#[test]
fn long_and_deep_texts_take_their_time_and_no_more() {
    let started = Instant::now();
    let size = 1 << 18;
    for text in [
        "{".repeat(size),
        "[".repeat(size),
        format!("{{\"name\": \"f\", \"arguments\": {}", "{\"a\":".repeat(size)),
        format!("{{\"name\": \"f\", \"x\": {}", "[".repeat(size)),
        format!("{{\"arguments\": {{\"a\": \"{}", "é".repeat(size)),
        format!("{{\"{}", "\\u0000".repeat(size / 4)),
        format!("{{\"name\": \"{}", "x".repeat(size)),
        "{".to_string() + &"\"a\":1,".repeat(size / 4),
    ] {
        let mut stream = CallStream::new();
        for letter in text.chars() {
            let mut buffer = [0; 4];
            stream.push(letter.encode_utf8(&mut buffer));
        }
        assert_eq!(stream.finish().unwrap_err().text.len(), text.len());
    }
    let many = "{\"name\":\"f\"}".repeat(size / 16);
    assert_eq!(parse(&many).unwrap().len(), size / 16);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

fn said() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("{\"name\": \"f\", \"arguments\": ".to_string()),
        Just("\"name\":\"é\\n\"".to_string()),
        Just("\"arguments\":{\"a\":[1,\"}\"]}".to_string()),
        Just("\"parameters\": \"{\\\"a\\\":\\u0031 }\"".to_string()),
        "[{}\\[\\],:;\" \\\\1an]{1,2}",
    ];
    prop::collection::vec(word, 0..8).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn events_do_not_depend_on_the_cutting(
        text in said(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)
    ) {
        let mut ends: Vec<usize> = cuts
            .iter()
            .map(|cut| cut.index(text.len() + 1))
            .filter(|&end| text.is_char_boundary(end))
            .chain([0, text.len()])
            .collect();
        ends.sort_unstable();
        let pieces: Vec<&str> = ends.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        let letters: Vec<&str> = text.split("").collect();
        let whole = events(&[&text]);
        prop_assert_eq!(&events(&pieces), &whole);
        prop_assert_eq!(&events(&letters), &whole);
    }

    /// Whatever object the arguments are, they come out as they stand, and also from a string.
    #[test]
    fn any_object_passes(values in prop::collection::btree_map(".{0,6}", ".{0,6}", 0..4)) {
        let text = serde_json::to_string(&values).unwrap();
        let plain = format!("{{\"name\":\"f\",\"arguments\":{text}}}");
        prop_assert_eq!(parse(&plain), Ok(vec![call("f", &text)]));
        let quoted = serde_json::to_string(&text).unwrap();
        let as_string = format!("{{\"name\":\"f\",\"arguments\":{quoted}}}");
        prop_assert_eq!(parse(&as_string), Ok(vec![call("f", &text)]));
    }

    /// What is read as a call is one to `serde_json`, too.
    #[test]
    fn calls_are_json(text in said()) {
        for call in parse(&text).unwrap_or_default() {
            let value: serde_json::Value = serde_json::from_str(&call.arguments).unwrap();
            prop_assert!(value.is_object());
        }
    }
}
