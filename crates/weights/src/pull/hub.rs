//! The Hugging Face hub, or a mirror of it: what is in a repository, and which of it to fetch.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::http::Client;
use super::part::{Expected, Part};
use super::quant::{quant_of, split_of};
use super::{Error, Progress};

/// How to talk to a hub.
pub struct Hub {
    endpoint: String,
    viewer: String,
    client: Client,
    cache: Option<PathBuf>,
}

/// What to fetch from a repository.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// The commit the files are of: a branch that moves during a pull does no harm.
    pub commit: String,
    pub quant: Option<String>,
    pub files: Vec<Remote>,
}

/// One file of a [`Plan`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Remote {
    /// Path in the repository.
    pub path: String,
    pub expected: Expected,
}

#[derive(Deserialize)]
struct Listing {
    sha: Option<String>,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Hub {
    /// As the environment says: `HF_ENDPOINT`, `HF_TOKEN` (else the file `HF_TOKEN_PATH`, else
    /// `token` in `HF_HOME`, by default `~/.cache/huggingface`), `HF_HUB_CACHE`, and
    /// `HF_HUB_DOWNLOAD_TIMEOUT`, the seconds a silent connection is waited for. `PONDER_DATASETS_SERVER` is
    /// the dataset viewer; by default `datasets-server.` before the hub's own name.
    pub fn from_env() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
        let home = set("HF_HOME").map(PathBuf::from).or_else(|| {
            let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
            let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache")))?;
            Some(cache.join("huggingface"))
        });
        let file =
            set("HF_TOKEN_PATH").map(PathBuf::from).or(home.as_ref().map(|h| h.join("token")));
        let token = set("HF_TOKEN").or_else(|| std::fs::read_to_string(file?).ok());
        let token = token.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let cache = set("HF_HUB_CACHE").map(PathBuf::from).or(home.map(|h| h.join("hub")));
        let idle = set("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|s| s.trim().parse().ok()).unwrap_or(60);
        let client = Client::new(token, Duration::from_secs(idle.max(1)));
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        // Where a hub has its viewer by its own libraries' account.
        let viewer = set("PONDER_DATASETS_SERVER")
            .unwrap_or_else(|| endpoint.replacen("://", "://datasets-server.", 1));
        Hub { endpoint, viewer: viewer.trim_end_matches('/').to_owned(), client, cache }
    }

    /// Looks into a repository and decides what to fetch. `select` is a quantisation or a file's
    /// path; `paths`, if any, are exactly the files.
    pub(super) fn plan(
        &self,
        repo: &str,
        revision: Option<&str>,
        select: Option<&str>,
        paths: &[String],
    ) -> Result<Plan, Error> {
        let revision = revision.unwrap_or("main");
        let url = format!(
            "{}/api/models/{repo}/revision/{}?blobs=true",
            self.endpoint,
            escape(revision, "")
        );
        let mut answer = self.client.get(&url, 0).map_err(|error| self.explain(error, repo))?;
        let bad = |reason: String| Error::BadAnswer { url: url.clone(), reason };
        // The listing of the largest repositories is a few megabytes.
        let body = answer.body.with_config().limit(64 << 20).reader();
        let listing: Listing = serde_json::from_reader(body).map_err(|err| bad(err.to_string()))?;
        let commit = listing.sha.unwrap_or_else(|| revision.to_owned());
        let files: Vec<Remote> = listing
            .siblings
            .into_iter()
            .map(|file| {
                let (lfs_size, sha256) = file.lfs.map_or((None, None), |l| (l.size, l.sha256));
                let expected = Expected { size: file.size.or(lfs_size), sha256 };
                Remote { path: file.rfilename, expected }
            })
            .collect();
        let files = choose(repo, files, select, paths)?;
        let quant = files.first().and_then(|file| quant_of(&file.path));
        Ok(Plan { commit, quant, files })
    }

    /// Fetches one file, or finds it in the Hugging Face cache. Returns size and SHA-256.
    pub(super) fn fetch(
        &self,
        repo: &str,
        commit: &str,
        file: &Remote,
        target: &Path,
        progress: &dyn Progress,
    ) -> Result<(u64, String), Error> {
        if let Some(found) = self.take_from_cache(repo, file, target, progress)? {
            return Ok(found);
        }
        let url = format!(
            "{}/{repo}/resolve/{}/{}",
            self.endpoint,
            escape(commit, ""),
            escape(&file.path, "/")
        );
        let mut part = Part::open(target, file.expected.clone(), progress)?;
        self.client
            .download(&url, &mut part, progress)
            .map_err(|error| self.explain(error, repo))?;
        part.finish(&format!("huggingface {repo}"))
    }

    /// The Hugging Face cache names large files by their SHA-256: one that is there need not come
    /// again.
    fn take_from_cache(
        &self,
        repo: &str,
        file: &Remote,
        target: &Path,
        progress: &dyn Progress,
    ) -> Result<Option<(u64, String)>, Error> {
        let (Some(cache), Some(sha256)) = (&self.cache, &file.expected.sha256) else {
            return Ok(None);
        };
        let repo = format!("models--{}", repo.replace('/', "--"));
        let blob = cache.join(repo).join("blobs").join(sha256);
        if !blob.is_file() {
            return Ok(None);
        }
        let Ok(found) =
            super::part::verify(&blob, &file.expected, "the Hugging Face cache", progress)
        else {
            return Ok(None);
        };
        let linked = std::fs::hard_link(&blob, target);
        if linked.is_err() {
            let draft = super::part::appended(target, ".copy");
            std::fs::copy(&blob, &draft).map_err(Error::io("write", &draft))?;
            std::fs::rename(&draft, target).map_err(Error::io("create", target))?;
        }
        Ok(Some(found))
    }

    /// Where a viewer has `length` rows of a split, from row `offset` on.
    pub(super) fn rows_url(
        &self,
        id: &str,
        config: &str,
        split: &str,
        offset: u64,
        length: u64,
    ) -> String {
        let id = escape(id, "");
        let (config, split) = (escape(config, ""), escape(split, ""));
        let range = format!("offset={offset}&length={length}");
        format!("{}/rows?dataset={id}&config={config}&split={split}&{range}", self.viewer)
    }

    /// An answer in JSON of at most `limit` bytes; a server that is busy is waited for.
    pub(super) fn json<T: DeserializeOwned>(
        &self,
        url: &str,
        limit: u64,
        repo: &str,
    ) -> Result<T, Error> {
        let answer = self.client.get_patiently(url).map_err(|error| self.explain(error, repo))?;
        let body = answer.body.into_with_config().limit(limit).reader();
        serde_json::from_reader(body)
            .map_err(|err| Error::BadAnswer { url: url.to_owned(), reason: err.to_string() })
    }

    fn explain(&self, error: Error, repo: &str) -> Error {
        match error {
            Error::Status { status: status @ (401 | 403), .. } => {
                Error::Access { repo: repo.into(), status, had_token: self.client.has_token() }
            }
            other => other,
        }
    }
}

/// The files of a repository that make up the model asked for.
fn choose(
    repo: &str,
    mut files: Vec<Remote>,
    select: Option<&str>,
    paths: &[String],
) -> Result<Vec<Remote>, Error> {
    let nothing =
        |wanted: String, hint: String| Error::NothingToPull { repo: repo.into(), wanted, hint };
    // The listing is outside data and its paths become file names here.
    files.retain(|file| {
        Path::new(&file.path).components().all(|c| matches!(c, std::path::Component::Normal(_)))
    });
    if !paths.is_empty() {
        let pick = |path: &String| {
            let found = files.iter().find(|file| file.path == *path).cloned();
            found.ok_or_else(|| {
                nothing(format!("file {path}"), "correct `files` in the catalogue".into())
            })
        };
        return paths.iter().map(pick).collect();
    }
    // Pieces of one split file belong together. Projectors of vision models are no models.
    let mut models: BTreeMap<String, Vec<Remote>> = BTreeMap::new();
    for file in files.iter().filter(|f| f.path.ends_with(".gguf") && !f.path.contains("mmproj")) {
        models.entry(split_of(&file.path).0.to_owned()).or_default().push(file.clone());
    }
    if models.is_empty() {
        return match select {
            None => choose_safetensors(repo, files),
            Some(select) => Err(nothing(
                format!("GGUF file for `{select}`"),
                format!(
                    "it has no GGUF files at all; `ponder pull {repo}` fetches safetensors, if there are any"
                ),
            )),
        };
    }
    let quants = || {
        let mut names: Vec<String> =
            models.keys().map(|k| quant_of(k).unwrap_or_else(|| format!("{k}.gguf"))).collect();
        names.sort();
        names.dedup();
        names.join(", ")
    };
    let wanted = select.unwrap_or("Q4_K_M");
    let mut found: Vec<&String> = models
        .keys()
        .filter(|base| {
            let named = split_of(wanted).0;
            quant_of(base).is_some_and(|quant| quant.eq_ignore_ascii_case(wanted))
                || *base == named
                || base.rsplit('/').next() == Some(named)
        })
        .collect();
    if select.is_none() && found.is_empty() && models.len() == 1 {
        found = models.keys().collect();
    }
    let base = match found.as_slice() {
        [] => return Err(nothing(wanted.to_owned(), format!("it has {}", quants()))),
        [one] => *one,
        several => {
            let names: Vec<String> =
                several.iter().map(|base| format!("{repo}:{base}.gguf")).collect();
            return Err(nothing(
                format!("single {wanted}"),
                format!("name one of {}", names.join(", ")),
            ));
        }
    };
    let mut pieces = models[base].clone();
    pieces.sort_by(|a, b| a.path.cmp(&b.path));
    if let Some((_, count)) = split_of(&pieces[0].path).1
        && pieces.len() != count as usize
    {
        let hint = format!("{} of the {count} pieces are there", pieces.len());
        return Err(nothing(format!("complete {base}"), hint));
    }
    Ok(pieces)
}

/// Everything a safetensors model needs: shards, index, configuration, tokenizer.
fn choose_safetensors(repo: &str, mut files: Vec<Remote>) -> Result<Vec<Remote>, Error> {
    const BESIDE: &[&str] = &[
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "chat_template.jinja",
        "chat_template.json",
        "model.safetensors.index.json",
    ];
    // Some repositories carry the same weights twice, the second time as `consolidated*`.
    let is_shard = |path: &str| path.ends_with(".safetensors") && path.starts_with("model");
    files.retain(|file| BESIDE.contains(&file.path.as_str()) || is_shard(&file.path));
    let has = |name: &str| files.iter().any(|file| file.path == name);
    if !files.iter().any(|file| is_shard(&file.path)) || !has("config.json") {
        return Err(Error::NothingToPull {
            repo: repo.into(),
            wanted: "GGUF or safetensors model".into(),
            hint: "look for a repository of the same model with GGUF in its name".into(),
        });
    }
    // Small files first: they say early whether the model can be run at all.
    files.sort_by_key(|file| (is_shard(&file.path), file.path.clone()));
    Ok(files)
}

/// Percent-encodes a path for a URL, all but `keep` and what needs no encoding.
fn escape(text: &str, keep: &str) -> String {
    text.bytes().fold(String::new(), |mut url, byte| {
        if byte.is_ascii_alphanumeric()
            || b"-_.~".contains(&byte)
            || keep.as_bytes().contains(&byte)
        {
            url.push(byte.into());
        } else {
            url += &format!("%{byte:02X}");
        }
        url
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(paths: &[&str], select: Option<&str>) -> Result<Vec<String>, String> {
        let files = paths
            .iter()
            .map(|p| Remote { path: p.to_string(), expected: Expected::default() })
            .collect();
        choose("o/r", files, select, &[])
            .map(|files| files.into_iter().map(|file| file.path).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_quant_asked_for_else_q4_k_m_else_the_only_one() {
        let repo = ["README.md", "x-q4_k_m.gguf", "x-q8_0.gguf", "mmproj-x-q8_0.gguf"];
        assert_eq!(chosen(&repo, None).unwrap(), ["x-q4_k_m.gguf"]);
        assert_eq!(chosen(&repo, Some("q8_0")).unwrap(), ["x-q8_0.gguf"]);
        assert_eq!(chosen(&repo, Some("x-q8_0.gguf")).unwrap(), ["x-q8_0.gguf"]);
        assert_eq!(chosen(&["only-Q5_0.gguf"], None).unwrap(), ["only-Q5_0.gguf"]);
        assert_eq!(
            chosen(&repo, Some("Q6_K")).unwrap_err(),
            "o/r has no Q6_K\nhint: it has Q4_K_M, Q8_0"
        );
        assert_eq!(
            chosen(&["a-q8_0.gguf", "b-q8_0.gguf"], Some("Q8_0")).unwrap_err(),
            "o/r has no single Q8_0\nhint: name one of o/r:a-q8_0.gguf, o/r:b-q8_0.gguf"
        );
    }

    #[test]
    fn split_files_come_together_and_in_order_or_not_at_all() {
        let pieces = ["d/x-Q4_K_M-00002-of-00002.gguf", "d/x-Q4_K_M-00001-of-00002.gguf"];
        assert_eq!(chosen(&pieces, Some("Q4_K_M")).unwrap(), [pieces[1], pieces[0]]);
        assert_eq!(
            chosen(&pieces[..1], None).unwrap_err(),
            "o/r has no complete d/x-Q4_K_M\nhint: 1 of the 2 pieces are there"
        );
    }

    #[test]
    fn a_safetensors_repository_comes_with_all_it_needs() {
        let repo = [
            "model-00002-of-00002.safetensors",
            "model-00001-of-00002.safetensors",
            "model.safetensors.index.json",
            "consolidated.safetensors",
            "config.json",
            "tokenizer.json",
            "pytorch_model.bin",
            "README.md",
        ];
        assert_eq!(
            chosen(&repo, None).unwrap(),
            ["config.json", "model.safetensors.index.json", "tokenizer.json", repo[1], repo[0]]
        );
        assert!(chosen(&repo, Some("Q4_K_M")).unwrap_err().contains("no GGUF files at all"));
        assert!(chosen(&["README.md"], None).unwrap_err().contains("no GGUF or safetensors model"));
    }

    #[test]
    fn a_listing_cannot_write_outside_the_store() {
        let evil = ["../x-q4_k_m.gguf", "/etc/x-q4_k_m.gguf", "a/../../x-q4_k_m.gguf"];
        assert!(chosen(&evil, None).is_err());
    }

    #[test]
    fn urls() {
        assert_eq!(escape("a b/c#d.gguf", "/"), "a%20b/c%23d.gguf");
        assert_eq!(escape("refs/pr/1", ""), "refs%2Fpr%2F1");
    }
}
