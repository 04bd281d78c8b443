//! The stream of an answer, seen on a screen.

use std::time::Duration;

use engine::Delta;
use proptest::prelude::*;

use super::render::{Renderer, seconds};
use super::{Look, Size, Thinking};

const SIZE: Size = Size { columns: 40, rows: 12 };

/// Shows deltas, each a tenth of a second after the last, on a virtual terminal.
struct Shown {
    renderer: Renderer<Vec<u8>>,
    /// What was thought; a word is a token here.
    thoughts: String,
    written: usize,
    at: Duration,
    screen: vt100::Parser,
    bytes: Vec<u8>,
}

impl Shown {
    fn new(thinking: Thinking, size: Size) -> Self {
        let look = Look { terminal: true, colour: true, thinking };
        let mut screen = vt100::Parser::new(size.rows as u16, size.columns as u16, 100);
        screen.process(b"$ ponder run\r\n");
        let renderer = Renderer::new(Vec::new(), look, size);
        Self {
            renderer,
            thoughts: String::new(),
            written: 0,
            at: Duration::ZERO,
            screen,
            bytes: Vec::new(),
        }
    }

    fn show(&mut self, delta: Delta) {
        self.at += Duration::from_millis(100);
        self.renderer.show(&delta, self.at).expect("a vector takes everything");
        self.update();
    }

    fn think(&mut self, text: &str) {
        self.thoughts += text;
        self.show(Delta::Reasoning(text.to_owned()));
    }

    fn say(&mut self, text: &str) {
        let thought = Delta::Thought { tokens: self.words() };
        self.renderer.show(&thought, self.at).expect("a vector takes everything");
        self.show(Delta::Content(text.to_owned()));
    }

    fn words(&self) -> usize {
        self.thoughts.split_whitespace().count()
    }

    fn finish(&mut self) {
        self.renderer.finish(self.words(), self.at).expect("a vector takes everything");
        self.update();
    }

    fn update(&mut self) {
        let new = self.renderer.output()[self.written..].to_vec();
        self.written += new.len();
        // What the terminal driver does with the end of a line.
        let text = String::from_utf8(new).expect("UTF-8").replace('\n', "\r\n");
        self.screen.process(text.replace("\r\r\n", "\r\n").as_bytes());
        self.bytes.extend(text.bytes());
    }

    fn text(&self) -> String {
        self.screen.screen().contents()
    }

    /// Everything above the cursor, also what has scrolled away.
    fn whole_text(&mut self) -> String {
        let mut all = Vec::new();
        self.screen.screen_mut().set_scrollback(usize::MAX);
        while self.screen.screen().scrollback() > 0 {
            let back = self.screen.screen().scrollback();
            all.extend(self.screen.screen().rows(0, 200).next());
            self.screen.screen_mut().set_scrollback(back - 1);
        }
        all.push(self.text());
        all.join("\n")
    }

    fn is_dim(&self, row: u16, column: u16) -> bool {
        self.screen.screen().cell(row, column).is_some_and(vt100::Cell::dim)
    }
}

#[test]
fn thinking_folds_into_one_line() {
    let mut shown = Shown::new(Thinking::Fold, SIZE);
    shown.think("Let me ");
    shown.think("see.\n\nTwo and two");
    assert_eq!(shown.text(), "$ ponder run\nLet me see.\nTwo and two");
    assert!(shown.is_dim(1, 0) && shown.is_dim(2, 0));
    shown.say("\n\n");
    shown.say("It is **4**.");
    shown.finish();
    assert_eq!(shown.text(), "$ ponder run\nthought for 6 tokens, 0.3 s\n\nIt is 4.");
    assert!(shown.is_dim(1, 0) && !shown.is_dim(3, 0));
    assert_eq!(shown.screen.screen().cursor_position(), (4, 0));
}

#[test]
fn long_thinking_stays_in_its_window() {
    let mut shown = Shown::new(Thinking::Fold, SIZE);
    for i in 0..300 {
        shown.think(&format!("thought{i} "));
        let rows = shown.text().lines().count();
        assert!(rows <= 1 + SIZE.rows / 3, "{rows} rows:\n{}", shown.text());
        assert!(shown.text().contains(&format!("thought{i}")), "{}", shown.text());
    }
    shown.say("Done.");
    shown.finish();
    assert_eq!(shown.whole_text(), "$ ponder run\nthought for 300 tokens, 30.0 s\n\nDone.");
}

#[test]
fn folding_is_exact_at_the_bottom_of_the_screen() {
    let mut shown = Shown::new(Thinking::Fold, SIZE);
    shown.screen.process("earlier\r\n".repeat(20).as_bytes());
    for word in 0..200 {
        shown.think(if word % 17 == 0 { "\n- new line" } else { " wörter 漢字 🙂" });
    }
    shown.say("Done.");
    shown.finish();
    let text = shown.whole_text();
    let rest = text.strip_prefix("$ ponder run\n").expect("the first line is untouched");
    let rest = rest.trim_start_matches("earlier\n");
    assert_eq!(rest, "thought for 600 tokens, 20.0 s\n\nDone.");
    assert_eq!(text.matches("earlier").count(), 20);
}

#[test]
fn a_screen_that_becomes_narrower_is_reflowed_and_still_folded() {
    let mut shown = Shown::new(Thinking::Fold, SIZE);
    shown.think("words that fill one row of the screen and more");
    // Reflow by hand, as terminals do and the virtual one does not: row one becomes two.
    let narrow = Size { columns: 25, rows: 12 };
    let rows: Vec<String> = shown.text().lines().skip(1).map(str::to_owned).collect();
    assert!(rows[0].len() > 25 && rows[1].len() <= 25, "{rows:?}");
    shown.screen = vt100::Parser::new(12, 25, 0);
    shown.screen.process(format!("$ ponder run\r\n{}\r\n{}", rows[0], rows[1]).as_bytes());
    shown.renderer.resize(narrow);
    shown.say("Done.");
    shown.finish();
    assert_eq!(shown.text(), "$ ponder run\nthought for 10 tokens, 0.1 s\n\nDone.");
}

#[test]
fn shown_thinking_stays() {
    let mut shown = Shown::new(Thinking::Show, SIZE);
    shown.think("\nTwo and");
    shown.think(" two");
    shown.say("\n\n4");
    shown.finish();
    let want = "$ ponder run\nTwo and two\nthought for 3 tokens, 0.2 s\n\n4";
    assert_eq!(shown.text(), want);
    assert!(shown.is_dim(1, 0) && shown.is_dim(2, 0) && !shown.is_dim(4, 0));
}

#[test]
fn hidden_thinking_is_counted() {
    let mut shown = Shown::new(Thinking::Hide, SIZE);
    shown.think("secret");
    shown.think(" words");
    assert_eq!(shown.text(), "$ ponder run\nthinking, 0.1 s");
    shown.say("4");
    shown.finish();
    assert_eq!(shown.text(), "$ ponder run\nthought for 2 tokens, 0.2 s\n\n4");
    assert!(!String::from_utf8_lossy(&shown.bytes).contains("secret"));
}

#[test]
fn thinking_without_an_answer_is_folded_at_the_end() {
    let mut shown = Shown::new(Thinking::Fold, SIZE);
    shown.think("hm");
    shown.finish();
    assert_eq!(shown.text(), "$ ponder run\nthought for 1 token, 0.0 s");
}

#[test]
fn blank_thinking_is_not_mentioned() {
    let mut shown = Shown::new(Thinking::Fold, SIZE);
    shown.think("\n\n");
    shown.say("4");
    shown.finish();
    assert_eq!(shown.text(), "$ ponder run\n4");
}

#[test]
fn a_long_prompt_is_counted_and_a_short_one_is_not() {
    let mut shown = Shown::new(Thinking::Fold, SIZE);
    shown.show(Delta::Prefill { done: 10, total: 1000 });
    assert_eq!(shown.text(), "$ ponder run");
    shown.at += Duration::from_secs(1);
    shown.show(Delta::Prefill { done: 500, total: 1000 });
    assert_eq!(shown.text(), "$ ponder run\nreading the prompt: 500 of 1000 tokens");
    shown.show(Delta::Prefill { done: 1000, total: 1000 });
    shown.say("4");
    shown.finish();
    assert_eq!(shown.text(), "$ ponder run\n4");
}

#[test]
fn tool_calls_stand_on_their_own_line() {
    let mut shown = Shown::new(Thinking::Fold, SIZE);
    shown.say("Looking it up.");
    shown.show(Delta::ToolCall("\n{\"name\": \"clock\"}\n".to_owned()));
    shown.finish();
    assert_eq!(shown.text(), "$ ponder run\nLooking it up.\ntool call: {\"name\": \"clock\"}");
}

#[test]
fn thoughts_that_were_not_announced_are_called_so() {
    let mut shown = Shown::new(Thinking::Fold, SIZE);
    shown.say("Two and **two");
    shown.show(Delta::ContentWasReasoning);
    shown.say("4");
    shown.finish();
    let want = "$ ponder run\nTwo and **two\n(these were thoughts, 0.2 s)\n\n4";
    assert_eq!(shown.text(), want);
}

#[test]
fn a_model_cannot_steer_the_terminal() {
    let mut shown = Shown::new(Thinking::Fold, SIZE);
    shown.think("\x1b]0;evil\x07a\x1b[2J");
    shown.say("\x1b[2Jb\u{9b}2J\r\x08c");
    shown.finish();
    assert!(shown.text().starts_with("$ ponder run\nthought for"), "{}", shown.text());
    assert!(shown.text().ends_with("[2Jb2Jc"), "{}", shown.text());
}

proptest! {
    /// Whatever is thought on whatever screen, nothing of it and nothing else is left or lost.
    #[test]
    fn folding_is_exact(
        thoughts in prop::collection::vec("[a-z 漢🙂é\n\t]{1,30}", 1..60),
        columns in 8usize..60,
        rows in 4usize..30,
        above in 0usize..40,
    ) {
        let mut shown = Shown::new(Thinking::Fold, Size { columns, rows });
        for line in 0..above {
            shown.screen.process(format!("{line}\r\n").as_bytes());
        }
        shown.think("x");
        for thought in &thoughts {
            shown.think(thought);
        }
        // The summary may be wider than a narrow screen: look for the answer and what was above.
        shown.say("END");
        shown.finish();
        let text = shown.whole_text();
        let (before, after) = text.split_once("thought ").expect("the summary");
        let numbers: String = (0..above).map(|line| format!("{line}\n")).collect();
        let want: String = format!("$ ponder run\n{numbers}");
        prop_assert!(before == want || columns < 14, "{}", text);
        prop_assert!(before.ends_with(&numbers), "{}", text);
        prop_assert!(after.replace('\n', "").ends_with("sEND"), "{}", text);
    }
}

/// What is written where there is no terminal.
fn piped(thinking: Thinking, deltas: &[Delta]) -> String {
    let look = Look { terminal: false, colour: false, thinking };
    let mut renderer = Renderer::new(Vec::new(), look, SIZE);
    for delta in deltas {
        renderer.show(delta, Duration::from_secs(9)).expect("a vector takes everything");
    }
    renderer.finish(1, Duration::from_secs(9)).expect("a vector takes everything");
    String::from_utf8(renderer.output().clone()).expect("UTF-8")
}

#[test]
fn a_pipe_gets_the_answer_as_the_model_wrote_it() {
    let deltas = [
        Delta::Prefill { done: 1, total: 2 },
        Delta::Reasoning("hm".to_owned()),
        Delta::Content("# A\n**b** `c`\x1b".to_owned()),
    ];
    assert_eq!(piped(Thinking::Fold, &deltas), "# A\n**b** `c`\x1b\n");
    assert_eq!(piped(Thinking::Hide, &deltas), "# A\n**b** `c`\x1b\n");
    let shown = piped(Thinking::Show, &deltas);
    assert_eq!(shown, "<think>\nhm\n</think>\n\n# A\n**b** `c`\x1b\n");
    assert_eq!(piped(Thinking::Show, &deltas[..2]), "<think>\nhm\n</think>\n\n");
    assert_eq!(piped(Thinking::Fold, &[]), "");
}

#[test]
fn without_colour_there_is_folding_but_no_style() {
    let look = Look { terminal: true, colour: false, thinking: Thinking::Fold };
    let mut renderer = Renderer::new(Vec::new(), look, SIZE);
    for delta in [
        Delta::Reasoning("hm".to_owned()),
        Delta::Thought { tokens: 1 },
        Delta::Content("**4**".to_owned()),
    ] {
        renderer.show(&delta, Duration::ZERO).expect("a vector takes everything");
    }
    renderer.finish(1, Duration::ZERO).expect("a vector takes everything");
    let text = String::from_utf8(renderer.output().clone()).expect("UTF-8");
    assert_eq!(text, "hm\x1b[K\r\x1b[Jthought for 1 token, 0.0 s\n\n**4**\n");
}

#[test]
fn durations() {
    assert_eq!(seconds(Duration::from_millis(9_060)), "9.1 s");
    assert_eq!(seconds(Duration::from_secs(125)), "2 min 5 s");
}
