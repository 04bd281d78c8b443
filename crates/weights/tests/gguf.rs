//! GGUF written and read back, split files, and a real file.

mod common;

use std::path::{Path, PathBuf};

use kernels::blocks::BlockType;
use proptest::prelude::*;
use weights::gguf::{Array, Gguf, GgufWriter, Metadata, StrArray, TensorSpec, Value};

fn spec(name: &str, shape: &[usize], ty: BlockType) -> TensorSpec {
    TensorSpec { name: name.to_owned(), shape: shape.to_vec(), ty }
}

fn sample() -> Metadata {
    let mut m = Metadata::new();
    m.insert("general.architecture", "llama");
    m.insert("a.u8", 200u8);
    m.insert("a.i8", -5i8);
    m.insert("a.u16", 60000u16);
    m.insert("a.i16", -600i16);
    m.insert("a.u32", u32::MAX);
    m.insert("a.i32", i32::MIN);
    m.insert("a.f32", 1.5f32);
    m.insert("a.bool", true);
    m.insert("a.u64", u64::MAX);
    m.insert("a.i64", i64::MIN);
    m.insert("a.f64", 1e300f64);
    m.insert("b.u8", vec![1u8, 255]);
    m.insert("b.i8", vec![-1i8]);
    m.insert("b.u16", vec![1u16]);
    m.insert("b.i16", vec![-2i16]);
    m.insert("b.u32", Vec::<u32>::new());
    m.insert("b.i32", vec![1i32, -1, 3]);
    m.insert("b.f32", vec![0.25f32]);
    m.insert("b.bool", vec![true, false]);
    m.insert("b.u64", vec![7u64]);
    m.insert("b.i64", vec![-7i64]);
    m.insert("b.f64", vec![0.1f64]);
    m.insert("b.str", ["", "Ġa", "日本"].into_iter().collect::<StrArray>());
    m
}

fn write(path: &Path, metadata: &Metadata, tensors: &[(TensorSpec, Vec<u8>)]) {
    let specs = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    let mut writer = GgufWriter::create(path, metadata, specs).unwrap();
    for (spec, data) in tensors {
        writer.write_tensor(&spec.name, data).unwrap();
    }
    writer.commit().unwrap();
}

#[test]
fn what_is_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let tensors = [
        (spec("a", &[2, 3, 5], BlockType::F32), (0..120).collect::<Vec<u8>>()),
        (spec("b", &[64], BlockType::Q4_0), vec![9; 36]),
        (spec("c", &[1, 1, 1, 1], BlockType::BF16), vec![1, 2]),
    ];
    for alignment in [None, Some(1u32), Some(4096)] {
        let mut metadata = sample();
        if let Some(alignment) = alignment {
            metadata.insert("general.alignment", alignment);
        }
        write(&path, &metadata, &tensors);
        let gguf = Gguf::open(&path).unwrap();
        assert!(gguf.metadata().iter().eq(metadata.iter()));
        assert_eq!(gguf.version(), 3);
        assert_eq!(gguf.file_bytes(), std::fs::metadata(&path).unwrap().len());
        for (spec, data) in &tensors {
            let tensor = gguf.tensor(&spec.name).unwrap();
            assert_eq!(tensor.info.shape, spec.shape);
            assert_eq!(tensor.info.ty, spec.ty);
            assert_eq!(tensor.data, data);
            assert_eq!(tensor.info.offset % alignment.unwrap_or(32) as usize, 0);
        }
        assert!(gguf.tensor("d").is_none());
    }
}

#[test]
fn a_file_appears_only_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let files = || std::fs::read_dir(dir.path()).unwrap().count();
    let specs = vec![spec("a", &[8], BlockType::F32), spec("b", &[8], BlockType::F32)];
    let create = || GgufWriter::create(&path, &Metadata::new(), specs.clone()).unwrap();

    let mut writer = create();
    writer.write_tensor("a", &[0; 32]).unwrap();
    assert!(!path.exists());
    let error = writer.commit().unwrap_err().to_string();
    assert!(error.contains("m.gguf: tensor `b`: is described but not written; give"), "{error}");
    let error = create().write_tensor("b", &[0; 32]).unwrap_err().to_string();
    assert!(error.contains("tensor `b`: is written where `a` should be"), "{error}");
    let error = create().write_tensor("a", &[0; 31]).unwrap_err().to_string();
    assert!(error.contains("tensor `a`: 31 bytes are written, its shape has 32"), "{error}");
    assert_eq!(files(), 0, "temporary files are left");

    let mut writer = create();
    for name in ["a", "b"] {
        writer
            .stream_tensor(name, |out| (0..32).try_for_each(|byte| out.write_all(&[byte])))
            .unwrap();
    }
    let error = writer.write_tensor("c", &[]).unwrap_err().to_string();
    assert!(error.contains("`c`: is written where `(none, all are written)` should be"), "{error}");
    writer.commit().unwrap();
    assert_eq!(files(), 1);
    assert_eq!(Gguf::open(&path).unwrap().tensor("b").unwrap().data[31], 31);
}

#[test]
fn what_no_reader_would_take_is_not_written() {
    let refusal =
        |tensors| GgufWriter::new(Vec::new(), &Metadata::new(), tensors).unwrap_err().to_string();
    let twice = vec![spec("a", &[1], BlockType::F32), spec("a", &[1], BlockType::F32)];
    assert!(refusal(twice).contains("tensor `a`: is described twice"));
    for (shape, why) in [
        (&[33][..], "rows of 33 are not a whole number of Q8_0 blocks of 32"),
        (&[], "has no dimensions"),
        (&[1, 1, 1, 1, 32], "has 5 dimensions, more than 4"),
        (&[usize::MAX / 344 * 10, 32], "lies beyond what a file can hold"),
    ] {
        let message = refusal(vec![
            spec("first", &[1 << 40, 1 << 18], BlockType::Q8_0),
            spec("a", shape, BlockType::Q8_0),
        ]);
        assert!(message.contains(why), "{message}");
    }
}

/// Writes `count` parts of one tensor each and returns their paths.
fn split(dir: &Path, count: u16) -> Vec<PathBuf> {
    (0..count)
        .map(|no| {
            let mut metadata = Metadata::new();
            if no == 0 {
                metadata.insert("general.architecture", "llama");
            }
            metadata.insert("split.no", no);
            metadata.insert("split.count", count);
            metadata.insert("split.tensors.count", i32::from(count));
            let path = dir.join(format!("m-{:05}-of-{count:05}.gguf", no + 1));
            let tensor = spec(&format!("t{no}"), &[4], BlockType::F32);
            write(&path, &metadata, &[(tensor, vec![no as u8; 16])]);
            path
        })
        .collect()
}

#[test]
fn any_part_opens_all() {
    let dir = tempfile::tempdir().unwrap();
    let paths = split(dir.path(), 3);
    let bytes: u64 = paths.iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
    for path in &paths {
        let gguf = Gguf::open(path).unwrap();
        assert_eq!(gguf.path(), paths[0]);
        assert_eq!(gguf.file_bytes(), bytes);
        assert_eq!(gguf.metadata().require_str("general.architecture").unwrap(), "llama");
        let names: Vec<&str> = gguf.tensors().iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["t0", "t1", "t2"]);
        assert_eq!(gguf.tensor("t2").unwrap().data, [2; 16]);
        assert_eq!(gguf.tensor("t2").unwrap().info.part, 2);
    }
}

#[test]
fn broken_splits_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let paths = split(dir.path(), 3);
    let refusal = || {
        let message = Gguf::open(&paths[2]).unwrap_err().to_string();
        message.replace(&format!("{}/", dir.path().display()), "")
    };
    let aside = dir.path().join("aside");
    std::fs::rename(&paths[1], &aside).unwrap();
    assert_eq!(
        refusal(),
        "m-00002-of-00003.gguf: part 2 of 3 of the model is missing; fetch it, or put it beside \
         the others"
    );
    let report = weights::inspect::inspect(&paths[2], None).unwrap();
    assert!(report.problems[0].starts_with("1 of 3 parts are missing, the first "));
    assert_eq!((report.tensors, report.files, report.memory.len()), (2, 3, 0));

    std::fs::copy(&paths[0], &paths[1]).unwrap();
    assert_eq!(
        refusal(),
        "m-00002-of-00003.gguf: metadata key `split.no`: the file calls itself part 1 of 3, its \
         name part 2 of 3; put all parts of the model in one directory under their original names"
    );

    let mut metadata = Metadata::new();
    metadata.insert("split.no", 1u16);
    metadata.insert("split.count", 3u16);
    write(&paths[1], &metadata, &[(spec("t0", &[1], BlockType::F32), vec![0; 4])]);
    assert!(refusal().contains("tensor `t0`: is in two parts of the model"), "{}", refusal());
    write(&paths[1], &metadata, &[]);
    assert!(refusal().contains("says 3 tensors, the parts hold 2"), "{}", refusal());

    let renamed = dir.path().join("model.gguf");
    std::fs::rename(&aside, &renamed).unwrap();
    let message = Gguf::open(&renamed).unwrap_err().to_string();
    assert!(message.contains("does not end in -00001-of-00003.gguf"), "{message}");
}

#[test]
fn a_real_file_survives_the_round_trip() {
    let Some(path) = common::real_model("smollm2-135m", "smollm2-135m-instruct-q4_1.gguf") else {
        return;
    };
    let original = Gguf::open(&path).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.gguf");
    let tensors: Vec<_> =
        original.tensors().iter().map(|t| spec(&t.name, &t.shape, t.ty)).collect();
    let mut writer = GgufWriter::create(&copy, original.metadata(), tensors).unwrap();
    for info in original.tensors() {
        original.prefetch(&info.name);
        writer.write_tensor(&info.name, original.tensor(&info.name).unwrap().data).unwrap();
        original.release(&info.name);
    }
    writer.commit().unwrap();

    let written = Gguf::open(&copy).unwrap();
    assert!(written.metadata().iter().eq(original.metadata().iter()));
    assert_eq!(written.tensors().len(), original.tensors().len());
    for (a, b) in original.tensors().iter().zip(written.tensors()) {
        assert_eq!((&a.name, &a.shape, a.ty), (&b.name, &b.shape, b.ty));
        // Read after `release`: the same bytes come back.
        let (a, b) = (original.tensor(&a.name).unwrap(), written.tensor(&b.name).unwrap());
        assert!(a.data == b.data, "{}", a.info.name);
    }
    let (a, b) = (std::fs::read(&path).unwrap(), std::fs::read(&copy).unwrap());
    assert!(a == b, "the files differ, {} and {} bytes", a.len(), b.len());
}

#[cfg(target_os = "linux")]
#[test]
fn released_tensors_are_not_resident() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    const BYTES: usize = 32 << 20;
    write(&path, &Metadata::new(), &[(spec("t", &[BYTES / 4], BlockType::F32), vec![3; BYTES])]);
    let resident = || {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = maps.lines().skip_while(|line| !line.ends_with("m.gguf"));
        let rss = lines.find(|line| line.starts_with("Rss:")).unwrap();
        rss.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    };
    let gguf = Gguf::open(&path).unwrap();
    let sum = |data: &[u8]| data.iter().map(|&b| b as usize).sum::<usize>();
    assert_eq!(sum(gguf.tensor("t").unwrap().data), 3 * BYTES);
    assert!(resident() >= BYTES, "{} resident", resident());
    gguf.release("t");
    assert!(resident() < BYTES / 8, "{} resident", resident());
    assert_eq!(sum(gguf.tensor("t").unwrap().data), 3 * BYTES);
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(|v| Value::from(v as f32)),
        ".{0,12}".prop_map(Value::from),
        proptest::collection::vec(any::<u16>(), 0..5).prop_map(Value::from),
        proptest::collection::vec(any::<f64>(), 0..5).prop_map(Value::from),
        proptest::collection::vec(".{0,5}", 0..5)
            .prop_map(|v| Value::Array(Array::Str(v.into_iter().collect()))),
    ]
}

proptest! {
    #[test]
    fn any_metadata_survives(
        pairs in proptest::collection::vec(("[a-z.]{1,8}", value()), 0..8),
        rows in 1usize..4, cols in 1usize..70,
    ) {
        let mut metadata = Metadata::new();
        pairs.into_iter().for_each(|(key, value)| metadata.insert(key, value));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        let data: Vec<u8> = (0..rows * cols * 2).map(|i| i as u8).collect();
        write(&path, &metadata, &[(spec("t", &[rows, cols], BlockType::F16), data.clone())]);
        let gguf = Gguf::open(&path).unwrap();
        prop_assert!(gguf.metadata().iter().eq(metadata.iter()));
        prop_assert_eq!(gguf.tensor("t").unwrap().data, data);
    }
}
