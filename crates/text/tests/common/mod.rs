//! Real model files, where there are any, and as much of GGUF as reading their metadata takes.

use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use text::tokenizer::{TokenType, Vocabulary};

/// All GGUF files in the folders that `PONDER_TEST_MODELS` lists, or in ponder's own store.
pub fn models() -> Vec<PathBuf> {
    let folders: Vec<PathBuf> = match std::env::var_os("PONDER_TEST_MODELS") {
        Some(folders) => std::env::split_paths(&folders).collect(),
        None => match (std::env::var_os("PONDER_HOME"), std::env::var_os("HOME")) {
            (Some(store), _) => vec![PathBuf::from(store)],
            (None, Some(home)) => vec![PathBuf::from(home).join(".cache/ponder")],
            (None, None) => Vec::new(),
        },
    };
    let mut files = Vec::new();
    for folder in folders {
        find(&folder, 3, &mut files);
    }
    files.sort();
    files
}

fn find(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && depth > 0 {
            find(&path, depth - 1, files);
        } else if path.extension().is_some_and(|extension| extension == "gguf") {
            files.push(path);
        }
    }
}

/// The values of metadata that a tokenizer needs.
#[derive(Default)]
pub struct Metadata {
    pub strings: HashMap<String, String>,
    pub string_lists: HashMap<String, Vec<String>>,
    pub numbers: HashMap<String, i64>,
    pub number_lists: HashMap<String, Vec<i64>>,
}

impl Metadata {
    pub fn read(path: &Path) -> Metadata {
        let mut file = BufReader::new(std::fs::File::open(path).unwrap());
        let mut magic = [0; 8];
        file.read_exact(&mut magic).unwrap();
        assert_eq!(&magic[..4], b"GGUF");
        let (_tensors, count) = (number(&mut file, 8), number(&mut file, 8));
        let mut metadata = Metadata::default();
        for _ in 0..count {
            let key = string(&mut file);
            match number(&mut file, 4) {
                8 => drop(metadata.strings.insert(key, string(&mut file))),
                9 => {
                    let (kind, length) = (number(&mut file, 4), number(&mut file, 8));
                    if kind == 8 {
                        let list = (0..length).map(|_| string(&mut file)).collect();
                        metadata.string_lists.insert(key, list);
                    } else {
                        let list = (0..length).map(|_| number(&mut file, width(kind))).collect();
                        metadata.number_lists.insert(key, list);
                    }
                }
                kind => drop(metadata.numbers.insert(key, number(&mut file, width(kind)))),
            }
        }
        metadata
    }

    pub fn vocabulary(&self) -> Vocabulary {
        let id = |name: &str| {
            self.numbers.get(&format!("tokenizer.ggml.{name}")).map(|&number| number as u32)
        };
        let strings = |name: &str| {
            self.string_lists.get(&format!("tokenizer.ggml.{name}")).cloned().unwrap_or_default()
        };
        let numbers = |name: &str| {
            self.number_lists.get(&format!("tokenizer.ggml.{name}")).map_or(&[][..], Vec::as_slice)
        };
        let yes = |name: &str| id(name).map(|number| number != 0);
        Vocabulary {
            model: self.strings["tokenizer.ggml.model"].clone(),
            pre: self.strings.get("tokenizer.ggml.pre").cloned().unwrap_or_default(),
            tokens: strings("tokens"),
            token_types: numbers("token_type").iter().map(|&n| TokenType::from_gguf(n)).collect(),
            // Read as whole numbers, whatever they are.
            scores: numbers("scores").iter().map(|&bits| f32::from_bits(bits as u32)).collect(),
            merges: strings("merges"),
            bos: id("bos_token_id"),
            eos: id("eos_token_id"),
            eot: id("eot_token_id"),
            unknown: id("unknown_token_id"),
            add_bos: yes("add_bos_token"),
            add_space_prefix: yes("add_space_prefix"),
            ..Vocabulary::default()
        }
    }
}

fn width(kind: i64) -> usize {
    match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        _ => 8,
    }
}

fn number(file: &mut impl Read, width: usize) -> i64 {
    let mut bytes = [0; 8];
    file.read_exact(&mut bytes[..width]).unwrap();
    i64::from_le_bytes(bytes)
}

fn string(file: &mut impl Read) -> String {
    let mut bytes = vec![0; number(file, 8) as usize];
    file.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}
