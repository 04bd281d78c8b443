//! Several endpoints, used as one.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::{Completion, Delta, Flow};
use serde_json::Value;
use text::splitter::{Start, Tags};

use super::{Endpoint, EndpointOptions};
use crate::{Ask, Completer, Error, Opening};

/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Spreads asks over endpoints that serve the same model: each goes to the one with the most free
/// slots, and to another if that fails. One that fails is left alone for a while.
pub struct Pool {
    endpoints: Vec<Endpoint>,
    slots: usize,
    tries: u32,
    pause: Duration,
    state: Mutex<Vec<State>>,
    freed: Condvar,
}

#[derive(Clone, Copy)]
struct State {
    busy: usize,
    failures: u32,
    rests_until: Instant,
}

impl Pool {
    /// Connects to all of them; those that can't be reached now are an error, so that a mistyped
    /// address shows at once.
    ///
    /// # Errors
    /// As [`Endpoint::connect`]; none is given; or they serve different models.
    pub fn connect(urls: &[String], options: &EndpointOptions) -> Result<Pool, Error> {
        let endpoints = urls
            .iter()
            .map(|url| Endpoint::connect(url, options))
            .collect::<Result<Vec<Endpoint>, Error>>()?;
        let Some(first) = endpoints.first() else {
            return Err(Error::Setting("no endpoint is given".to_owned()));
        };
        if let Some(other) = endpoints.iter().find(|e| e.model() != first.model()) {
            return Err(Error::Setting(format!(
                "{} serves {:?} but {} serves {:?}\nhint: name the one you mean with -m NAME",
                first.url(),
                first.model(),
                other.url(),
                other.model()
            )));
        }
        let idle = State { busy: 0, failures: 0, rests_until: Instant::now() };
        Ok(Pool {
            state: Mutex::new(vec![idle; endpoints.len()]),
            endpoints,
            slots: options.slots.max(1),
            tries: options.tries.max(1),
            pause: options.pause,
            freed: Condvar::new(),
        })
    }

    /// The endpoints' addresses.
    pub fn urls(&self) -> Vec<String> {
        self.endpoints.iter().map(|endpoint| endpoint.url().to_owned()).collect()
    }

    /// The endpoints.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Sends a body to whichever endpoint has a free slot, and tries again as asks are; see
    /// [`Endpoint::send`].
    ///
    /// # Errors
    /// As for [`Endpoint::complete`].
    pub fn send(&self, path: &str, body: &Value) -> Result<Value, Error> {
        self.tried(|endpoint| (endpoint.send(path, body), true))
    }

    /// Tries until it succeeds or there is no use in trying further; `attempt` says whether there
    /// may be another one.
    fn tried<T>(
        &self,
        mut attempt: impl FnMut(&Endpoint) -> (Result<T, Error>, bool),
    ) -> Result<T, Error> {
        let (mut last, mut nth) = (None, 0);
        loop {
            nth += 1;
            let at = self.take(last);
            let (outcome, may_retry) = attempt(&self.endpoints[at]);
            match outcome {
                Err(Error::Unavailable { url, why, retry_after }) => {
                    self.give_back(at, Some(retry_after));
                    if !may_retry || nth >= self.tries {
                        return Err(Error::Unavailable { url, why, retry_after });
                    }
                    tracing::info!(url, why, attempt = nth, "trying again");
                    last = Some(at);
                }
                outcome => {
                    self.give_back(at, None);
                    return outcome;
                }
            }
        }
    }

    /// Waits for a free slot at an endpoint that isn't resting, other than `not` if possible.
    fn take(&self, not: Option<usize>) -> usize {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let now = Instant::now();
            let free = (0..state.len())
                .filter(|&i| state[i].busy < self.slots && state[i].rests_until <= now)
                .min_by_key(|&i| (Some(i) == not, state[i].busy));
            if let Some(i) = free {
                state[i].busy += 1;
                return i;
            }
            let next = state.iter().map(|s| s.rests_until).filter(|at| *at > now).min();
            let wait = next.map_or(Duration::from_secs(1), |at| at - now);
            let waited = self.freed.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives a slot back, and notes how it went.
    fn give_back(&self, at: usize, failed: Option<Option<Duration>>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoint = &mut state[at];
        endpoint.busy -= 1;
        match failed {
            None => {
                // It is there again: who fails after this begins anew.
                endpoint.failures = 0;
                endpoint.rests_until = Instant::now();
            }
            Some(wish) => {
                let now = Instant::now();
                // Asks that fail together are one failure.
                if endpoint.rests_until <= now {
                    endpoint.failures += 1;
                }
                let pause = self.pause * 2u32.pow(endpoint.failures.saturating_sub(1).min(10));
                let pause = wish.unwrap_or(pause).min(LONGEST_PAUSE);
                endpoint.rests_until = endpoint.rests_until.max(now + pause);
            }
        }
        drop(state);
        self.freed.notify_all();
    }
}

impl Completer for Pool {
    fn name(&self) -> &str {
        self.endpoints[0].model()
    }

    fn slots(&self) -> usize {
        self.slots * self.endpoints.len()
    }

    fn complete(
        &self,
        ask: &Ask,
        receive: &mut dyn FnMut(Delta) -> Flow,
    ) -> Result<Completion, Error> {
        let mut told = false;
        self.tried(|endpoint| {
            let outcome = endpoint.complete(ask, &mut |delta| {
                told = true;
                receive(delta)
            });
            // What was told can't be taken back.
            (outcome, !told)
        })
    }

    fn opening(&self, ask: &Ask) -> Result<Opening, Error> {
        let prompt = self.endpoints[0].rendered(ask)?;
        let tags = Tags { tool_call: Default::default(), ..Tags::default() };
        let (open, close) = &tags.thinking;
        let end = prompt.trim_end();
        let start = match (end.ends_with(open.as_str()), end.ends_with(close.as_str())) {
            (true, _) => Start::Inside,
            (_, true) => Start::After,
            _ => Start::Undecided,
        };
        Ok(Opening { start, tags, thinks: start == Start::Inside })
    }
}
