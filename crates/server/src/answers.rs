//! A request under way, seen from the HTTP side.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderValue, header};
use axum::response::sse::{Event as Sse, KeepAlive};
use axum::response::{IntoResponse, Response};
use engine::{Completion, Event, Flow, Pending, Request, RequestId, Runtime, Update};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::mpsc::{UnboundedReceiver, channel, unbounded_channel};

use crate::error::ApiError;

/// The updates of a request. Dropping this cancels the request.
pub(crate) struct Answers {
    updates: UnboundedReceiver<Update>,
    /// Answers that have not ended.
    open: usize,
    _pending: Pending,
}

impl Answers {
    /// Hands a request to the engine.
    pub(crate) fn ask(runtime: &Runtime, request: Request) -> Result<Answers, ApiError> {
        let open = request.n.max(1);
        let (sender, updates) = unbounded_channel();
        let pending = runtime.submit(request, move |update| match sender.send(update) {
            Ok(()) => Flow::Continue,
            Err(_) => Flow::Stop,
        })?;
        Ok(Answers { updates, open, _pending: pending })
    }

    /// What happens next; none when all answers have ended.
    pub(crate) async fn next(&mut self) -> Option<Update> {
        if self.open == 0 {
            return None;
        }
        let Some(update) = self.updates.recv().await else {
            // Nobody is left to tell the end: the engine's thread is gone.
            self.open = 0;
            let error = engine::Error::Broken("the engine's thread has failed".to_owned());
            let event = Event::Failed(error);
            return Some(Update { request: RequestId(u64::MAX), choice: 0, event });
        };
        match update.event {
            Event::Finished(_) => self.open -= 1,
            Event::Failed(_) => self.open = 0,
            Event::Delta(_) | Event::Logprob(_) => {}
        }
        Some(update)
    }

    /// All answers, in order.
    pub(crate) async fn all(mut self) -> Result<Vec<Completion>, ApiError> {
        let mut completions = vec![Completion::default(); self.open];
        while let Some(update) = self.next().await {
            match update.event {
                Event::Finished(completion) => completions[update.choice] = *completion,
                Event::Failed(error) => return Err(error.into()),
                Event::Delta(_) | Event::Logprob(_) => {}
            }
        }
        Ok(completions)
    }
}

/// Writes a request's updates as one API's server-sent events.
pub(crate) trait Writer: Send + 'static {
    /// Before anything has happened.
    fn begin(&mut self) -> Vec<Sse> {
        Vec::new()
    }
    /// What an update looks like.
    fn write(&mut self, update: Update) -> Vec<Sse>;
    /// After all answers have ended well.
    fn end(&mut self) -> Vec<Sse>;
}

/// An event that is one JSON value.
pub(crate) fn data(value: &serde_json::Value) -> Sse {
    Sse::default().data(value.to_string())
}

/// An event with a name.
pub(crate) fn named(name: &str, value: &serde_json::Value) -> Sse {
    data(value).event(name)
}

/// Streams answers as they come.
pub(crate) fn stream(mut answers: Answers, mut writer: impl Writer) -> Response {
    // Few, so that a client that doesn't read is noticed; the engine never waits for it.
    let (sender, receiver) = channel::<Sse>(16);
    tokio::spawn(async move {
        for event in writer.begin() {
            if sender.send(event).await.is_err() {
                return;
            }
        }
        let mut failed = false;
        loop {
            // Leaving this task drops `answers`, and so cancels the request.
            let update = tokio::select! {
                update = answers.next() => update,
                () = sender.closed() => return,
            };
            let Some(update) = update else { break };
            failed |= matches!(update.event, Event::Failed(_));
            for event in writer.write(update) {
                if sender.send(event).await.is_err() {
                    return;
                }
            }
        }
        if !failed {
            for event in writer.end() {
                if sender.send(event).await.is_err() {
                    return;
                }
            }
        }
    });
    events(stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|event| (event, receiver))
    }))
}

/// A response of server-sent events.
pub(crate) fn events(events: impl Stream<Item = Sse> + Send + 'static) -> Response {
    let events = events.map(Ok::<Sse, Infallible>);
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(10));
    let mut response = axum::response::Sse::new(events).keep_alive(keep_alive).into_response();
    // Proxies that buffer would hold tokens back.
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
