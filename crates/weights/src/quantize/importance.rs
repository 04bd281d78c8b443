//! Importance matrices: how much the errors in each column of each matrix cost.
//!
//! A matrix is multiplied with activations; an error in column `i` is felt in proportion to the square of
//! what comes in there. Their means over some text are written by `llama-imatrix` and by `ponder imatrix`:
//! as GGUF, with a sum `NAME.in_sum2` and counts `NAME.counts` for each matrix `NAME`, or in the older form
//! without metadata (`.dat`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kernels::blocks::BlockType;

use crate::Error;
use crate::gguf::{Gguf, GgufWriter, Metadata, StrArray, TensorSpec};
use crate::tensor::shorten;

/// Most bytes of a file of importances: those of the largest models have some 100 MiB.
const MOST_BYTES: u64 = 4 << 30;
/// Most bytes of a name in the older form.
const MOST_NAME: usize = 256;

/// Of each of a matrix's experts (one if it has none): the sum of the squares that came into each column, and
/// how many tokens did.
pub type ExpertSums = Vec<(Vec<f32>, u64)>;

/// What was added up over a text, for each matrix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputSums {
    /// By the matrix's GGUF name.
    pub matrices: BTreeMap<String, ExpertSums>,
    /// What the text is called.
    pub text: String,
    /// Chunks of the text.
    pub chunks: u32,
    /// Tokens of a chunk.
    pub chunk_tokens: u32,
}

impl InputSums {
    /// Writes them as GGUF, as llama.cpp's tools read them.
    ///
    /// # Errors
    /// The file can't be written; nothing is there under its name then.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let mut metadata = Metadata::new();
        metadata.insert("general.type", "imatrix");
        metadata.insert("imatrix.datasets", StrArray::from_iter([&self.text]));
        metadata.insert("imatrix.chunk_count", self.chunks);
        metadata.insert("imatrix.chunk_size", self.chunk_tokens);
        let mut tensors: Vec<(TensorSpec, Vec<u8>)> = Vec::new();
        for (name, experts) in &self.matrices {
            let mut add = |suffix: &str, cols: usize, values: &mut dyn Iterator<Item = f32>| {
                let shape = vec![experts.len(), cols];
                let spec =
                    TensorSpec { name: format!("{name}.{suffix}"), shape, ty: BlockType::F32 };
                tensors.push((spec, values.flat_map(f32::to_le_bytes).collect()));
            };
            let cols = experts.first().map_or(0, |(sums, _)| sums.len());
            add("in_sum2", cols, &mut experts.iter().flat_map(|(sums, _)| sums.iter().copied()));
            add("counts", 1, &mut experts.iter().map(|(_, count)| *count as f32));
        }
        let specs = tensors.iter().map(|(spec, _)| TensorSpec {
            name: spec.name.clone(),
            shape: spec.shape.clone(),
            ty: spec.ty,
        });
        let mut writer = GgufWriter::create(path, &metadata, specs.collect())?;
        for (spec, data) in &tensors {
            writer.write_tensor(&spec.name, data)?;
        }
        writer.commit()
    }
}

/// An importance matrix, as a file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Importance {
    path: PathBuf,
    /// By the matrix's GGUF name: the mean square of what comes into each column, expert after expert.
    means: BTreeMap<String, Vec<f32>>,
    text: Option<String>,
    chunks: u32,
}

impl Importance {
    /// Reads a file of either form.
    ///
    /// # Errors
    /// It can't be read, is neither, or has values that are no finite squares.
    pub fn open(path: &Path) -> Result<Importance, Error> {
        let length = fs::metadata(path).map_err(Error::io(path, "open"))?.len();
        if length > MOST_BYTES {
            let problem =
                format!("has {length} bytes, and no importance matrix has more than {MOST_BYTES}");
            return Err(Error::unsupported(path, "file", problem, "name a file of importances"));
        }
        let mut beginning = [0; 4];
        let is_gguf = {
            use std::io::Read;
            let mut file = fs::File::open(path).map_err(Error::io(path, "open"))?;
            file.read_exact(&mut beginning).is_ok() && beginning == *b"GGUF"
        };
        let importance = match is_gguf {
            true => Importance::of_gguf(&Gguf::open(path)?)?,
            false => Importance::of_bytes(&fs::read(path).map_err(Error::io(path, "read"))?, path)?,
        };
        for (name, means) in &importance.means {
            if let Some(value) = means.iter().find(|value| !(value.is_finite() && **value >= 0.0)) {
                let problem = format!("has {value}, which is no mean of squares");
                return Err(Error::malformed(path, place(name), problem));
            }
        }
        Ok(importance)
    }

    fn of_gguf(file: &Gguf) -> Result<Importance, Error> {
        let (path, metadata) = (file.path(), file.metadata());
        let numbers = |name: &str| -> Result<Vec<f32>, Error> {
            let wrong = |problem: &str| Error::malformed(path, place(name), problem);
            let tensor = file.tensor(name).ok_or_else(|| wrong("is missing"))?;
            if tensor.info.ty != BlockType::F32 {
                return Err(wrong("is not of type F32"));
            }
            let (numbers, _) = tensor.data.as_chunks::<4>();
            Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
        };
        let mut means = BTreeMap::new();
        for name in file.tensors().iter().filter_map(|t| t.name.strip_suffix(".in_sum2")) {
            let mut sums = numbers(&format!("{name}.in_sum2"))?;
            let counts = numbers(&format!("{name}.counts"))?;
            if counts.is_empty() || !sums.len().is_multiple_of(counts.len()) {
                let problem =
                    format!("{} sums can't be shared by {} counts", sums.len(), counts.len());
                return Err(Error::malformed(path, place(name), problem));
            }
            let cols = (sums.len() / counts.len()).max(1);
            for (sums, count) in sums.chunks_mut(cols).zip(&counts) {
                // An expert that the text never came to: all its columns count alike.
                sums.iter_mut()
                    .for_each(|sum| *sum = if *count > 0.0 { *sum / count.round() } else { 1.0 });
            }
            means.insert(name.to_owned(), sums);
        }
        if means.is_empty() {
            let problem = "has no sums of squares (`NAME.in_sum2`)";
            let remedy = "name a file that `ponder imatrix` or llama-imatrix wrote";
            return Err(Error::unsupported(path, "file", problem, remedy));
        }
        Ok(Importance {
            path: path.to_owned(),
            means,
            text: metadata
                .str_array("imatrix.datasets")?
                .and_then(|texts| Some(texts.get(0)?.to_owned())),
            chunks: metadata.u32("imatrix.chunk_count")?.unwrap_or(0),
        })
    }

    /// The older form: a number of entries, each with a name, a number of calls, and sums of means. `path` is
    /// what the bytes are called in errors.
    ///
    /// # Errors
    /// They end too early, or a length makes no sense.
    pub fn of_bytes(bytes: &[u8], path: &Path) -> Result<Importance, Error> {
        let mut rest = bytes;
        let mut take = |length: usize, what: &str| -> Result<&[u8], Error> {
            let Some((taken, left)) = rest.split_at_checked(length) else {
                let missing = (length - rest.len()) as u64;
                return Err(Error::Truncated {
                    path: path.to_owned(),
                    field: what.to_owned(),
                    missing,
                });
            };
            rest = left;
            Ok(taken)
        };
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, i32::from_le_bytes);
        let in_bounds = |n: i32, most: usize, what: &str| -> Result<usize, Error> {
            let fits = usize::try_from(n).ok().filter(|n| *n >= 1 && *n <= most);
            fits.ok_or_else(|| {
                Error::malformed(path, what.to_owned(), format!("{n} makes no sense here"))
            })
        };
        let entries = number(take(4, "number of entries")?);
        let entries = in_bounds(entries, bytes.len() / 16, "number of entries")?;
        let mut means = BTreeMap::new();
        for _ in 0..entries {
            let length =
                in_bounds(number(take(4, "length of a name")?), MOST_NAME, "length of a name")?;
            let name = String::from_utf8_lossy(take(length, "name")?).into_owned();
            let calls = number(take(4, &name)?);
            let count = in_bounds(number(take(4, &name)?), bytes.len() / 4, &place(&name))?;
            let (numbers, _) = take(4 * count, &name)?.as_chunks::<4>();
            let share = if calls > 0 { calls as f32 } else { 1.0 };
            let values = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes) / share).collect();
            means.insert(name, values);
        }
        // What follows may be missing.
        let chunks = take(4, "number of chunks").map(number).unwrap_or(0);
        let length = take(4, "length of the text's name").map(number).unwrap_or(0);
        let text = take(usize::try_from(length).unwrap_or(0), "the text's name").ok();
        let text = text.filter(|name| !name.is_empty());
        Ok(Importance {
            path: path.to_owned(),
            means,
            text: text.map(|name| String::from_utf8_lossy(name).into_owned()),
            chunks: u32::try_from(chunks).unwrap_or(0),
        })
    }

    /// The importances of a matrix, expert after expert, if the file has any for it.
    ///
    /// # Errors
    /// They are of a matrix with other columns, or another number of experts.
    pub fn of(&self, name: &str, shape: &[usize]) -> Result<Option<&[f32]>, Error> {
        let Some(means) = self.means.get(name) else { return Ok(None) };
        let cols = shape.last().copied().unwrap_or(1);
        let experts = if shape.len() > 2 { shape[0] } else { 1 };
        if means.len() != cols * experts {
            let problem =
                format!("has {} values for a matrix of {experts} × {cols} columns", means.len());
            let remedy = "make the importance matrix from this very model";
            return Err(Error::unsupported(&self.path, place(name), problem, remedy));
        }
        Ok(Some(means))
    }

    /// Matrices that it knows.
    pub fn len(&self) -> usize {
        self.means.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.means.is_empty()
    }

    /// Says in a file's metadata what it was quantised with.
    pub fn note(&self, metadata: &mut Metadata) {
        metadata.insert("quantize.imatrix.file", self.path.display().to_string());
        if let Some(text) = &self.text {
            metadata.insert("quantize.imatrix.dataset", text.as_str());
        }
        metadata.insert("quantize.imatrix.entries_count", self.means.len() as u32);
        metadata.insert("quantize.imatrix.chunks_count", self.chunks);
    }
}

fn place(name: &str) -> String {
    format!("`{}`", shorten(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums() -> InputSums {
        let one = vec![(vec![2.0, 4.0, 0.0], 2)];
        let experts = vec![(vec![9.0, 3.0], 3), (vec![0.0, 0.0], 0)];
        InputSums {
            matrices: [
                ("blk.0.attn_q.weight".into(), one),
                ("blk.0.ffn_up_exps.weight".into(), experts),
            ]
            .into(),
            text: "novel.txt".into(),
            chunks: 1,
            chunk_tokens: 5,
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("imatrix.gguf");
        sums().write(&path).unwrap();
        let importance = Importance::open(&path).unwrap();
        assert_eq!(importance.len(), 2);
        let of = |name: &str, shape: &[usize]| {
            importance.of(name, shape).map(|i| i.map(<[f32]>::to_vec))
        };
        assert_eq!(of("blk.0.attn_q.weight", &[7, 3]).unwrap().unwrap(), [1.0, 2.0, 0.0]);
        assert_eq!(
            of("blk.0.ffn_up_exps.weight", &[2, 9, 2]).unwrap().unwrap(),
            [3.0, 1.0, 1.0, 1.0]
        );
        assert_eq!(of("output.weight", &[7, 3]).unwrap(), None);
        let error = of("blk.0.attn_q.weight", &[7, 4]).unwrap_err().to_string();
        assert!(error.contains("imatrix.gguf") && error.contains("attn_q"), "{error}");
        let mut metadata = Metadata::new();
        importance.note(&mut metadata);
        assert_eq!(metadata.u32("quantize.imatrix.entries_count").unwrap(), Some(2));
        assert_eq!(metadata.str("quantize.imatrix.dataset").unwrap(), Some("novel.txt"));
    }

    fn older() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |n: i32| bytes.extend(n.to_le_bytes());
        put(1);
        put(1);
        bytes.push(b'w');
        for n in [4, 2] {
            bytes.extend(i32::to_le_bytes(n));
        }
        for x in [8.0f32, 2.0] {
            bytes.extend(x.to_le_bytes());
        }
        for n in [6, 3] {
            bytes.extend(i32::to_le_bytes(n));
        }
        bytes.extend(b"abc");
        bytes
    }

    #[test]
    fn the_older_form_is_read_with_or_without_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("imatrix.dat");
        let bytes = older();
        for (length, text) in [(bytes.len(), Some("abc")), (bytes.len() - 11, None)] {
            fs::write(&path, &bytes[..length]).unwrap();
            let importance = Importance::open(&path).unwrap();
            assert_eq!(importance.of("w", &[5, 2]).unwrap(), Some(&[2.0, 0.5][..]));
            assert_eq!(importance.text.as_deref(), text);
        }
    }

    #[test]
    fn what_is_no_importance_matrix_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let bytes = older();
        for length in 0..bytes.len() - 11 {
            fs::write(&path, &bytes[..length]).unwrap();
            assert!(Importance::open(&path).is_err(), "{length} bytes");
        }
        let mut nan = bytes.clone();
        nan[17..21].copy_from_slice(&f32::NAN.to_le_bytes());
        fs::write(&path, &nan).unwrap();
        let error = Importance::open(&path).unwrap_err().to_string();
        assert!(error.contains("no mean of squares"), "{error}");
        let mut model = Metadata::new();
        model.insert("general.architecture", "llama");
        GgufWriter::create(&path, &model, Vec::new()).unwrap().commit().unwrap();
        let error = Importance::open(&path).unwrap_err().to_string();
        assert!(error.contains("no sums of squares"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Importance::of_bytes(&bytes, Path::new("x"));
            let mut entry = older();
            let at = bytes.len() % entry.len();
            entry.splice(at..at, bytes);
            let _ = Importance::of_bytes(&entry, Path::new("x"));
        }
    }
}
