//! Writing GGUF version 3: metadata, tensor descriptions, then the data as it is made, so that
//! no model has to fit into memory to be written.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use kernels::blocks::BlockType;
use tempfile::NamedTempFile;

use super::header::{MAX_DIMS, alignment};
use super::metadata::Metadata;
use super::value::{Array, Value};
use crate::Error;
use crate::tensor::{self, shorten};

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name, unique in the file.
    pub name: String,
    /// Dimensions, outermost first; at most four, none of them 0.
    pub shape: Vec<usize>,
    /// The storage type; the innermost dimension is a whole number of its blocks.
    pub ty: BlockType,
}

/// Writes one GGUF file. The header is written at once; then every tensor's data must follow,
/// in the order of the descriptions.
///
/// The keys of a split model (`split.*`) describe the file they were read from: remove them when
/// writing its tensors to a single file.
#[derive(Debug)]
pub struct GgufWriter<W: Write> {
    out: W,
    path: PathBuf,
    tensors: Vec<(TensorSpec, usize)>,
    next: usize,
    alignment: usize,
    /// Padding still owed before the next tensor.
    padding: usize,
}

impl GgufWriter<AtomicFile> {
    /// Starts the file `path`. It appears, whole, with [`GgufWriter::commit`].
    pub fn create(
        path: &Path,
        metadata: &Metadata,
        tensors: Vec<TensorSpec>,
    ) -> Result<GgufWriter<AtomicFile>, Error> {
        GgufWriter::start(AtomicFile::create(path)?, path, metadata, tensors)
    }

    /// Checks that every tensor was written and puts the file in its place.
    pub fn commit(self) -> Result<(), Error> {
        self.finish()?.commit()
    }
}

impl<W: Write> GgufWriter<W> {
    /// Starts a file on any output.
    pub fn new(
        out: W,
        metadata: &Metadata,
        tensors: Vec<TensorSpec>,
    ) -> Result<GgufWriter<W>, Error> {
        GgufWriter::start(out, Path::new("(output)"), metadata, tensors)
    }

    fn start(
        mut out: W,
        path: &Path,
        metadata: &Metadata,
        tensors: Vec<TensorSpec>,
    ) -> Result<GgufWriter<W>, Error> {
        let alignment = alignment(metadata, path)? as usize;
        let tensors = sizes(tensors, alignment, path)?;
        let mut header = encode(metadata, &tensors, alignment);
        header.resize(header.len().next_multiple_of(alignment), 0);
        out.write_all(&header).map_err(Error::io(path, "write"))?;
        Ok(GgufWriter { out, path: path.to_owned(), tensors, next: 0, alignment, padding: 0 })
    }

    /// Writes the data of tensor `name`, which must be the next one.
    pub fn write_tensor(&mut self, name: &str, data: &[u8]) -> Result<(), Error> {
        self.stream_tensor(name, |out| out.write_all(data))
    }

    /// Writes the data of tensor `name`, which must be the next one, piece by piece.
    pub fn stream_tensor(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Error> {
        let (expected, size) = match self.tensors.get(self.next) {
            Some((spec, size)) => (spec.name.as_str(), *size),
            None => ("(none, all are written)", 0),
        };
        if expected != name {
            let problem = format!("is written where `{}` should be", shorten(expected));
            return Err(self.misuse(name, problem));
        }
        let failed = Error::io(&self.path, "write");
        let mut counted = Counted { out: &mut self.out, written: 0 };
        if let Err(error) = write_zeros(counted.out, self.padding).and_then(|()| fill(&mut counted))
        {
            return Err(failed(error));
        }
        if counted.written != size as u64 {
            let problem = format!("{} bytes are written, its shape has {size}", counted.written);
            return Err(self.misuse(name, problem));
        }
        self.padding = size.next_multiple_of(self.alignment) - size;
        self.next += 1;
        Ok(())
    }

    /// Checks that every tensor was written and gives the output back.
    pub fn finish(mut self) -> Result<W, Error> {
        if let Some((spec, _)) = self.tensors.get(self.next) {
            return Err(self.misuse(&spec.name, "is described but not written".to_owned()));
        }
        // Readers expect the last tensor to be padded like the others.
        write_zeros(&mut self.out, self.padding)
            .and_then(|()| self.out.flush())
            .map_err(Error::io(&self.path, "write"))?;
        Ok(self.out)
    }

    fn misuse(&self, tensor: &str, problem: String) -> Error {
        refused(&self.path, format!("tensor `{}`", shorten(tensor)), problem)
    }
}

/// The error for being asked to write what no reader would accept.
fn refused(path: &Path, field: String, problem: String) -> Error {
    let remedy = "give every described tensor its data once, in order";
    Error::Malformed { path: path.to_owned(), field, problem, remedy }
}

/// The tensors with their sizes, where a reader would accept them.
fn sizes(
    tensors: Vec<TensorSpec>,
    alignment: usize,
    path: &Path,
) -> Result<Vec<(TensorSpec, usize)>, Error> {
    let mut seen = HashSet::new();
    for spec in &tensors {
        if !seen.insert(spec.name.as_str()) {
            let field = format!("tensor `{}`", shorten(&spec.name));
            return Err(refused(path, field, "is described twice".to_owned()));
        }
    }
    let mut sized = Vec::with_capacity(tensors.len());
    let mut total = 0usize;
    for spec in tensors {
        let dims = spec.shape.len();
        let size = match dims > MAX_DIMS as usize {
            true => Err(format!("has {dims} dimensions, more than {MAX_DIMS}")),
            false => tensor::size(&spec.shape, spec.ty),
        };
        let after = |size: usize| {
            let end = size.checked_next_multiple_of(alignment)?.checked_add(total)?;
            Some((size, end))
        };
        let placed = size.and_then(|size| {
            after(size).ok_or_else(|| "lies beyond what a file can hold".to_owned())
        });
        let (size, end) = placed
            .map_err(|why| refused(path, format!("tensor `{}`", shorten(&spec.name)), why))?;
        total = end;
        sized.push((spec, size));
    }
    Ok(sized)
}

fn encode(metadata: &Metadata, tensors: &[(TensorSpec, usize)], alignment: usize) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(b"GGUF");
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata.iter() {
        put_str(&mut out, key);
        put_value(&mut out, value);
    }
    let mut offset = 0;
    for (spec, size) in tensors {
        put_str(&mut out, &spec.name);
        out.extend((spec.shape.len() as u32).to_le_bytes());
        for &dim in spec.shape.iter().rev() {
            out.extend((dim as u64).to_le_bytes());
        }
        out.extend((spec.ty as u32).to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset += size.next_multiple_of(alignment);
    }
    out
}

fn put_str(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

macro_rules! put {
    ($out:expr, $ty:expr, $value:expr) => {{
        $out.extend(u32::to_le_bytes($ty));
        $out.extend($value.to_le_bytes());
    }};
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => put!(out, 0, v),
        Value::I8(v) => put!(out, 1, v),
        Value::U16(v) => put!(out, 2, v),
        Value::I16(v) => put!(out, 3, v),
        Value::U32(v) => put!(out, 4, v),
        Value::I32(v) => put!(out, 5, v),
        Value::F32(v) => put!(out, 6, v),
        Value::Bool(v) => put!(out, 7, u8::from(*v)),
        Value::Str(v) => {
            out.extend(8u32.to_le_bytes());
            put_str(out, v);
        }
        Value::Array(v) => {
            out.extend(9u32.to_le_bytes());
            put_array(out, v);
        }
        Value::U64(v) => put!(out, 10, v),
        Value::I64(v) => put!(out, 11, v),
        Value::F64(v) => put!(out, 12, v),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    fn put<const N: usize, T: Copy>(
        out: &mut Vec<u8>,
        ty: u32,
        values: &[T],
        bytes: impl Fn(T) -> [u8; N],
    ) {
        out.extend(ty.to_le_bytes());
        out.extend((values.len() as u64).to_le_bytes());
        out.extend(values.iter().flat_map(|&v| bytes(v)));
    }
    match array {
        Array::U8(v) => put(out, 0, v, u8::to_le_bytes),
        Array::I8(v) => put(out, 1, v, i8::to_le_bytes),
        Array::U16(v) => put(out, 2, v, u16::to_le_bytes),
        Array::I16(v) => put(out, 3, v, i16::to_le_bytes),
        Array::U32(v) => put(out, 4, v, u32::to_le_bytes),
        Array::I32(v) => put(out, 5, v, i32::to_le_bytes),
        Array::F32(v) => put(out, 6, v, f32::to_le_bytes),
        Array::Bool(v) => put(out, 7, v, |b| [u8::from(b)]),
        Array::Str(v) => {
            out.extend(8u32.to_le_bytes());
            out.extend((v.len() as u64).to_le_bytes());
            v.iter().for_each(|text| put_str(out, text));
        }
        Array::Nested(v) => {
            out.extend(9u32.to_le_bytes());
            out.extend(v.len().to_le_bytes());
            out.extend(&v.raw);
        }
        Array::U64(v) => put(out, 10, v, u64::to_le_bytes),
        Array::I64(v) => put(out, 11, v, i64::to_le_bytes),
        Array::F64(v) => put(out, 12, v, f64::to_le_bytes),
    }
}

fn write_zeros(out: &mut impl Write, count: usize) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), count as u64), out).map(drop)
}

struct Counted<'a, W> {
    out: &'a mut W,
    written: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A file that is written under a temporary name beside its own, and is there under its own name
/// only once it is whole. Dropped without [`AtomicFile::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct AtomicFile {
    out: BufWriter<NamedTempFile>,
    path: PathBuf,
}

impl AtomicFile {
    /// Starts the file `path` in its directory, which must exist.
    pub fn create(path: &Path) -> Result<AtomicFile, Error> {
        AtomicFile::with_mode(path, 0o666)
    }

    /// The same for a file that nobody else is to read.
    pub fn private(path: &Path) -> Result<AtomicFile, Error> {
        AtomicFile::with_mode(path, 0o600)
    }

    #[cfg_attr(not(unix), expect(unused_variables, reason = "there are no modes"))]
    fn with_mode(path: &Path, mode: u32) -> Result<AtomicFile, Error> {
        let dir = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".ponder-").suffix(".tmp");
        // The temporary file becomes the file: it must not stay readable by its maker alone.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
        let file = builder.tempfile_in(dir).map_err(Error::io(path, "create"))?;
        Ok(AtomicFile { out: BufWriter::with_capacity(1 << 20, file), path: path.to_owned() })
    }

    /// Makes what was written durable, and renames it into place.
    pub fn commit(self) -> Result<(), Error> {
        let AtomicFile { out, path } = self;
        let file = out.into_inner().map_err(|e| Error::io(&path, "write")(e.into_error()))?;
        file.as_file().sync_all().map_err(Error::io(&path, "write"))?;
        let file: File = file.persist(&path).map_err(|e| Error::io(&path, "rename to")(e.error))?;
        drop(file);
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
