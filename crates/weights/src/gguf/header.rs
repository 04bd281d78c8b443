//! Parsing the front of a GGUF file: magic, version, metadata, tensor descriptions.
//!
//! The parser works on bytes alone, so that it can be fuzzed, and stops at the first thing that
//! is wrong with what it read so far in hand, so that `inspect` can show it. It believes no count
//! before holding it against the bytes that are left.

use std::path::Path;

use super::metadata::Metadata;
use super::value::{Array, Nested, StrArray, Value};
use crate::Error;
use crate::tensor::shorten;

const MAGIC: &[u8; 4] = b"GGUF";
/// No tensor of any known model has more dimensions.
pub(super) const MAX_DIMS: u32 = 4;
/// Real files have a few dozen keys. Tiny ones weigh more in memory than in the file, so their
/// number has to have a bound of its own.
const MAX_KEYS: u64 = 1 << 16;
/// No known key nests arrays at all.
const MAX_NESTING: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;
/// Far above any page size; a larger alignment is damage.
const MAX_ALIGNMENT: u64 = 1 << 20;

/// The front of a GGUF file, parsed but with its tensors not yet held against the file's length.
#[derive(Clone, Debug)]
pub struct Header {
    /// The format's version: 2 or 3.
    pub version: u32,
    /// The metadata, as far as it could be read.
    pub metadata: Metadata,
    /// The tensor descriptions, as far as they could be read, in file order.
    pub tensors: Vec<RawTensor>,
    /// How many metadata keys the file says it has.
    pub declared_keys: u64,
    /// How many tensors the file says it has.
    pub declared_tensors: u64,
    /// Tensor data starts at, and every tensor at, a multiple of this many bytes.
    pub alignment: u64,
    /// Where in the file the tensor data starts; 0 where the header was cut before its end.
    pub data_start: u64,
}

/// A tensor's description as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTensor {
    /// The name.
    pub name: String,
    /// Dimensions, outermost first (the file has them innermost first).
    pub shape: Vec<u64>,
    /// GGUF's number of the storage type, perhaps of one we do not know.
    pub ggml_type: u32,
    /// Where the data starts, counted from the start of all tensor data.
    pub offset: u64,
}

/// What can go wrong in the bytes; where it did is added by [`Fault::at`].
enum Fault {
    Short { missing: u64 },
    Bad(String),
}

impl Fault {
    fn at(self, path: &Path, field: impl ToString) -> Error {
        match self {
            Fault::Short { missing } => {
                Error::Truncated { path: path.to_owned(), field: field.to_string(), missing }
            }
            Fault::Bad(problem) => Error::malformed(path, field, problem),
        }
    }
}

impl Header {
    /// Parses the header at the start of `bytes`; `path` only serves error messages.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Header, Error> {
        match Header::parse_partial(bytes, path) {
            (header, None) => Ok(header),
            (_, Some(error)) => Err(error),
        }
    }

    /// Like [`Header::parse`], but returns what could be read beside the error that ended it.
    pub fn parse_partial(bytes: &[u8], path: &Path) -> (Header, Option<Error>) {
        let mut header = Header {
            version: 0,
            metadata: Metadata::for_file(path),
            tensors: Vec::new(),
            declared_keys: 0,
            declared_tensors: 0,
            alignment: DEFAULT_ALIGNMENT,
            data_start: 0,
        };
        let error = header.read(&mut Cursor { bytes, at: 0 }, path).err();
        (header, error)
    }

    fn read(&mut self, cursor: &mut Cursor<'_>, path: &Path) -> Result<(), Error> {
        self.read_preamble(cursor, path)?;
        for number in 1..=self.declared_keys {
            let total = self.declared_keys;
            let key = cursor
                .string()
                .map_err(|f| f.at(path, format!("name of metadata key {number} of {total}")))?;
            let field = || format!("metadata key `{}` ({number} of {total})", shorten(key));
            if self.metadata.contains(key) {
                return Err(Error::malformed(path, field(), "appears twice"));
            }
            let value = cursor.value().map_err(|f| f.at(path, field()))?;
            self.metadata.insert(key, value);
        }
        self.alignment = alignment(&self.metadata, path)?;
        for number in 1..=self.declared_tensors {
            let tensor = self.read_tensor(number, cursor, path)?;
            self.tensors.push(tensor);
        }
        self.refuse_duplicate_tensors(path)?;
        self.data_start = (cursor.at as u64).next_multiple_of(self.alignment);
        Ok(())
    }

    fn read_preamble(&mut self, cursor: &mut Cursor<'_>, path: &Path) -> Result<(), Error> {
        let magic = cursor.take(4).map_err(|f| f.at(path, "magic"))?;
        if magic != MAGIC {
            return Err(Error::Malformed {
                path: path.to_owned(),
                field: "magic".to_owned(),
                problem: format!("\"{}\" is not \"GGUF\"", magic.escape_ascii()),
                remedy: "this is not a GGUF file, name another",
            });
        }
        let version = cursor.u32().map_err(|f| f.at(path, "version"))?;
        match version {
            2 | 3 => self.version = version,
            1 => {
                return Err(Error::unsupported(
                    path,
                    "version",
                    "GGUF version 1 is not supported",
                    "convert the model again with a current converter",
                ));
            }
            v if matches!(v.swap_bytes(), 1..=3) => {
                return Err(Error::unsupported(
                    path,
                    "version",
                    "big-endian GGUF is not supported",
                    "use the little-endian file of the same model",
                ));
            }
            v => {
                return Err(Error::unsupported(
                    path,
                    "version",
                    format!("GGUF version {v} is not supported"),
                    "versions 2 and 3 are; use a newer ponder or convert the model again",
                ));
            }
        }
        self.declared_tensors = cursor.u64().map_err(|f| f.at(path, "tensor count"))?;
        self.declared_keys = cursor.u64().map_err(|f| f.at(path, "metadata key count"))?;
        if self.declared_keys > MAX_KEYS {
            let problem = format!("{} keys are more than {MAX_KEYS}", self.declared_keys);
            return Err(Error::malformed(path, "metadata key count", problem));
        }
        Ok(())
    }

    fn read_tensor(
        &self,
        number: u64,
        cursor: &mut Cursor<'_>,
        path: &Path,
    ) -> Result<RawTensor, Error> {
        let total = self.declared_tensors;
        let name = cursor
            .string()
            .map_err(|f| f.at(path, format!("name of tensor {number} of {total}")))?;
        let field = || format!("tensor `{}` ({number} of {total})", shorten(name));
        let read = |cursor: &mut Cursor<'_>| {
            let dims = cursor.u32()?;
            if !(1..=MAX_DIMS).contains(&dims) {
                return Err(Fault::Bad(format!("has {dims} dimensions, not 1 to {MAX_DIMS}")));
            }
            let mut shape = (0..dims).map(|_| cursor.u64()).collect::<Result<Vec<u64>, Fault>>()?;
            shape.reverse();
            let ggml_type = cursor.u32()?;
            let offset = cursor.u64()?;
            Ok(RawTensor { name: name.to_owned(), shape, ggml_type, offset })
        };
        read(cursor).map_err(|f| f.at(path, field()))
    }

    fn refuse_duplicate_tensors(&self, path: &Path) -> Result<(), Error> {
        let mut names: Vec<&str> = self.tensors.iter().map(|t| t.name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                let field = format!("tensor `{}`", shorten(pair[0]));
                Err(Error::malformed(path, field, "appears twice"))
            }
            None => Ok(()),
        }
    }
}

pub(super) fn alignment(metadata: &Metadata, path: &Path) -> Result<u64, Error> {
    const KEY: &str = "general.alignment";
    match metadata.u64(KEY)? {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(a) if a.is_power_of_two() && a <= MAX_ALIGNMENT => Ok(a),
        Some(a) => Err(Error::malformed(
            path,
            format!("metadata key `{KEY}`"),
            format!("{a} is not a power of two up to {MAX_ALIGNMENT}"),
        )),
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    fn take(&mut self, n: u64) -> Result<&'a [u8], Fault> {
        if n > self.left() {
            return Err(Fault::Short { missing: n - self.left() });
        }
        let start = self.at;
        self.at += n as usize;
        Ok(&self.bytes[start..self.at])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64)?);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }

    fn string(&mut self) -> Result<&'a str, Fault> {
        let len = self.u64()?;
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map_err(|e| {
            Fault::Bad(format!("is not UTF-8 after its first {} bytes", e.valid_up_to()))
        })
    }

    fn value(&mut self) -> Result<Value, Fault> {
        let ty = self.u32()?;
        Ok(match ty {
            0 => Value::U8(self.array::<1>()?[0]),
            1 => Value::I8(i8::from_le_bytes(self.array()?)),
            2 => Value::U16(u16::from_le_bytes(self.array()?)),
            3 => Value::I16(i16::from_le_bytes(self.array()?)),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(i32::from_le_bytes(self.array()?)),
            6 => Value::F32(f32::from_le_bytes(self.array()?)),
            7 => Value::Bool(boolean(self.array::<1>()?[0])?),
            8 => Value::Str(self.string()?.to_owned()),
            9 => Value::Array(self.values()?),
            10 => Value::U64(self.u64()?),
            11 => Value::I64(i64::from_le_bytes(self.array()?)),
            12 => Value::F64(f64::from_le_bytes(self.array()?)),
            _ => return Err(Fault::Bad(format!("{ty} is no value type"))),
        })
    }

    fn values(&mut self) -> Result<Array, Fault> {
        let ty = self.u32()?;
        let len = self.u64()?;
        Ok(match ty {
            0 => Array::U8(self.take(len)?.to_vec()),
            1 => Array::I8(self.plain(len, i8::from_le_bytes)?),
            2 => Array::U16(self.plain(len, u16::from_le_bytes)?),
            3 => Array::I16(self.plain(len, i16::from_le_bytes)?),
            4 => Array::U32(self.plain(len, u32::from_le_bytes)?),
            5 => Array::I32(self.plain(len, i32::from_le_bytes)?),
            6 => Array::F32(self.plain(len, f32::from_le_bytes)?),
            7 => {
                let bytes = self.take(len)?;
                if let Some(&bad) = bytes.iter().find(|&&byte| byte > 1) {
                    boolean(bad)?;
                }
                Array::Bool(bytes.iter().map(|&byte| byte == 1).collect())
            }
            8 => Array::Str(self.strings(len)?),
            9 => {
                let start = self.at;
                for _ in 0..len {
                    self.skip_array(1)?;
                }
                Array::Nested(Nested { len, raw: self.bytes[start..self.at].into() })
            }
            10 => Array::U64(self.plain(len, u64::from_le_bytes)?),
            11 => Array::I64(self.plain(len, i64::from_le_bytes)?),
            12 => Array::F64(self.plain(len, f64::from_le_bytes)?),
            _ => return Err(Fault::Bad(format!("{ty} is no value type"))),
        })
    }

    fn plain<T, const N: usize>(
        &mut self,
        len: u64,
        read: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, Fault> {
        let (chunks, _) = self.take(len.saturating_mul(N as u64))?.as_chunks::<N>();
        Ok(chunks.iter().map(|&chunk| read(chunk)).collect())
    }

    /// Walks the strings twice, once for their lengths and once to copy them, so that exactly
    /// what is there is allocated and UTF-8 is checked in one sweep.
    fn strings(&mut self, len: u64) -> Result<StrArray, Fault> {
        // Each string takes at least its own length's eight bytes.
        if let missing @ 1.. = len.saturating_mul(8).saturating_sub(self.left()) {
            return Err(Fault::Short { missing });
        }
        let start = self.at;
        let mut total = 0;
        for _ in 0..len {
            let n = self.u64()?;
            total += self.take(n)?.len();
        }
        if u32::try_from(total).is_err() {
            return Err(Fault::Bad("holds more than 4 GiB of text".to_owned()));
        }
        self.at = start;
        let mut text = Vec::with_capacity(total);
        let mut ends = Vec::with_capacity(len as usize);
        for _ in 0..len {
            let n = self.u64()?;
            text.extend_from_slice(self.take(n)?);
            ends.push(text.len() as u32);
        }
        let bad = |index: usize| Fault::Bad(format!("string {index} of the array is not UTF-8"));
        let text = String::from_utf8(text).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            bad(ends.partition_point(|&end| end as usize <= at))
        })?;
        // A character cut between two strings: joined it passed, apart neither is UTF-8.
        if let Some(cut) = ends.iter().position(|&end| !text.is_char_boundary(end as usize)) {
            return Err(bad(cut));
        }
        StrArray::from_parts(text, ends)
            .ok_or_else(|| Fault::Bad("holds strings that are not UTF-8".to_owned()))
    }

    /// Steps over one inner array, checking it as thoroughly as one that is kept.
    fn skip_array(&mut self, depth: u32) -> Result<(), Fault> {
        if depth > MAX_NESTING {
            return Err(Fault::Bad(format!("arrays nested more than {MAX_NESTING} deep")));
        }
        let ty = self.u32()?;
        let len = self.u64()?;
        let size = match ty {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => {
                for _ in 0..len {
                    self.string()?;
                }
                return Ok(());
            }
            9 => {
                for _ in 0..len {
                    self.skip_array(depth + 1)?;
                }
                return Ok(());
            }
            _ => return Err(Fault::Bad(format!("{ty} is no value type"))),
        };
        self.take(len.saturating_mul(size)).map(drop)
    }
}

fn boolean(byte: u8) -> Result<bool, Fault> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Fault::Bad(format!("{byte} is no boolean"))),
    }
}
