//! A scheduler on a thread of its own, for callers on many others.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Engine, Error, Event, Flow, Kept, Load, Request, RequestId, Scheduler, Update};

/// Called with every update of one request; [`Flow::Stop`] cancels it.
type Receive = Box<dyn FnMut(Update) -> Flow + Send>;

/// Called with a text's vector.
type Embedded = Box<dyn FnOnce(Result<Vec<f32>, Error>) + Send>;

/// Names a request to its runtime.
type Ticket = u64;

enum Command {
    Submit(Ticket, Box<Request>, Receive),
    Cancel(Ticket),
    Embed(Vec<u32>, Embedded),
    Forget,
    Keep(PathBuf, Sender<Result<Kept, Error>>),
}

/// Runs a [`Scheduler`]; cheap to clone. The thread ends when the last clone is dropped and its
/// requests are answered.
#[derive(Clone)]
pub struct Runtime {
    engine: Arc<Engine>,
    commands: Sender<Command>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    load: Mutex<Load>,
    /// No more requests are taken in.
    closed: AtomicBool,
    /// The thread has ended in a panic.
    dead: AtomicBool,
    next: Mutex<Ticket>,
}

/// Notes the end of the thread that holds it.
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the engine's thread has failed; no request can be answered any more");
            self.0.dead.store(true, Ordering::Relaxed);
        }
    }
}

/// A request under way. Dropping it cancels the request.
pub struct Pending {
    ticket: Ticket,
    commands: Sender<Command>,
}

impl Pending {
    /// Ends the request where it is: what there is of its answers comes as
    /// [`FinishReason::Cancelled`](crate::FinishReason::Cancelled).
    pub fn cancel(&self) {
        // A request that is answered is no longer known, and a thread that has ended needs nothing.
        let _ = self.commands.send(Command::Cancel(self.ticket));
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl Runtime {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(scheduler: Scheduler) -> std::io::Result<Runtime> {
        let engine = Arc::clone(scheduler.engine());
        let (commands, inbox) = channel();
        let shared = Arc::new(Shared::default());
        *lock(&shared.load) = scheduler.load();
        let worker =
            Worker { scheduler, inbox, receivers: HashMap::new(), shared: Arc::clone(&shared) };
        let alive = Alive(Arc::clone(&shared));
        std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
            let _alive = alive;
            worker.run();
        })?;
        Ok(Runtime { engine, commands, shared })
    }

    /// The model.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Whether the engine's thread runs. If not, the process is of no more use.
    pub fn is_alive(&self) -> bool {
        !self.shared.dead.load(Ordering::Relaxed)
    }

    fn check_open(&self) -> Result<(), Error> {
        if !self.is_alive() {
            return Err(Error::Broken("the engine's thread has failed; start again".to_owned()));
        }
        match self.shared.closed.load(Ordering::Relaxed) {
            true => Err(Error::ShuttingDown),
            false => Ok(()),
        }
    }

    /// Takes a request in. `receive` is called on the engine's thread and must not take long.
    ///
    /// # Errors
    /// As [`Engine::check`]; or the runtime is shutting down.
    pub fn submit(
        &self,
        request: Request,
        receive: impl FnMut(Update) -> Flow + Send + 'static,
    ) -> Result<Pending, Error> {
        self.engine.check(&request)?;
        self.check_open()?;
        let ticket = {
            let mut next = lock(&self.shared.next);
            *next += 1;
            *next
        };
        let command = Command::Submit(ticket, Box::new(request), Box::new(receive));
        self.commands.send(command).map_err(|_| Error::ShuttingDown)?;
        Ok(Pending { ticket, commands: self.commands.clone() })
    }

    /// Has a text's vector worked out between two steps; see [`Engine::embed`].
    ///
    /// # Errors
    /// As [`Engine::check_prompt`]; or the runtime is shutting down.
    pub fn embed(
        &self,
        tokens: Vec<u32>,
        receive: impl FnOnce(Result<Vec<f32>, Error>) + Send + 'static,
    ) -> Result<(), Error> {
        self.engine.check_prompt(&tokens)?;
        self.check_open()?;
        let command = Command::Embed(tokens, Box::new(receive));
        self.commands.send(command).map_err(|_| Error::ShuttingDown)
    }

    /// What there was to do after the last step.
    pub fn load(&self) -> Load {
        *lock(&self.shared.load)
    }

    /// Forgets all texts that are not under way.
    pub fn forget(&self) {
        let _ = self.commands.send(Command::Forget);
    }

    /// Writes the texts that were read to a file, between two steps; see [`Scheduler::keep`]. Waits
    /// until that is done.
    ///
    /// # Errors
    /// As there; or the engine's thread has failed.
    pub fn keep(&self, path: &Path) -> Result<Kept, Error> {
        let (told, result) = channel();
        // A thread that has ended neither takes the command nor tells.
        let _ = self.commands.send(Command::Keep(path.to_owned(), told));
        result.recv().unwrap_or_else(|_| {
            Err(Error::Broken("the engine's thread has failed; nothing was kept".to_owned()))
        })
    }

    /// Takes no more requests in; those that are under way go on.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Worker {
    scheduler: Scheduler,
    inbox: Receiver<Command>,
    receivers: HashMap<RequestId, (Ticket, usize, Receive)>,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(mut self) {
        loop {
            // Sleep while there is nothing to do; look, but don't wait, while there is.
            let idle = self.scheduler.is_idle();
            if idle {
                *lock(&self.shared.load) = self.scheduler.load();
                match self.inbox.recv() {
                    Ok(command) => self.obey(command),
                    Err(_) => return,
                }
            }
            loop {
                match self.inbox.try_recv() {
                    Ok(command) => self.obey(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) if self.scheduler.is_idle() => return,
                    Err(TryRecvError::Disconnected) => break,
                }
            }
            self.step();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Submit(ticket, request, mut receive) => {
                let choices = request.n.max(1);
                match self.scheduler.submit(*request) {
                    Ok(id) => {
                        self.receivers.insert(id, (ticket, choices, receive));
                    }
                    Err(error) => {
                        let event = Event::Failed(error);
                        receive(Update { request: RequestId(u64::MAX), choice: 0, event });
                    }
                }
            }
            Command::Cancel(ticket) => {
                let known = self.receivers.iter().find(|(_, (t, ..))| *t == ticket);
                if let Some(id) = known.map(|(id, _)| *id) {
                    self.scheduler.cancel(id);
                }
            }
            Command::Embed(tokens, receive) => receive(self.scheduler.engine().embed(&tokens)),
            Command::Forget => self.scheduler.forget(),
            Command::Keep(path, told) => {
                // Nobody waits any more: it was kept all the same.
                let _ = told.send(self.scheduler.keep(&path));
            }
        }
    }

    fn step(&mut self) {
        let updates = self.scheduler.step();
        *lock(&self.shared.load) = self.scheduler.load();
        match updates {
            Ok(updates) => updates.into_iter().for_each(|update| self.deliver(update)),
            Err(error) => {
                tracing::error!(%error, "the model can't be run; all requests fail");
                self.scheduler.abandon();
                for (id, (_, _, mut receive)) in self.receivers.drain() {
                    let event = Event::Failed(Error::Broken(error.to_string()));
                    receive(Update { request: id, choice: 0, event });
                }
            }
        }
    }

    fn deliver(&mut self, update: Update) {
        let id = update.request;
        let Some((_, choices, receive)) = self.receivers.get_mut(&id) else { return };
        if matches!(update.event, Event::Finished(_) | Event::Failed(_)) {
            *choices -= 1;
        }
        let over = *choices == 0;
        let flow = receive(update);
        if flow == Flow::Stop && !over {
            self.scheduler.cancel(id);
        }
        if over || flow == Flow::Stop {
            self.receivers.remove(&id);
        }
    }
}
