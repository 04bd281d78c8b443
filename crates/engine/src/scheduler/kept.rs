//! Texts that were read, kept in a file with their keys and values: a conversation goes on in
//! another process without being read again.
//!
//! The file is `PNDRKV01`, the length of a header (u64, little-endian), the header (JSON), the pages in
//! the order of the header, and the SHA-256 of all that. A page is as it lies in memory
//! ([`kernels::attention`]), the same on every machine. Whose it is is in the header: keys of
//! another model, or of the same one with its positions stretched, would be noise.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::path::Path;

use kernels::attention::PAGE_VERSION;
use model::PAGE;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use weights::gguf::AtomicFile;

use super::Scheduler;
use crate::Error;

const MAGIC: &[u8; 8] = b"PNDRKV01";
/// A header names every token of the texts: thirty million of them take less than this.
const MAX_HEADER: u64 = 256 << 20;

/// What was kept, or brought back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Tokens of all texts; a beginning that several share counts once.
    pub tokens: usize,
    /// Pages they take.
    pub pages: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// [`crate::Engine::fingerprint`].
    model: String,
    kv_cache_type: String,
    /// Whether far pages were left out, and what that needs to know of keys is in the pages.
    #[serde(default)]
    sparse: bool,
    /// [`PAGE_VERSION`].
    version: u32,
    /// How positions of longer texts are stretched, where it is not those of all.
    #[serde(default)]
    scaling: Option<String>,
    /// Positions of a page.
    page: usize,
    page_bytes: usize,
    /// Most lately used first, none before the one it follows.
    pages: Vec<Page>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    /// The page, counted from 0, that this one follows.
    after: Option<usize>,
    /// Whether it is of a longer text.
    #[serde(default)]
    scaled: bool,
    tokens: Box<[u32]>,
}

/// An error that names the file and what to do.
fn wrong(path: &Path, problem: impl Into<String>, remedy: &'static str) -> Error {
    Error::Kept { path: path.to_owned(), problem: problem.into(), remedy }
}

fn damaged(path: &Path, problem: impl Into<String>) -> Error {
    wrong(path, problem, "the file is damaged; delete it, or give another")
}

fn io<'a>(path: &'a Path, doing: &'static str) -> impl Fn(std::io::Error) -> Error + 'a {
    move |source| match source.kind() {
        ErrorKind::UnexpectedEof => damaged(path, "the file ends too early"),
        _ => Error::KeptIo { path: path.to_owned(), doing, source },
    }
}

/// Passes bytes on and adds them to a digest.
struct Digested<T> {
    inner: T,
    digest: Sha256,
}

impl<T> Digested<T> {
    fn new(inner: T) -> Digested<T> {
        Digested { inner, digest: Sha256::new() }
    }
}

impl<T: Write> Digested<T> {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.digest.update(bytes);
        self.inner.write_all(bytes)
    }
}

impl<T: Read> Digested<T> {
    fn take(&mut self, bytes: &mut [u8]) -> std::io::Result<()> {
        self.inner.read_exact(bytes)?;
        self.digest.update(bytes);
        Ok(())
    }
}

impl Header {
    /// Whether the pages are what they should be: in an order in which they can be put back.
    fn check(&self, vocab: usize) -> Result<(), String> {
        for (at, page) in self.pages.iter().enumerate() {
            let n = page.tokens.len();
            if n == 0 || n > PAGE {
                return Err(format!("page {at} of the header has {n} tokens, not 1 to {PAGE}"));
            }
            if let Some(token) = page.tokens.iter().find(|token| **token as usize >= vocab) {
                return Err(format!("page {at} of the header has token {token} of {vocab}"));
            }
            if let Some(after) = page.after
                && (after >= at
                    || self.pages[after].tokens.len() != PAGE
                    || self.pages[after].scaled != page.scaled)
            {
                return Err(format!("page {at} of the header can't follow page {after}"));
            }
        }
        Ok(())
    }
}

impl Scheduler {
    /// Writes all texts that were read without an adapter, as far as they are still in the cache, to
    /// a file, which is there only once it is whole.
    ///
    /// # Errors
    /// The file can't be written, or the model's own can't be read any more.
    pub fn keep(&self, path: &Path) -> Result<Kept, Error> {
        let list = self.prefixes.list();
        let pages = list.iter().map(|(after, scaled, tokens, _)| Page {
            after: *after,
            scaled: *scaled,
            tokens: (*tokens).into(),
        });
        let header = Header {
            model: self.engine.fingerprint()?.to_owned(),
            kv_cache_type: self.cache.shape().ty.to_string(),
            sparse: self.cache.leaves_out(),
            version: PAGE_VERSION,
            scaling: self.scaling(),
            page: PAGE,
            page_bytes: self.cache.page_bytes(),
            pages: pages.collect(),
        };
        let json = serde_json::to_vec(&header).map_err(|e| Error::Broken(e.to_string()))?;
        let mut out = Digested::new(AtomicFile::private(path)?);
        let failed = io(path, "write");
        for part in [&MAGIC[..], &(json.len() as u64).to_le_bytes(), &json] {
            out.put(part).map_err(&failed)?;
        }
        for (.., page) in &list {
            out.put(self.cache.held(page)).map_err(&failed)?;
        }
        let Digested { inner: mut file, digest } = out;
        file.write_all(&digest.finalize()).map_err(&failed)?;
        file.commit()?;
        let tokens = header.pages.iter().map(|page| page.tokens.len()).sum();
        Ok(Kept { tokens, pages: list.len() })
    }

    /// How positions of longer texts are stretched, where it is not those of all.
    fn scaling(&self) -> Option<String> {
        let rope = &self.engine.model().config().rope;
        rope.unscaled_to.map(|_| format!("{:?}", rope.scaling))
    }

    /// Forgets all texts that are not under way and brings back those of a file made by
    /// [`Scheduler::keep`], as far as there is room, and longer ones only where they are stretched as they were then.
    ///
    /// # Errors
    /// The file can't be read or is damaged, or was made with another model, another type of cache,
    /// or positions of all texts stretched otherwise; no text is known then.
    pub fn bring_back(&mut self, path: &Path) -> Result<Kept, Error> {
        self.forget();
        let result = self.read(path);
        if result.is_err() {
            self.forget();
        }
        result
    }

    fn read(&mut self, path: &Path) -> Result<Kept, Error> {
        let failed = io(path, "read");
        let file = File::open(path).map_err(&failed)?;
        let bytes = file.metadata().map_err(&failed)?.len();
        let mut file = Digested::new(BufReader::with_capacity(1 << 20, file));
        let mut start = [0; 16];
        file.take(&mut start).map_err(&failed)?;
        let (magic, len) = start.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(wrong(path, "this is no file of kept texts", "give another file"));
        }
        let len = len.try_into().map_or(u64::MAX, u64::from_le_bytes);
        if len > MAX_HEADER.min(bytes) {
            return Err(damaged(path, format!("a header of {len} bytes")));
        }
        let mut json = vec![0; len as usize];
        file.take(&mut json).map_err(&failed)?;
        let header: Header =
            serde_json::from_slice(&json).map_err(|e| damaged(path, format!("header: {e}")))?;
        self.check_kept(path, &header)?;
        let held = (header.pages.len() as u64).saturating_mul(header.page_bytes as u64);
        if bytes != held.saturating_add(16 + len + 32) {
            return Err(damaged(path, format!("{bytes} bytes don't hold what the header names")));
        }

        let mut kept = Kept::default();
        // Which node each page has become: those for which there was room, and that are of use.
        let mut nodes: Vec<Option<usize>> = Vec::new();
        let mut unused = vec![0; header.page_bytes];
        let same_scaling = header.scaling == self.scaling();
        let pages = header.pages.into_iter();
        for (used, Page { after, scaled, tokens }) in (0..pages.len() as u64).rev().zip(pages) {
            let after = after.map(|after| nodes[after]);
            let of_use = after != Some(None) && (same_scaling || !scaled);
            let Some(page) = of_use.then(|| self.cache.hold_new()).flatten() else {
                file.take(&mut unused).map_err(&failed)?;
                nodes.push(None);
                continue;
            };
            kept.tokens += tokens.len();
            kept.pages += 1;
            let read = file.take(self.cache.held_mut(&page));
            let node = self.prefixes.put_back(after.flatten(), scaled, tokens, page, used);
            nodes.push(Some(node));
            read.map_err(&failed)?;
        }
        let mut digest = [0; 32];
        file.inner.read_exact(&mut digest).map_err(&failed)?;
        if file.digest.finalize()[..] != digest {
            return Err(damaged(path, "the SHA-256 at its end is not that of the file"));
        }
        Ok(kept)
    }

    /// Whether pages are those of this model and this cache.
    fn check_kept(&self, path: &Path, header: &Header) -> Result<(), Error> {
        if header.version != PAGE_VERSION {
            let problem =
                "was made by another version of this program, which stored pages otherwise";
            return Err(wrong(path, problem, "delete it, or give another file"));
        }
        let ty = self.cache.shape().ty.to_string();
        if header.kv_cache_type != ty {
            let problem = format!("holds keys and values as {}, not {ty}", header.kv_cache_type);
            return Err(wrong(path, problem, "give the same --kv-cache-type as then"));
        }
        if header.sparse != self.cache.leaves_out() {
            let kind = if header.sparse { "sparse" } else { "full" };
            let problem = format!("holds what was read with --attention {kind}");
            return Err(wrong(path, problem, "give the same --attention as then, or another file"));
        }
        let of_this_model = header.page == PAGE
            && header.page_bytes == self.cache.page_bytes()
            && header.model == self.engine.fingerprint()?;
        if !of_this_model {
            return Err(wrong(
                path,
                "was made with another model, or with its positions stretched otherwise",
                "give the same model and --rope-scaling as then, or another file",
            ));
        }
        header.check(self.engine.model().vocab()).map_err(|problem| damaged(path, problem))
    }
}
