use super::*;
use proptest::prelude::*;

/// All events, without the pieces of calls, which have to add up to the whole ones.
fn events(start: Start, pieces: &[&str]) -> Vec<Event> {
    whole_calls(all_events(Tags::default(), start, pieces))
}

fn whole_calls(events: Vec<Event>) -> Vec<Event> {
    let mut call = None;
    let mut wholes = Vec::new();
    for event in events {
        match event {
            Event::ToolCallStart => assert_eq!(call.replace(String::new()), None),
            Event::ToolCallText(text) => call.as_mut().expect("a call has begun").push_str(&text),
            event => {
                if let Event::ToolCall(whole) = &event {
                    assert_eq!(call.take().as_ref(), Some(whole));
                }
                assert_eq!(call, None);
                wholes.push(event);
            }
        }
    }
    assert_eq!(call, None);
    wholes
}

fn all_events(tags: Tags, start: Start, pieces: &[&str]) -> Vec<Event> {
    let mut splitter = Splitter::new(tags, start);
    let mut all: Vec<Event> = Vec::new();
    for event in pieces.iter().flat_map(|piece| splitter.push(piece)) {
        join(&mut all, event);
    }
    for event in splitter.finish() {
        join(&mut all, event);
    }
    all
}

fn join(all: &mut Vec<Event>, event: Event) {
    match (all.last_mut(), event) {
        (Some(Event::Reasoning(text)), Event::Reasoning(more))
        | (Some(Event::Content(text)), Event::Content(more))
        | (Some(Event::ToolCallText(text)), Event::ToolCallText(more)) => text.push_str(&more),
        (_, event) => all.push(event),
    }
}

fn reasoning(text: &str) -> Event {
    Event::Reasoning(text.to_string())
}

fn content(text: &str) -> Event {
    Event::Content(text.to_string())
}

fn call(text: &str) -> Event {
    Event::ToolCall(text.to_string())
}

#[test]
fn thinking_then_answer() {
    assert_eq!(
        events(Start::Undecided, &["<think>\nlet me see\n</think>\n\nYes."]),
        [reasoning("let me see"), content("Yes.")]
    );
    assert_eq!(
        events(Start::Inside, &["let me see\n</think>\n\nYes."]),
        [reasoning("let me see"), content("Yes.")]
    );
}

#[test]
fn a_plain_answer_passes_unchanged() {
    assert_eq!(
        events(Start::Undecided, &["\n a < b,\n  then <b>\n"]),
        [content("\n a < b,\n  then <b>\n")]
    );
}

#[test]
fn a_tag_cut_in_three() {
    assert_eq!(
        events(Start::Undecided, &["<th", "in", "k>\nhm", "</", "think", ">ok"]),
        [reasoning("hm"), content("ok")]
    );
}

#[test]
fn only_what_may_be_a_tag_is_held_back() {
    let mut splitter = Splitter::new(Tags::default(), Start::Inside);
    assert_eq!(splitter.push("so a <"), [reasoning("so a")]);
    assert_eq!(splitter.push("b"), [reasoning(" <b")]);
    assert_eq!(splitter.push("</think"), []);
    assert_eq!(splitter.push("!"), [reasoning("</think!")]);
    // In the middle of a line a call cannot begin, so nothing is held back for it.
    assert_eq!(splitter.push("<too"), [reasoning("<too")]);
    assert!(splitter.in_reasoning());
}

#[test]
fn the_prompt_opened_and_the_model_opens_again() {
    assert_eq!(events(Start::Inside, &["<think>\nhm</think>ok"]), [reasoning("hm"), content("ok")]);
}

#[test]
fn the_opening_tag_was_forgotten() {
    assert_eq!(
        events(Start::Undecided, &["let me see\n</think>\n\nYes."]),
        [content("let me see"), Event::ContentWasReasoning, content("Yes.")]
    );
    let answer = Answer::split("let me see\n</think>\n\nYes.", Tags::default(), Start::Undecided);
    assert_eq!((answer.reasoning.as_str(), answer.content.as_str()), ("let me see", "Yes."));
}

#[test]
fn the_closing_tag_was_forgotten() {
    assert_eq!(events(Start::Inside, &["on and on\n"]), [reasoning("on and on\n")]);
    assert_eq!(
        events(Start::Inside, &["I need it.\n<tool_call>{}</tool_call>\n</think>\nDone"]),
        [reasoning("I need it."), call("{}"), content("Done")]
    );
}

#[test]
fn tags_in_the_answer_are_text() {
    let text = "The tags are <think> and </think>.";
    assert_eq!(events(Start::Inside, &["hm</think>\n", text]), [reasoning("hm"), content(text)]);
    assert_eq!(events(Start::After, &[text]), [content(text)]);
}

#[test]
fn tool_calls_come_whole() {
    let text = "Looking.\n<tool_call>\n{\"name\": \"f\"}\n</tool_call>\n<tool_call>\n{\"name\": \"g\"}\n</tool_call>";
    let wanted = [content("Looking."), call("{\"name\": \"f\"}"), call("{\"name\": \"g\"}")];
    assert_eq!(events(Start::Undecided, &[text]), wanted);
    let unclosed = text.replace("\n</tool_call>", "");
    assert_eq!(events(Start::Undecided, &[&unclosed]), wanted);
    assert_eq!(events(Start::Undecided, &["<tool_call>\n \n"]), []);
}

#[test]
fn tool_calls_stream() {
    let mut splitter = Splitter::new(Tags::default(), Start::Undecided);
    let piece = |text: &str| Event::ToolCallText(text.to_string());
    assert_eq!(splitter.push("Looking.\n<tool_call>\n"), [content("Looking.")]);
    assert_eq!(splitter.push("{\"a\": "), [Event::ToolCallStart, piece("{\"a\":")]);
    assert_eq!(splitter.push("\"b <"), [piece(" \"b")]);
    assert_eq!(splitter.push("c\"}"), [piece(" <c\"}")]);
    assert_eq!(splitter.push("\n</tool"), []);
    assert_eq!(splitter.push("_call>"), [call("{\"a\": \"b <c\"}")]);
    assert_eq!(splitter.finish(), []);
}

fn llama() -> Tags {
    Tags {
        tool_call: ("<|python_tag|>".to_string(), String::new()),
        bare_json_calls: true,
        ..Tags::default()
    }
}

fn bare(pieces: &[&str]) -> Vec<Event> {
    whole_calls(all_events(llama(), Start::Undecided, pieces))
}

const F: &str = "{\"name\": \"f\", \"parameters\": {\"a\": \"}\"}}";

#[test]
fn calls_without_tags() {
    assert_eq!(bare(&[F]), [call(F)]);
    assert_eq!(bare(&["\n", F, "\n"]), [call(F)]);
    assert_eq!(bare(&["<|python_tag|>", F]), [call(F)]);
    assert_eq!(bare(&["Let me look.\n<|python_tag|>", F]), [content("Let me look."), call(F)]);
    assert_eq!(bare(&["<think>hm</think>\n\n", F]), [reasoning("hm"), call(F)]);
    assert_eq!(
        bare(&[F, "; ", F, "\n", F, " so; {"]),
        [call(F), call(F), call(F), content(" so; {")]
    );
    // Broken off, but certainly meant as one.
    assert_eq!(bare(&[&F[..30]]), [call(&F[..30])]);
    let broken = "{\"name\": \"f\", \"parameters\": {a} <|python_tag|>";
    assert_eq!(bare(&[broken]), [call(broken)]);
}

#[test]
fn calls_in_blocks_of_code() {
    let hermes = Tags { bare_json_calls: true, ..Tags::default() };
    for tags in [llama(), hermes] {
        let split = |pieces: &[&str]| whole_calls(all_events(tags.clone(), Start::After, pieces));
        for fence in ["```json\n", "```\n", "```tool_call\n"] {
            assert_eq!(split(&[fence, F, "\n```"]), [call(F)], "{fence}");
            let text = format!("\n{fence}{F}\n```\n{fence}{F}\n```\nDone: `x`.");
            let all = [call(F), call(F), content("Done: `x`.")];
            assert_eq!(split(&[&text]), all, "{fence}");
            let letters: Vec<String> = text.chars().map(String::from).collect();
            let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
            assert_eq!(split(&letters), all, "{fence}");
        }
        for text in [
            "```json\n{\"name\": \"Bob\", \"age\": 3}\n```",
            "```python\nf({})\n```",
            "``{x}`` is code",
            "```json",
            "```json\n{\"name\": \"f\"",
            "Such as ```json\n{\"name\": \"f\", \"arguments\": {}}\n```",
        ] {
            assert_eq!(split(&[text]), [content(text)], "{text}");
            let (a, b) = text.split_at(6);
            let said = split(&[a, b]);
            assert_eq!(said, [content(text)], "{text}");
        }
    }
}

#[test]
fn only_what_was_offered_is_called() {
    let tags = Tags { bare_json_calls: true, call_names: vec!["f".into()], ..Tags::default() };
    let split = |text: &str| whole_calls(all_events(tags.clone(), Start::After, &[text]));
    assert_eq!(split(F), [call(F)]);
    let other = F.replace("\"f\"", "\"g\"");
    assert_eq!(split(&other), [content(&other)]);
    let fenced = format!("```json\n{other}\n```");
    assert_eq!(split(&fenced), [content(&fenced)]);
    // Between tags the model means it, whatever it is.
    assert_eq!(split(&format!("<tool_call>{other}</tool_call>")), [call(&other)]);
}

#[test]
fn json_that_is_an_answer_is_not_held_back() {
    let tags = Tags { bare_json_calls: true, ..Tags::default() };
    let mut splitter = Splitter::new(tags, Start::After);
    assert_eq!(splitter.push("```json\n{\"nam"), []);
    assert_eq!(splitter.push("ed\": 1"), [content("```json\n{\"named\": 1")]);
    assert!(!splitter.in_tagged_call());
    assert_eq!(splitter.push(", \"b"), [content(", \"b")]);
}

#[test]
fn calls_without_tags_stream() {
    let mut splitter = Splitter::new(llama(), Start::Undecided);
    let piece = |text: &str| Event::ToolCallText(text.to_string());
    assert_eq!(splitter.push("{\"name\": \"f\", \"param"), []);
    let begun = "{\"name\": \"f\", \"parameters\": {";
    assert_eq!(splitter.push("eters\": {"), [Event::ToolCallStart, piece(begun)]);
    assert_eq!(splitter.push("}"), [piece("}")]);
    assert_eq!(splitter.push("}"), [piece("}"), call(&format!("{begun}}}}}"))]);
}

#[test]
fn json_that_is_no_call_is_content() {
    for text in [
        "{\"name\": \"Bob\", \"age\": 3}",
        "{x | x > 0} is a set",
        "{\"name\": \"f",
        "\n {\"parameters\": {}} ",
        "{{{",
        ";{",
        "So: {\"name\": \"f\", \"parameters\": {}}",
    ] {
        assert_eq!(bare(&[text]), [content(text)], "{text}");
        assert_eq!(events(Start::Undecided, &[text]), [content(text)], "{text}");
    }
    assert_eq!(
        bare(&["{\"a", "\": 1 </think>", F]),
        [content("{\"a\": 1"), Event::ContentWasReasoning, call(F)]
    );
}

#[test]
fn thinking_between_tool_calls() {
    assert_eq!(
        events(
            Start::Inside,
            &["one</think><tool_call>a</tool_call>\n<think>two</think><tool_call>b</tool_call>"]
        ),
        [reasoning("one"), call("a"), reasoning("two"), call("b")]
    );
}

#[test]
fn tags_are_the_callers() {
    let tags = Tags {
        thinking: ("[THINK]".into(), "[/THINK]".into()),
        tool_call: (String::new(), String::new()),
        ..Tags::default()
    };
    let answer = Answer::split("[THINK]a[/THINK]<tool_call>b", tags, Start::Undecided);
    assert_eq!(answer.reasoning, "a");
    assert_eq!(answer.content, "<tool_call>b");
    assert!(answer.tool_calls.is_empty());
}

#[test]
fn tags_round_the_answer_are_dropped() {
    let tags = || Tags { answer: ("<answer>".into(), "</answer>".into()), ..Tags::default() };
    for (text, reasoning, content) in [
        ("<think>\na\n</think>\n<answer>\nb <answer> c\n</answer>", "a", "b <answer> c"),
        ("<answer>b</answer>", "", "b"),
        // Cut off.
        ("<think>a</think><answer>b", "a", "b"),
        // Without, it is what it is.
        ("<think>a <answer>x</answer></think>b </answer>", "a <answer>x</answer>", "b </answer>"),
    ] {
        let whole = Answer::split(text, tags(), Start::Undecided);
        assert_eq!((&whole.reasoning[..], &whole.content[..]), (reasoning, content), "{text}");
        let letters: Vec<String> = text.chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        let mut answer = Answer::default();
        all_events(tags(), Start::Undecided, &letters).into_iter().for_each(|e| answer.add(e));
        assert_eq!(answer, whole, "{text}");
    }
    let prompted = Answer::split("\n<answer>b</answer>", tags(), Start::After);
    assert_eq!(prompted.content, "b");
}

fn said() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("<think>".to_string()),
        Just("</think>".to_string()),
        Just("<tool_call>".to_string()),
        Just("</tool_call>".to_string()),
        "[<>/a\n é]{0,3}",
        "<?/?(th|think|tool_)>?",
        Just("<|python_tag|>".to_string()),
        Just(F.to_string()),
        Just("{\"name\":\"f\",".to_string()),
        Just("```json\n".to_string()),
        "`{1,3}",
        Just("\"arguments\":{\"a\":\"é\"}".to_string()),
        "[{}\";1 ]{0,2}",
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![Just(Start::Undecided), Just(Start::Inside), Just(Start::After)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn events_do_not_depend_on_the_cutting(
        text in said(), start in start(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)
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
        let whole = events(start, &[&text]);
        prop_assert_eq!(&events(start, &pieces), &whole);
        prop_assert_eq!(&events(start, &letters), &whole);
        let bare = |pieces: &[&str]| whole_calls(all_events(llama(), start, pieces));
        prop_assert_eq!(&bare(&pieces), &bare(&[&text]));
        prop_assert_eq!(&bare(&letters), &bare(&[&text]));
    }

    #[test]
    fn without_tags_nothing_is_lost_either(text in said(), start in start()) {
        let mut said = String::new();
        for event in whole_calls(all_events(llama(), start, &[&text])) {
            match event {
                Event::Reasoning(text) | Event::Content(text) | Event::ToolCall(text) => {
                    said.push_str(&text);
                }
                _ => {}
            }
        }
        let bare = |text: &str| {
            let mut text = text.replace([';', '`'], "").replace("json", "");
            for tag in ["<think>", "</think>", "<|python_tag|>"] {
                text = text.replace(tag, "");
            }
            text.split_whitespace().collect::<String>()
        };
        prop_assume!(bare(&bare(&text)) == bare(&text));
        // A tag within a call is part of it.
        prop_assert_eq!(bare(&said), bare(&text));
    }

    /// Nothing is lost but tags and white space beside them, and nothing is made up.
    #[test]
    fn all_words_come_out_in_order(text in said(), start in start()) {
        let mut said = String::new();
        for event in events(start, &[&text]) {
            match event {
                Event::Reasoning(text) | Event::Content(text) | Event::ToolCall(text) => {
                    said.push_str(&text);
                }
                Event::ContentWasReasoning | Event::ToolCallStart | Event::ToolCallText(_) => {}
            }
        }
        let bare = |text: &str| {
            let mut text = text.to_string();
            for tag in ["<think>", "</think>", "<tool_call>", "</tool_call>"] {
                text = text.replace(tag, "");
            }
            text.split_whitespace().collect::<String>()
        };
        // Removing a tag may join two halves of another; only compare where it does not.
        prop_assume!(bare(&bare(&text)) == bare(&text));
        prop_assert_eq!(bare(&said), bare(&text));
    }

    #[test]
    fn text_without_tags_is_untouched(text in "[a-z \n.é]{0,40}") {
        prop_assert_eq!(Answer::split(&text, Tags::default(), Start::Undecided).content, text);
    }
}

#[test]
fn long_texts_are_read_once() {
    let started = std::time::Instant::now();
    for text in [
        "{\"a\":".repeat(50_000),
        format!("{{\"{}", "<|python_tag|>{\\\"".repeat(50_000)),
        "<|python_tag|>{\":\"".repeat(50_000),
        format!("{{\"parameters\": {{\"a\": \"{}", " <".repeat(100_000)),
        format!("<tool_call>{}", "\n <".repeat(100_000)),
        F.repeat(20_000),
    ] {
        for tags in [Tags::default(), llama()] {
            Answer::split(&text, tags.clone(), Start::Undecided);
            let mut splitter = Splitter::new(tags, Start::Undecided);
            for letter in text.chars() {
                splitter.push(letter.encode_utf8(&mut [0; 4]));
            }
            splitter.finish();
        }
    }
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}
