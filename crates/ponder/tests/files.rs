//! `convert`, `quantize` and `merge` through the binary: what a user gets, and what is said where
//! there is nothing to get.

#[path = "../../engine/tests/support/mod.rs"]
#[expect(dead_code, reason = "the engine's own tests use more of it")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use weights::gguf::Gguf;

/// A folder with tiny models, and nothing of the user's own.
struct World {
    folder: tempfile::TempDir,
}

struct Said {
    ok: bool,
    out: String,
    err: String,
}

impl World {
    /// `hf/` is a safetensors model, `tiny.gguf` what is made of it.
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("hf");
        fs::create_dir(&dir).unwrap();
        support::tiny_safetensors(&dir);
        let world = World { folder };
        let said = world.run(&["convert", "hf", "-o", "tiny.gguf"]);
        assert!(said.ok, "{}", said.err);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ponder"));
        command.args(args).env_clear().env("PONDER_HOME", self.path("home"));
        let output = command.current_dir(self.folder.path()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
    }

    fn works(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert!(said.ok, "{args:?}: {}", said.err);
        said.out
    }

    /// What a refusal says; nothing half done may be left.
    fn refused(&self, args: &[&str]) -> String {
        let before = self.names();
        let said = self.run(args);
        assert!(!said.ok, "{args:?} worked: {}", said.out);
        assert_eq!(self.names(), before, "{args:?} left something: {}", said.err);
        assert!(!said.err.contains("panicked"), "{}", said.err);
        said.err
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// What the model says to a text, token by token.
    fn answer(&self, model: &str) -> Value {
        let args = ["run", "-m", model, "--json", "--temp", "0", "--max-tokens", "12", "2 + 2?"];
        serde_json::from_str(&self.works(&args)).unwrap()
    }
}

#[test]
fn there_and_back_the_model_says_the_same() {
    let world = World::new();
    let original = world.answer("hf");
    assert_eq!(world.answer("tiny.gguf")["content"], original["content"]);
    world.works(&["convert", "tiny.gguf", "-o", "back/", "--type", "f32"]);
    assert_eq!(world.answer("back")["content"], original["content"]);
    for name in ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
    {
        assert!(world.path("back").join(name).is_file(), "{name}");
    }
    // And once more to GGUF: metadata and bytes are what they were.
    world.works(&["convert", "back", "-o", "again.gguf"]);
    let (a, b) = (Gguf::open(&world.path("tiny.gguf")), Gguf::open(&world.path("again.gguf")));
    let (a, b) = (a.unwrap(), b.unwrap());
    let pairs = |file: &Gguf| -> Vec<String> {
        let entries = file.metadata().iter().filter(|(key, _)| *key != "general.name");
        let mut lines: Vec<String> = entries.map(|(key, v)| format!("{key}: {v:?}")).collect();
        lines.sort();
        lines
    };
    assert_eq!(pairs(&a), pairs(&b));
    assert_eq!(a.tensors().len(), b.tensors().len());
    for info in a.tensors() {
        let same = b.tensor(&info.name).unwrap().data == a.tensor(&info.name).unwrap().data;
        assert!(same, "{}", info.name);
    }
}

#[test]
fn quantize_says_what_is_in_the_file() {
    let world = World::new();
    let out = world.works(&["quantize", "tiny.gguf", "-o", "q.gguf", "--type", "q8_0"]);
    assert!(out.starts_with("q.gguf (") && out.contains("15 Q8_0 ("), "{out}");
    assert_eq!(
        Gguf::open(&world.path("q.gguf")).unwrap().metadata().u32("general.file_type").unwrap(),
        Some(7)
    );
    // The same from safetensors in one step, to the byte but for the name.
    world.works(&["quantize", "hf", "-o", "direct.gguf", "--type", "Q8_0", "--threads", "1"]);
    assert!(
        fs::read(world.path("q.gguf")).unwrap() == fs::read(world.path("direct.gguf")).unwrap()
    );
    // Rows of 64 are no block of 256.
    let out = world.works(&["quantize", "tiny.gguf", "-o", "k.gguf", "--type", "q4_k_m"]);
    assert!(out.contains("Q5_0") && out.contains("14 matrices have rows"), "{out}");
    let args = [
        "quantize",
        "tiny.gguf",
        "-o",
        "own.gguf",
        "--type",
        "q4_0",
        "--pure",
        "--tensor-type",
        r"blk\.1\..*_down=q5_1",
        "--tensor-type",
        "token_embd=f16",
    ];
    world.works(&args);
    let own = Gguf::open(&world.path("own.gguf")).unwrap();
    let ty = |name: &str| own.tensor(name).unwrap().info.ty.name();
    assert_eq!(ty("blk.0.ffn_down.weight"), "Q4_0");
    assert_eq!(ty("blk.1.ffn_down.weight"), "Q5_1");
    assert_eq!(ty("token_embd.weight"), "F16");
    assert_eq!(ty("blk.0.attn_norm.weight"), "F32");
    assert!(world.answer("own.gguf")["content"].is_string());
}

/// What a text tells about the weights goes into the file that is made with it.
#[test]
fn weights_that_matter_more_are_kept_better() {
    let world = World::new();
    let text: String = (0..200).map(|i| format!("{i} and {i} are {}. ", 2 * i)).collect();
    fs::write(world.path("text.txt"), text).unwrap();
    let said =
        world.works(&["imatrix", "text.txt", "-m", "./tiny.gguf", "-o", "i.gguf", "--ctx", "64"]);
    assert!(said.starts_with("i.gguf: 14 matrices, "), "{said}");
    let matrix = Gguf::open(&world.path("i.gguf")).unwrap();
    assert_eq!(matrix.metadata().str("imatrix.datasets").ok(), None, "a list");
    assert_eq!(matrix.metadata().u32("imatrix.chunk_size").unwrap(), Some(64));

    let quantize = ["quantize", "tiny.gguf", "--type", "q4_0", "-o"];
    world.works(&[&quantize[..], &["plain.gguf"]].concat());
    let said = world.works(&[&quantize[..], &["weighted.gguf", "--imatrix", "i.gguf"]].concat());
    assert!(said.contains("1 matrices are not in the importance matrix"), "{said}");
    let [plain, weighted] =
        ["plain.gguf", "weighted.gguf"].map(|name| Gguf::open(&world.path(name)).unwrap());
    let data = |file: &Gguf| file.tensor("blk.1.attn_q.weight").unwrap().data.to_vec();
    assert_ne!(data(&plain), data(&weighted));
    assert_eq!(weighted.metadata().u32("quantize.imatrix.entries_count").unwrap(), Some(14));
    world.answer("./weighted.gguf");

    let short = world.refused(&[
        "imatrix",
        "text.txt",
        "-m",
        "./tiny.gguf",
        "-o",
        "j.gguf",
        "--ctx",
        "100000",
    ]);
    assert!(short.contains("100000"), "{short}");
    let none = world.refused(&[&quantize[..], &["x.gguf", "--imatrix", "text.txt"]].concat());
    assert!(none.contains("text.txt"), "{none}");
}

#[test]
fn a_file_is_made_to_fit() {
    let world = World::new();
    let size = |name: &str| fs::metadata(world.path(name)).unwrap().len();
    let fit = |size: u64, out: &str| {
        let size = size.to_string();
        world.works(&["quantize", "tiny.gguf", "--fit", &size, "-o", out])
    };
    world.works(&["quantize", "tiny.gguf", "-o", "q4.gguf", "--type", "q4_0"]);
    world.works(&["quantize", "tiny.gguf", "-o", "q8.gguf", "--type", "q8_0"]);
    let (least, most) = (size("q4.gguf"), size("q8.gguf"));
    for (n, wanted) in
        (least + 4096..=most + 4096).step_by(((most - least) / 4) as usize).enumerate()
    {
        let out = format!("fit{n}.gguf");
        let said = fit(wanted, &out);
        assert!(size(&out) <= wanted, "{said}");
        assert!(size(&out) + 12_000 >= wanted, "{} of {wanted}: {said}", size(&out));
        world.answer(&format!("./{out}"));
    }
    let small = world.refused(&["quantize", "tiny.gguf", "--fit", "1kb", "-o", "x.gguf"]);
    assert!(small.contains("can't be made smaller than"), "{small}");
    let both =
        world.refused(&["quantize", "tiny.gguf", "--fit", "1g", "--type", "q4_0", "-o", "x.gguf"]);
    assert!(both.contains("cannot be used with"), "{both}");
}

#[test]
fn what_is_there_is_not_overwritten() {
    let world = World::new();
    let same =
        world.refused(&["quantize", "tiny.gguf", "-o", "tiny.gguf", "--type", "q8_0", "--force"]);
    assert!(same.contains("tiny.gguf: output: is what is read"), "{same}");
    let linked = world.path("link.gguf");
    std::os::unix::fs::symlink(world.path("tiny.gguf"), &linked).unwrap();
    let same = world.refused(&["convert", "tiny.gguf", "-o", "./link.gguf", "--force"]);
    assert!(same.contains("is what is read"), "{same}");
    let inside = world.refused(&["convert", "hf", "-o", "hf/model.safetensors", "--to", "gguf"]);
    assert!(inside.contains("is what is read"), "{inside}");
    let full = world.refused(&["convert", "tiny.gguf", "-o", "hf/"]);
    assert!(full.contains("hf/: output: is a directory with something in it"), "{full}");
    fs::write(world.path("mine.gguf"), "mine").unwrap();
    let there = world.refused(&["convert", "hf", "-o", "mine.gguf"]);
    assert!(
        there.contains("mine.gguf: output: is there already") && there.contains("--force"),
        "{there}"
    );
    world.works(&["convert", "hf", "-o", "mine.gguf", "--force"]);
    let nowhere = world.refused(&["convert", "hf", "-o", "no/where.gguf"]);
    assert!(nowhere.contains("directory no is missing"), "{nowhere}");
    let vague = world.refused(&["convert", "hf", "-o", "what"]);
    assert!(vague.contains("hint: end the name with .gguf or with /"), "{vague}");
    fs::create_dir(world.path("empty")).unwrap();
    world.works(&["convert", "tiny.gguf", "-o", "empty"]);
    assert!(world.path("empty/config.json").is_file());
}

#[test]
fn bad_input_is_named() {
    let world = World::new();
    let unknown = world.refused(&["quantize", "tiny.gguf", "-o", "x.gguf", "--type", "q9_k"]);
    assert!(unknown.contains("there is no type `q9_k`; there are F32, F16"), "{unknown}");
    let read = world.refused(&["quantize", "tiny.gguf", "-o", "x.gguf", "--type", "iq2_xxs"]);
    assert!(read.contains("be read, but not stored as `iq2_xxs`; there are F32, F16"), "{read}");
    let with = |tensor_type: &str| {
        let own = ["--tensor-type", tensor_type];
        let args = ["quantize", "tiny.gguf", "-o", "x.gguf", "--type", "q8_0"];
        world.refused(&[&args[..], &own].concat())
    };
    let bad = with("(=q4_0");
    assert!(bad.contains("`(=q4_0`: regex parse error"), "{bad}");
    let read = with("ffn_down=iq3_s");
    assert!(read.contains("`ffn_down=iq3_s`: IQ3_S can be read, but weights can't be"), "{read}");
    let bad = world.refused(&["convert", "tiny.gguf", "-o", "x/", "--type", "q8_0"]);
    assert!(bad.contains("Q8_0 is no type of safetensors"), "{bad}");
    world.works(&["quantize", "tiny.gguf", "-o", "q8.gguf", "--type", "q8_0"]);
    let again = world.refused(&["quantize", "q8.gguf", "-o", "x.gguf", "--type", "q4_0"]);
    assert!(again.contains("is Q8_0 already") && again.contains("--allow-requantize"), "{again}");
    world.works(&["quantize", "q8.gguf", "-o", "x.gguf", "--type", "q4_0", "--allow-requantize"]);

    let bytes = fs::read(world.path("tiny.gguf")).unwrap();
    fs::write(world.path("cut.gguf"), &bytes[..bytes.len() - 1000]).unwrap();
    let cut = world.refused(&["quantize", "cut.gguf", "-o", "y.gguf", "--type", "q8_0"]);
    assert!(cut.contains("cut.gguf") && cut.contains("the file ends"), "{cut}");
    let gone = world.refused(&["convert", "hf/nothing.gguf", "-o", "y.gguf"]);
    assert!(gone.contains("nothing.gguf"), "{gone}");
    fs::remove_file(world.path("hf/tokenizer.json")).unwrap();
    let gone = world.refused(&["convert", "hf", "-o", "y.gguf"]);
    assert!(gone.contains("tokenizer.json is missing"), "{gone}");
}

#[test]
fn a_shard_that_is_missing_is_named() {
    let world = World::new();
    let sharded =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/goldens/llama-sharded");
    fs::create_dir(world.path("parts")).unwrap();
    for entry in fs::read_dir(sharded).unwrap() {
        let from = entry.unwrap().path();
        let name = from.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.contains("00002-of") {
            fs::copy(&from, world.path("parts").join(name)).unwrap();
        }
    }
    fs::copy(world.path("hf/tokenizer.json"), world.path("parts/tokenizer.json")).unwrap();
    let error = world.refused(&["convert", "parts", "-o", "x.gguf"]);
    assert!(error.contains("shard 2 of 2") && error.contains("is missing"), "{error}");
}

#[test]
fn a_full_disk_is_seen_before_anything_is_written() {
    let world = World::new();
    fs::create_dir(world.path("small")).unwrap();
    // A disk of our own, where the system lets one have that.
    let script = "mount -t tmpfs -o size=64k none small || exit 77; \
                  \"$0\" quantize tiny.gguf -o small/q.gguf --type f32; echo code $?; ls -A small";
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", script, env!("CARGO_BIN_EXE_ponder")]);
    let Ok(output) = command.current_dir(world.folder.path()).output() else {
        eprintln!("skipped: there is no unshare");
        return;
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    if !out.contains("code") {
        eprintln!("skipped: no disk to be had: {err}");
        return;
    }
    assert_eq!(out.trim(), "code 1", "{out}{err}");
    assert!(err.contains("small/q.gguf: cannot write") && err.contains("are needed"), "{err}");
    assert!(err.contains("free some space"), "{err}");
}

#[test]
fn a_write_that_fails_half_way_leaves_nothing_behind() {
    let world = World::new();
    for args in ["quantize tiny.gguf -o q.gguf --type f32", "convert tiny.gguf -o dir/ --type f32"]
    {
        let before = world.names();
        // Files may have 64 blocks of 512 bytes; the signal that says so is ignored.
        let script = format!("trap '' XFSZ; ulimit -f 64; \"$0\" {args}");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_ponder")]);
        let output = command.current_dir(world.folder.path()).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.contains("cannot write: File too large"), "{err}");
        assert_eq!(world.names(), before);
    }
}

/// An adapter as PEFT saves it, on one matrix of the tiny model.
fn adapter(world: &World) {
    let dir = world.path("lora");
    fs::create_dir(&dir).unwrap();
    let config = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none"});
    fs::write(dir.join("adapter_config.json"), config.to_string()).unwrap();
    let name = |half| format!("base_model.model.model.layers.0.mlp.up_proj.lora_{half}.weight");
    let tensor = |half, shape: [usize; 2]| weights::safetensors::NewTensor {
        name: name(half),
        shape: shape.to_vec(),
        values: (0..shape[0] * shape[1]).map(|i| (i % 7) as f32 / 7.0 - 0.4).collect(),
    };
    let tensors = [tensor("A", [2, 64]), tensor("B", [96, 2])];
    weights::safetensors::write(&dir.join("adapter_model.safetensors"), &tensors).unwrap();
}

#[test]
fn an_adapter_is_merged_and_converted() {
    let world = World::new();
    adapter(&world);
    let out = world.works(&["merge", "tiny.gguf", "lora", "-o", "merged.gguf"]);
    assert!(out.starts_with("1 matrices have the adapter added"), "{out}");
    world.works(&["merge", "hf", "lora", "-o", "merged/", "--type", "f32"]);
    assert_eq!(world.answer("merged.gguf")["content"], world.answer("merged")["content"]);
    assert!(world.path("merged/tokenizer.json").is_file());
    let none = world.refused(&["convert", "lora", "-o", "lora.gguf"]);
    assert!(none.contains("hint: name the model it goes with"), "{none}");
    world.works(&["convert", "lora", "-o", "lora.gguf", "--base", "hf"]);
    world.works(&["merge", "tiny.gguf", "lora.gguf", "-o", "same.gguf"]);
    let (a, b) = (fs::read(world.path("merged.gguf")), fs::read(world.path("same.gguf")));
    assert!(a.unwrap() == b.unwrap());
    world.works(&["merge", "tiny.gguf", "lora", "-o", "none.gguf", "--scale", "0"]);
    world.works(&[
        "merge",
        "tiny.gguf",
        "lora",
        "-o",
        "q8.gguf",
        "--type",
        "q8_0",
        "--scale",
        "-0.5",
    ]);
    let error = world.refused(&["merge", "tiny.gguf", "hf", "-o", "x.gguf"]);
    assert!(error.contains("adapter_config.json"), "{error}");
    let error = world.refused(&["merge", "lora.gguf", "lora", "-o", "x.gguf"]);
    assert!(error.contains("lora.gguf"), "{error}");
}
