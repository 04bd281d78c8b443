//! Texts kept in a file: brought back they give the same answers without being read, and a file that
//! isn't right is refused.

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use engine::sampler::Sampling;
use engine::{
    Completion, Engine, Error, Flow, Kept, LoadOptions, Request, Scheduler, SchedulerOptions,
};
use kernels::attention::KvType;
use proptest::prelude::*;
use support::{CONTEXT, byte, tiny_model};
use text::splitter::Start;

fn load(dir: &Path, rope_scaling: Option<&str>) -> Arc<Engine> {
    let rope_scaling = rope_scaling.map(|text| text.parse().unwrap());
    let options = LoadOptions { threads: Some(1), rope_scaling, ..LoadOptions::default() };
    Arc::new(Engine::load(&tiny_model(dir, false), &options).unwrap())
}

fn scheduler(engine: &Arc<Engine>, contexts: usize) -> Scheduler {
    let options = SchedulerOptions {
        kv_tokens: Some(contexts * CONTEXT),
        ngram: false,
        ..Default::default()
    };
    Scheduler::new(Arc::clone(engine), options).unwrap()
}

fn request(text: &str) -> Request {
    Request {
        prompt: text.bytes().map(byte).collect(),
        sampling: Sampling { seed: Some(5), ..Sampling::default() },
        max_tokens: Some(9),
        ignore_eos: true,
        start: Start::After,
        ..Request::default()
    }
}

fn ask(scheduler: &mut Scheduler, text: &str) -> Completion {
    scheduler.complete(&request(text), &mut |_| Flow::Continue).unwrap()
}

/// Two texts that share a beginning of more than a page, and one of their own.
fn texts() -> [String; 3] {
    let common = "A beginning that both have, and that is longer than the 64 tokens of a page. ";
    [format!("{common}One goes on so."), format!("{common}The other doesn't."), "Hm?".to_owned()]
}

#[test]
fn texts_go_on_where_they_were_without_being_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kept.kv");
    let engine = load(dir.path(), None);
    let mut first = scheduler(&engine, 3);
    let answers = texts().map(|text| ask(&mut first, &text).tokens);
    let kept = first.keep(&file).unwrap();

    let mut second = scheduler(&load(dir.path(), None), 3);
    assert_eq!(second.bring_back(&file).unwrap(), kept);
    let load = second.load();
    assert_eq!(load.kv_pages, load.kv_pages_free, "what nobody uses can be forgotten");
    for (text, answer) in texts().iter().zip(answers) {
        let again = ask(&mut second, text);
        assert_eq!(again.tokens, answer);
        assert_eq!(again.usage.cached_tokens, text.len() - 1, "all but the token to go on from");
    }
    // What is written after reading is what was read, when nothing else has come.
    let mut third = scheduler(&engine, 3);
    third.bring_back(&file).unwrap();
    let copy = dir.path().join("copy.kv");
    third.keep(&copy).unwrap();
    assert_eq!(fs::read(&file).unwrap(), fs::read(&copy).unwrap());
}

#[test]
fn a_smaller_cache_takes_what_was_used_last() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kept.kv");
    let engine = load(dir.path(), None);
    let mut first = scheduler(&engine, 8);
    let long = |c: char| String::from(c).repeat(CONTEXT - 20);
    for c in ['a', 'b', 'c', 'd'] {
        ask(&mut first, &long(c));
    }
    let kept = first.keep(&file).unwrap();
    let mut small = scheduler(&engine, 1);
    let back = small.bring_back(&file).unwrap();
    assert!(back.pages < kept.pages && back.pages == small.load().kv_pages, "{back:?} of {kept:?}");
    assert_eq!(ask(&mut small, &long('d')).usage.cached_tokens, CONTEXT - 21);
    let mut small = scheduler(&engine, 1);
    small.bring_back(&file).unwrap();
    assert_eq!(ask(&mut small, &long('a')).usage.cached_tokens, 0);
}

#[test]
fn what_belongs_to_something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kept.kv");
    let engine = load(dir.path(), None);
    let mut mine = scheduler(&engine, 1);
    ask(&mut mine, "Some text.");
    mine.keep(&file).unwrap();

    let refusal = |scheduler: &mut Scheduler| scheduler.bring_back(&file).unwrap_err().to_string();
    let stretched = load(dir.path(), Some("linear:2"));
    let error = refusal(&mut scheduler(&stretched, 1));
    assert!(error.contains("another model, or with its positions stretched"), "{error}");
    // Where only longer texts are stretched, the others are as good as ever.
    let longer = load(dir.path(), Some("auto:2"));
    assert_eq!(scheduler(&longer, 2).bring_back(&file).unwrap(), mine.bring_back(&file).unwrap());
    let options = SchedulerOptions { cache: KvType::F32.into(), ..Default::default() };
    let error = refusal(&mut Scheduler::new(Arc::clone(&engine), options).unwrap());
    assert!(error.contains("holds keys and values as f16, not f32"), "{error}");

    let missing = mine.bring_back(&dir.path().join("none.kv")).unwrap_err();
    assert!(matches!(&missing, Error::KeptIo { source, .. }
        if source.kind() == std::io::ErrorKind::NotFound));
    let error = mine.keep(&dir.path().join("no/such/dir/kept.kv")).unwrap_err().to_string();
    assert!(error.contains("no/such/dir"), "{error}");
    fs::write(&file, "something else that is long enough").unwrap();
    assert!(refusal(&mut mine).contains("this is no file of kept texts"));
}

#[test]
fn longer_texts_come_back_where_they_are_stretched_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kept.kv");
    let (twice, thrice) = (load(dir.path(), Some("auto:2")), load(dir.path(), Some("auto:3")));
    let mut first = scheduler(&twice, 3);
    let long = "A text of more than the 256 tokens that the model was made for. ".repeat(6);
    let answers =
        [&long, "A short one, of 42 tokens, answer included."].map(|t| ask(&mut first, t));
    let kept = first.keep(&file).unwrap();

    let mut again = scheduler(&twice, 3);
    assert_eq!(again.bring_back(&file).unwrap(), kept);
    for (text, answer) in
        [&long, "A short one, of 42 tokens, answer included."].iter().zip(&answers)
    {
        let second = ask(&mut again, text);
        assert_eq!(second.tokens, answer.tokens);
        assert!(second.usage.cached_tokens + 1 >= text.len(), "{}", second.usage.cached_tokens);
    }

    let mut other = scheduler(&thrice, 4);
    let some = other.bring_back(&file).unwrap();
    assert!((1..64).contains(&some.tokens), "{some:?}");
    assert_eq!(ask(&mut other, &long).usage.cached_tokens, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Bytes changed, cut off or added: an error that says so, and a scheduler as good as new.
    #[test]
    fn damage_is_noticed(at in any::<prop::sample::Index>(), flip in 1..=255u8, how in 0..3) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kept.kv");
        let mut scheduler = scheduler(&load(dir.path(), None), 2);
        let answer = ask(&mut scheduler, &texts()[0]).tokens;
        scheduler.keep(&file).unwrap();
        let mut bytes = fs::read(&file).unwrap();
        // Most of the file is pages, most of what can be wrong is in the header.
        let at = if how == 0 { at.index(bytes.len()) } else { at.index(700) };
        match how {
            2 => bytes.truncate(at),
            _ => bytes[at] ^= flip,
        }
        fs::write(&file, bytes).unwrap();
        let error = scheduler.bring_back(&file).unwrap_err();
        prop_assert!(matches!(error, Error::Kept { .. }), "{}", error);
        let load = scheduler.load();
        prop_assert_eq!(load.kv_pages, load.kv_pages_free);
        let again = ask(&mut scheduler, &texts()[0]);
        prop_assert_eq!((again.tokens, again.usage.cached_tokens), (answer, 0));
    }
}

#[test]
fn an_empty_cache_can_be_kept_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kept.kv");
    let engine = load(dir.path(), None);
    assert_eq!(scheduler(&engine, 1).keep(&file).unwrap(), Kept::default());
    assert_eq!(scheduler(&engine, 1).bring_back(&file).unwrap(), Kept::default());
}
