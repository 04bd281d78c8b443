//! Writing one safetensors file.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::Error;
use crate::gguf::AtomicFile;

/// A tensor that is to be written, in f32.
#[derive(Clone, Debug)]
pub struct NewTensor<'a> {
    /// The name it is to have.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The weights, as many as the shape calls for.
    pub values: Cow<'a, [f32]>,
}

/// Writes `tensors` as the file `path`, which is there only once it is whole.
///
/// # Errors
/// The file can't be written, two tensors have the same name, or one has more or fewer weights than
/// its shape calls for.
pub fn write(path: &Path, tensors: &[NewTensor<'_>]) -> Result<(), Error> {
    // What other programs write; they read any header without it.
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!({"format": "pt"}))]);
    let mut at = 0;
    for t in tensors {
        let field = || format!("tensor `{}`", t.name);
        if t.shape.iter().product::<usize>() != t.values.len() {
            let problem = format!("{} weights for a shape of {:?}", t.values.len(), t.shape);
            return Err(Error::malformed(path, field(), problem));
        }
        let end = at + 4 * t.values.len();
        let entry = json!({"dtype": "F32", "shape": t.shape, "data_offsets": [at, end]});
        if header.insert(t.name.clone(), entry).is_some() {
            return Err(Error::malformed(path, field(), "is to be written twice"));
        }
        at = end;
    }
    let mut header = Value::Object(header).to_string();
    // The numbers then start at a multiple of eight bytes.
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));

    let mut file = AtomicFile::create(path)?;
    let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(Error::io(path, "write"));
    put(&(header.len() as u64).to_le_bytes())?;
    put(header.as_bytes())?;
    let mut bytes = Vec::new();
    for values in tensors.iter().flat_map(|t| t.values.chunks(64 << 10)) {
        bytes.clear();
        bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
        put(&bytes)?;
    }
    file.commit()
}
