//! Pulling from a hub: what a user sees when it works, and when it does not.

use std::fs;

use super::support::{Fault, Hub, World, sha256};

/// Bytes that are different everywhere, so that a piece out of place is noticed.
fn weights(n: u32) -> Vec<u8> {
    (0..n / 4).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn hub_with_model(world: &mut World) -> (Hub, Vec<u8>) {
    let hub = Hub::start(world);
    let bytes = weights(400_000);
    hub.file("m-q4_k_m.gguf", &bytes);
    hub.file("m-q8_0.gguf", b"another");
    hub.file("README.md", b"# m");
    (hub, bytes)
}

const STORED: &str = "o--r@Q4_K_M/m-q4_k_m.gguf";
const PART: &str = "ponder/models/o--r@Q4_K_M/m-q4_k_m.gguf.part";

#[test]
fn a_repository_is_pulled_by_quant_listed_found_again_and_removed() {
    let mut world = World::new();
    let (hub, bytes) = hub_with_model(&mut world);
    let pulled = world.ponder(&["pull", "o/r:q4_k_m"]);
    assert!(pulled.ok, "{pulled:?}");
    insta::assert_snapshot!(pulled.stdout, @"o/r:Q4_K_M is here now: [DIR]/ponder/models/o--r@Q4_K_M/m-q4_k_m.gguf (400.0 kB)");
    assert_eq!(fs::read(world.path(&format!("ponder/models/{STORED}"))).unwrap(), bytes);
    assert_eq!(world.stored(), [STORED, "o--r@Q4_K_M/manifest.json"]);

    // Without a quant the repository means the same model; it is here, so the hub is not asked.
    let asked = hub.requests().len();
    let again = world.ponder(&["pull", "--offline", "o/r"]);
    insta::assert_snapshot!(again.stdout, @"o/r:Q4_K_M is already here: [DIR]/ponder/models/o--r@Q4_K_M/m-q4_k_m.gguf (400.0 kB)");
    assert_eq!(hub.requests().len(), asked);

    insta::assert_snapshot!(world.ponder(&["list"]).stdout, @r"
    NAME            SIZE  QUANT   CONTEXT  THINKS
    o/r:Q4_K_M  400.0 kB  Q4_K_M        -  -
    ");
    let refused = world.ponder(&["rm", "o/r"]);
    assert!(!refused.ok);
    insta::assert_snapshot!(refused.stderr, @r"
    error: not removing o/r:Q4_K_M unasked, and there is no terminal to ask on
    hint: add --yes
    ");
    assert!(world.ponder(&["rm", "--yes", "o/r"]).ok);
    assert_eq!(world.stored(), [""; 0]);
}

#[test]
fn a_cut_connection_is_taken_up_where_it_broke() {
    let mut world = World::new();
    let (hub, bytes) = hub_with_model(&mut world);
    hub.faults(&[Fault::Cut(100_000), Fault::Status(503), Fault::Cut(50_000)]);
    let pulled = world.ponder(&["pull", "o/r"]);
    assert!(pulled.ok, "{pulled:?}");
    assert_eq!(fs::read(world.path(&format!("ponder/models/{STORED}"))).unwrap(), bytes);
    let ranges: Vec<_> = hub.downloads().into_iter().map(|r| r.range).collect();
    let from = |n: u32| Some(format!("bytes={n}-"));
    assert_eq!(ranges, [None, from(100_000), from(100_000), from(150_000)]);
}

#[test]
fn a_silent_connection_is_given_up_and_taken_up_again() {
    let mut world = World::new();
    let (hub, bytes) = hub_with_model(&mut world);
    hub.faults(&[Fault::Stall(100_000)]);
    assert!(world.ponder(&["pull", "o/r"]).ok);
    assert_eq!(fs::read(world.path(&format!("ponder/models/{STORED}"))).unwrap(), bytes);
    assert_eq!(hub.downloads()[1].range.as_deref(), Some("bytes=100000-"));
}

#[test]
fn a_later_pull_takes_up_what_an_earlier_one_left() {
    let mut world = World::new();
    let (hub, bytes) = hub_with_model(&mut world);
    hub.faults(&[Fault::Cut(100_000), Fault::Status(404)]);
    let failed = world.ponder(&["pull", "o/r"]);
    assert!(!failed.ok);
    assert_eq!(fs::metadata(world.path(PART)).unwrap().len(), 100_000);
    assert!(world.ponder(&["pull", "o/r"]).ok);
    assert_eq!(hub.downloads()[2].range.as_deref(), Some("bytes=100000-"));
    assert_eq!(fs::read(world.path(&format!("ponder/models/{STORED}"))).unwrap(), bytes);
    assert!(!world.path(PART).exists());
}

#[test]
fn a_server_without_ranges_makes_us_begin_anew() {
    let mut world = World::new();
    let (hub, bytes) = hub_with_model(&mut world);
    hub.faults(&[Fault::Cut(100_000), Fault::NoRange]);
    assert!(world.ponder(&["pull", "o/r"]).ok);
    assert_eq!(fs::read(world.path(&format!("ponder/models/{STORED}"))).unwrap(), bytes);
}

#[test]
fn a_wrong_file_is_named_and_discarded() {
    let mut world = World::new();
    let (hub, _) = hub_with_model(&mut world);
    hub.faults(&[Fault::Corrupt]);
    let failed = world.ponder(&["pull", "o/r"]);
    assert!(!failed.ok);
    let text =
        failed.stderr.lines().filter(|l| !l.starts_with("m-q4")).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(text, @r"
    error: m-q4_k_m.gguf from huggingface o/r is not the file expected: its SHA-256 is a3b08298a06c19a905bc1cd46690a35753a1272aabcead1efc60c8e7b9c712f2, expected 6899be7bb4c845a914bb47265b1124653015b95fe6fd02aaa9c2a7241392b9a6
    hint: the download was discarded; pull again, and if it happens again the source has changed or is not to be trusted
    ");
    assert_eq!(world.stored(), [""; 0]);
}

#[test]
fn a_token_goes_to_the_hub_and_not_to_its_content_network() {
    let mut world = World::new();
    let (hub, _) = hub_with_model(&mut world);
    fs::create_dir_all(world.path("hf")).unwrap();
    fs::write(world.path("hf/token"), "hf_secret\n").unwrap();
    world.set("HF_HOME", &world.path("hf").display().to_string());
    assert!(world.ponder(&["pull", "o/r"]).ok);
    for request in hub.requests() {
        let to_content = request.path.starts_with("/content/");
        let token = (!to_content).then_some("Bearer hf_secret");
        assert_eq!(request.token.as_deref(), token, "{request:?}");
    }
}

#[test]
fn a_file_in_the_hugging_face_cache_does_not_come_again() {
    let mut world = World::new();
    let (hub, bytes) = hub_with_model(&mut world);
    world.set("HF_HOME", &world.path("hf").display().to_string());
    let blobs = world.path("hf/hub/models--o--r/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(sha256(&bytes)), &bytes).unwrap();
    assert!(world.ponder(&["pull", "o/r"]).ok);
    assert!(hub.downloads().is_empty());
    assert_eq!(fs::read(world.path(&format!("ponder/models/{STORED}"))).unwrap(), bytes);
}

#[test]
fn safetensors_come_with_configuration_and_tokenizer() {
    let mut world = World::new();
    let hub = Hub::start(&mut world);
    for name in ["config.json", "tokenizer.json", "model.safetensors.index.json", "README.md"] {
        hub.file(name, b"{}");
    }
    hub.file("model-00001-of-00002.safetensors", b"one");
    hub.file("model-00002-of-00002.safetensors", b"two");
    let pulled = world.ponder(&["pull", "o/r"]);
    insta::assert_snapshot!(pulled.stdout, @"o/r is here now: [DIR]/ponder/models/o--r (12 B)");
    assert_eq!(
        world.stored(),
        [
            "o--r/config.json",
            "o--r/manifest.json",
            "o--r/model-00001-of-00002.safetensors",
            "o--r/model-00002-of-00002.safetensors",
            "o--r/model.safetensors.index.json",
            "o--r/tokenizer.json"
        ]
    );
}

#[test]
fn refusals_say_what_to_do() {
    let mut world = World::new();
    let hub = Hub::start(&mut world);
    let complaint = |world: &World, args: &[&str]| {
        let outcome = world.ponder(args);
        assert!(!outcome.ok, "{args:?}");
        outcome.stderr
    };
    hub.refuse_listing(401);
    insta::assert_snapshot!(complaint(&world, &["pull", "o/r"]), @r"
    error: the hub refused access to o/r (401)
    hint: check the spelling; if the model is private or gated, set HF_TOKEN to a token of an account with access
    ");
    hub.refuse_listing(404);
    insta::assert_snapshot!(complaint(&world, &["pull", "o/r"]), @r"
    error: [HUB]/api/models/o/r/revision/main?blobs=true does not exist (404)
    hint: check the spelling of owner, repository and revision
    ");
    hub.refuse_listing(500);
    insta::assert_snapshot!(complaint(&world, &["pull", "o/r"]), @r"
    error: [HUB]/api/models/o/r/revision/main?blobs=true answered with status 500
    hint: the server may be overloaded; try again later, what was fetched so far is kept
    ");
    world.set("HF_TOKEN", "hf_other");
    hub.refuse_listing(403);
    insta::assert_snapshot!(complaint(&world, &["pull", "o/r"]), @r"
    error: the hub refused access to o/r (403)
    hint: accept the model's terms at https://huggingface.co/o/r with the account HF_TOKEN belongs to, or check the token
    ");
    insta::assert_snapshot!(complaint(&world, &["pull", "--offline", "o/r:Q8_0"]), @r"
    error: `o/r:Q8_0` is not in [DIR]/ponder and --offline forbids fetching it
    hint: run `ponder pull o/r:Q8_0` once with a network
    ");
    world.set("HF_ENDPOINT", "http://127.0.0.1:9");
    insta::assert_snapshot!(complaint(&world, &["pull", "o/r"]), @r"
    error: could not reach http://127.0.0.1:9/api/models/o/r/revision/main?blobs=true: connection refused
    hint: check the network, HTTPS_PROXY and HF_ENDPOINT; what was fetched so far is kept
    ");
    world.set("HF_ENDPOINT", "http://no-such-host.invalid");
    let unknown = complaint(&world, &["pull", "o/r"]);
    assert!(unknown.starts_with("error: could not reach [HUB]/api/models/o/r/"), "{unknown}");
}

#[test]
fn a_quant_that_is_not_there_is_answered_with_those_that_are() {
    let mut world = World::new();
    let _hub = hub_with_model(&mut world);
    let failed = world.ponder(&["pull", "o/r:Q6_K"]);
    insta::assert_snapshot!(failed.stderr, @r"
    error: o/r has no Q6_K
    hint: it has Q4_K_M, Q8_0
    ");
}

#[test]
fn a_file_larger_than_the_disk_is_not_begun() {
    let mut world = World::new();
    let (hub, bytes) = hub_with_model(&mut world);
    let sha = sha256(&bytes);
    world.catalogue(&format!(
        r#"
        [[model]]
        name = "huge"
        architecture = "qwen2"
        parameters = "1B"
        context = 1
        license = "MIT"
        quant = "Q4_K_M"
        files = [{{ name = "huge.gguf", size = 9000000000000000000, sha256 = "{sha}" }}]
        source = [{{ kind = "huggingface", repo = "o/r" }}]
        "#
    ));
    let failed = world.ponder(&["pull", "huge"]);
    assert!(!failed.ok);
    assert!(hub.downloads().is_empty());
    let (before, after) = failed.stderr.split_once(" free\n").unwrap();
    let before = before.rsplit_once(' ').unwrap().0.rsplit_once(' ').unwrap().0;
    insta::assert_snapshot!(format!("{before} … free\n{after}"), @r"
    error: not enough room in [DIR]/ponder/models/huge: 9.0 EB still needed, … free
    hint: free some space, or set PONDER_HOME to a directory on another disk; what was fetched so far is kept
    ");
}
