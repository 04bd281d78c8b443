//! Completions drawn by engines elsewhere (vLLM, `ponder serve`): before each step they are told
//! to load the adapter, which lies in a folder that they see too.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::Request;
use reason::{Endpoint, Pool};
use serde_json::{Value, json};
use text::splitter::Answer;
use train::Network;

use super::{Draw, Drawn, Rollouts, Watch};
use crate::Error;
use crate::error::io;

/// How often an endpoint is told something that it has no time for, and the first pause between.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is asked whether to go on.
const LOOK: Duration = Duration::from_millis(50);

/// Endpoints that serve the model that is trained, and load adapters at run time by
/// `/v1/load_lora_adapter`.
///
/// Other than in this process, what is drawn depends on the engines and on which requests meet in
/// them: a run can't be repeated to the bit.
pub struct Endpoints {
    pool: Pool,
    /// Where adapters are put.
    dir: PathBuf,
    /// What the model is called in adapters' files.
    base: String,
    /// The names of this run's adapters begin with it.
    run: String,
    /// How many there have been.
    count: usize,
    /// Those that may be loaded somewhere, the one in use last.
    loaded: Vec<String>,
}

impl Endpoints {
    /// Uses the endpoints of `pool`. Adapters of the model `base` are put into `dir`, which the
    /// endpoints see under the same path (`ponder serve --lora-dir` under any).
    ///
    /// # Errors
    /// The folder can't be made.
    pub fn new(pool: Pool, dir: &Path, base: &str) -> Result<Endpoints, Error> {
        fs::create_dir_all(dir).map_err(io(dir, "create"))?;
        let dir = fs::canonicalize(dir).map_err(io(dir, "find"))?;
        // Two runs may share a folder and endpoints.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let run = format!("ponder-{:x}-{:x}", std::process::id(), now.as_millis());
        Ok(Endpoints { pool, dir, base: base.to_owned(), run, count: 0, loaded: Vec::new() })
    }

    /// Tells an endpoint to `load` or `unload` an adapter; a busy one is asked again.
    fn tell(&self, endpoint: &Endpoint, what: &str, name: &str) -> Result<(), reason::Error> {
        let path = self.dir.join(name);
        let body = json!({"lora_name": name, "lora_path": path.display().to_string()});
        let mut pause = PAUSE;
        for left in (0..TRIES).rev() {
            match endpoint.send(&format!("{what}_lora_adapter"), &body) {
                Err(reason::Error::Unavailable { .. }) if left > 0 => std::thread::sleep(pause),
                told => return told.map(|_| ()),
            }
            pause *= 2;
        }
        Ok(())
    }

    /// Tells all endpoints to load an adapter.
    fn load(&self, name: &str) -> Result<(), Error> {
        for endpoint in self.pool.endpoints() {
            self.tell(endpoint, "load", name).map_err(|error| Error::Rollouts {
                problem: format!(
                    "{} doesn't load an adapter: {error}\n\
                     hint: vLLM wants --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, \
                     `ponder serve` --lora-dir {}",
                    endpoint.url(),
                    self.dir.display()
                ),
            })?;
        }
        Ok(())
    }

    /// Tells all endpoints to forget an adapter, and removes it. What is left over costs memory there,
    /// and no run.
    fn forget(&self, name: &str) {
        for endpoint in self.pool.endpoints() {
            match self.tell(endpoint, "unload", name) {
                // It never had it.
                Ok(()) | Err(reason::Error::Refused { status: 404, .. }) => {}
                Err(error) => tracing::warn!("{} keeps adapter {name}: {error}", endpoint.url()),
            }
        }
        let dir = self.dir.join(name);
        if let Err(error) = fs::remove_dir_all(&dir) {
            tracing::warn!("{} can't be removed: {error}", dir.display());
        }
    }

    /// The completions of one prompt.
    fn ask(
        &self,
        model: &str,
        prompt: &Request,
        how: Draw,
        seed: u64,
    ) -> Result<Vec<Drawn>, Error> {
        // Engines have defaults of their own, from the model's files: all that shapes the
        // distribution is said.
        let body = json!({
            "model": model,
            "prompt": prompt.prompt,
            "n": how.completions,
            "max_tokens": how.max_tokens,
            "temperature": how.temperature,
            "top_p": 1.0, "top_k": -1, "min_p": 0.0,
            "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
            "seed": seed & (u64::MAX >> 1),
            "logprobs": 0,
            "return_token_ids": true,
        });
        let reply = self
            .pool
            .send("completions", &body)
            .map_err(|error| Error::Rollouts { problem: error.to_string() })?;
        let choices = reply["choices"].as_array().map_or(&[][..], Vec::as_slice);
        if choices.len() != how.completions {
            let problem = format!("{} completions came for {}", choices.len(), how.completions);
            return Err(Error::Rollouts { problem });
        }
        choices.iter().map(|choice| drawn(choice, prompt, how)).collect()
    }
}

/// What one choice of a reply says.
fn drawn(choice: &Value, prompt: &Request, how: Draw) -> Result<Drawn, Error> {
    let wrong = |problem: &str| Error::Rollouts { problem: problem.to_owned() };
    let tokens: Option<Vec<u32>> = serde_json::from_value(choice["token_ids"].clone()).ok();
    let Some(tokens) = tokens else {
        return Err(wrong(
            "an endpoint doesn't tell its tokens' numbers (`token_ids`): vLLM from 0.10.2 on and \
             `ponder serve` do",
        ));
    };
    if tokens.len() > how.max_tokens {
        return Err(wrong("an endpoint drew more tokens than it was asked for"));
    }
    // At another temperature engines tell the probabilities that they didn't draw by.
    let log_probs: Option<Vec<f32>> = match how.temperature == 1.0 {
        true => serde_json::from_value(choice["logprobs"]["token_logprobs"].clone()).ok(),
        false => None,
    };
    if let Some(log_probs) = &log_probs
        && (log_probs.len() != tokens.len() || log_probs.iter().any(|l| !l.is_finite()))
    {
        let problem = format!(
            "an endpoint has {} log-probabilities for {} tokens, or some that are no numbers",
            log_probs.len(),
            tokens.len()
        );
        return Err(wrong(&problem));
    }
    let text = choice["text"].as_str().unwrap_or_default();
    let answer = Answer::split(text, prompt.tags.clone(), prompt.start);
    Ok(Drawn {
        tokens,
        log_probs,
        reasoning: answer.reasoning,
        answer: answer.content,
        truncated: choice["finish_reason"] == "length",
    })
}

impl Rollouts for Endpoints {
    fn follow(&mut self, network: &Network<'_>) -> Result<(), Error> {
        self.count += 1;
        let name = format!("{}-{}", self.run, self.count);
        let (part, dir) = (self.dir.join(format!(".{name}")), self.dir.join(&name));
        fs::create_dir_all(&part).map_err(io(&part, "create"))?;
        let written = network.save_adapter(&part, &self.base).map_err(Error::from);
        if let Err(error) =
            written.and_then(|()| fs::rename(&part, &dir).map_err(io(&part, "rename")))
        {
            let _ = fs::remove_dir_all(&part);
            return Err(error);
        }
        self.loaded.push(name.clone());
        self.load(&name)?;
        let old: Vec<String> = self.loaded.drain(..self.loaded.len() - 1).collect();
        old.iter().for_each(|name| self.forget(name));
        Ok(())
    }

    fn draw(
        &mut self,
        prompts: &[Request],
        how: Draw,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Vec<Vec<Drawn>>>, Error> {
        let model = self.loaded.last().map_or(&*self.base, String::as_str);
        let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (send, receive) = mpsc::channel();
        let workers = reason::Completer::slots(&self.pool).min(prompts.len());
        let mut all: Vec<Option<Vec<Drawn>>> = vec![None; prompts.len()];
        let mut failed = None;
        std::thread::scope(|scope| {
            for _ in 0..workers {
                let (this, send, next, stopped) = (&*self, send.clone(), &next, &stopped);
                scope.spawn(move || {
                    while !stopped.load(Ordering::Relaxed) {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        let Some(prompt) = prompts.get(i) else { break };
                        let seed = how.seed.wrapping_add((i * how.completions) as u64);
                        if send.send((i, this.ask(model, prompt, how, seed))).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(send);
            let (mut tokens, mut finished) = (0, 0);
            loop {
                match receive.recv_timeout(LOOK) {
                    Ok((i, Ok(drawn))) => {
                        tokens += drawn.iter().map(|d| d.tokens.len()).sum::<usize>();
                        finished += drawn.len();
                        all[i] = Some(drawn);
                    }
                    Ok((_, Err(error))) => {
                        failed = Some(error);
                        stopped.store(true, Ordering::Relaxed);
                    }
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => break,
                }
                // What is under way elsewhere is waited for, as it can't be called back.
                if !watch(tokens, finished) {
                    stopped.store(true, Ordering::Relaxed);
                }
            }
        });
        match failed {
            Some(error) => Err(error),
            // Stopped, unless everything was there all the same.
            None => Ok(all.into_iter().collect()),
        }
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        std::mem::take(&mut self.loaded).iter().for_each(|name| self.forget(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_held_to_what_was_asked_for() {
        let how = Draw { completions: 1, max_tokens: 3, temperature: 1.0, seed: 1 };
        let of = |choice: Value, how| drawn(&choice, &Request::default(), how);
        let choice = json!({"text": "ab", "token_ids": [1, 2], "finish_reason": "length",
                            "logprobs": {"token_logprobs": [-0.5, -1.0]}});
        let found = of(choice.clone(), how).unwrap();
        assert_eq!((&found.tokens[..], found.truncated, &*found.answer), (&[1, 2][..], true, "ab"));
        assert_eq!(found.log_probs, Some(vec![-0.5, -1.0]));
        let colder = Draw { temperature: 0.8, ..how };
        assert_eq!(of(choice, colder).unwrap().log_probs, None);
        for (choice, wanted) in [
            (json!({"text": "ab"}), "token_ids"),
            (json!({"text": "ab", "token_ids": [-1]}), "token_ids"),
            (json!({"text": "ab", "token_ids": [1, 2, 3, 4]}), "more tokens"),
            (
                json!({"token_ids": [1, 2], "logprobs": {"token_logprobs": [-0.5]}}),
                "1 log-probabilities for 2",
            ),
        ] {
            let error = of(choice, how).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
