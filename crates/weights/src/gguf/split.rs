//! Models split over several files, `NAME-00001-of-0000N.gguf`: which files belong together, and
//! whether they do.

use std::path::{Path, PathBuf};

use super::Metadata;
use crate::Error;

/// Part files beyond this are damage, not a model.
const MAX_PARTS: u64 = 99_999;
const REMEDY: &str = "put all parts of the model in one directory under their original names";

/// The files of the model that `path`, with this metadata, is a part of, in order; `None` where
/// it is a model by itself. Every file returned exists.
pub(super) fn parts(path: &Path, metadata: &Metadata) -> Result<Option<Vec<PathBuf>>, Error> {
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
    let mut paths = Vec::new();
    for number in 1..=count {
        let part = path.with_file_name(format!("{stem}-{number:05}-of-{count:05}.gguf"));
        // Checked as we go, so that an absurd count stops at the first file that is not there.
        if !part.exists() {
            return Err(Error::Missing {
                path: path.to_owned(),
                what: format!("part {number} of {count} ({})", part.display()),
                remedy: "fetch it, or put it beside the others",
            });
        }
        paths.push(part);
    }
    Ok(Some(paths))
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
