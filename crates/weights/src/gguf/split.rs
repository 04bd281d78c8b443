//! Models split over several files, `NAME-00001-of-0000N.gguf`: which files belong together, and
//! whether they do.

use std::path::{Path, PathBuf};

use super::Metadata;
use crate::Error;

/// Part files beyond this are damage, not a model.
const MAX_PARTS: u64 = 99_999;
const REMEDY: &str = "put all parts of the model in one directory under their original names";

/// The names of a split model's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    dir: PathBuf,
    stem: String,
    count: u64,
}

impl Parts {
    /// The split model that `path`, with this metadata, is a part of; `None` where it is a model
    /// by itself.
    pub(super) fn of(path: &Path, metadata: &Metadata) -> Result<Option<Parts>, Error> {
        let count = metadata.u64("split.count")?.unwrap_or(0);
        if count <= 1 {
            return Ok(None);
        }
        if count > MAX_PARTS {
            let problem = format!("{count} parts are more than {MAX_PARTS}");
            return Err(Error::malformed(path, "metadata key `split.count`", problem));
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let Some((stem, _, of)) = name.and_then(numbered) else {
            return Err(Error::Malformed {
                path: path.to_owned(),
                field: "file name".to_owned(),
                problem: format!(
                    "the model is split in {count} parts, but this name does not end in \
                     -00001-of-{count:05}.gguf"
                ),
                remedy: REMEDY,
            });
        };
        if of != count {
            return Err(Error::Malformed {
                path: path.to_owned(),
                field: "metadata key `split.count`".to_owned(),
                problem: format!("says {count} parts, the file's name {of}"),
                remedy: REMEDY,
            });
        }
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Some(Parts { dir, stem: stem.to_owned(), count }))
    }

    /// The file of each part, in order, whether it exists or not.
    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        (1..=self.count).map(|number| {
            self.dir.join(format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.count))
        })
    }

    /// Number of parts, at least two.
    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// The error for part `part` (from 0) not being there.
    pub(super) fn missing(&self, path: &Path, part: usize) -> Error {
        Error::Missing {
            path: path.to_owned(),
            what: format!("part {} of {} of the model", part + 1, self.count),
            remedy: "fetch it, or put it beside the others",
        }
    }
}

/// Splits `NAME-00002-of-00005.gguf` into `NAME`, 2 and 5.
fn numbered(name: &str) -> Option<(&str, u64, u64)> {
    fn five(digits: &str) -> Option<u64> {
        (digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit()))
            .then(|| digits.parse().ok())?
    }
    let (rest, of) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    Some((stem, five(number)?, five(of)?))
}

/// Whether the file found under the name of part `part` (from 0) of `count` says so itself.
pub(super) fn check_part(
    path: &Path,
    metadata: &Metadata,
    part: usize,
    count: usize,
) -> Result<(), Error> {
    let no = metadata.require_u64("split.no")?;
    let of = metadata.require_u64("split.count")?;
    if (no, of) == (part as u64, count as u64) {
        return Ok(());
    }
    Err(Error::Malformed {
        path: path.to_owned(),
        field: "metadata key `split.no`".to_owned(),
        problem: format!(
            "the file calls itself part {} of {of}, its name part {} of {count}",
            no.saturating_add(1),
            part + 1
        ),
        remedy: REMEDY,
    })
}

/// Whether the parts together have as many tensors as the first one promises.
pub(super) fn check_total(path: &Path, metadata: &Metadata, tensors: usize) -> Result<(), Error> {
    match metadata.u64("split.tensors.count")? {
        Some(promised) if promised != tensors as u64 => Err(Error::Malformed {
            path: path.to_owned(),
            field: "metadata key `split.tensors.count`".to_owned(),
            problem: format!("says {promised} tensors, the parts hold {tensors}"),
            remedy: "the parts are not of one model, fetch them again",
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts() {
        assert_eq!(numbered("QwQ-32B-00002-of-00005.gguf"), Some(("QwQ-32B", 2, 5)));
        for name in ["a.gguf", "a-1-of-2.gguf", "a-00001-of-00002.bin", "a-+0001-of-00002.gguf"] {
            assert_eq!(numbered(name), None, "{name}");
        }
    }
}
