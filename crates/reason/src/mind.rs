//! What every strategy has at hand.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Instant;

use engine::Flow;
use serde::Serialize;
use verify::program::Sandbox;
use verify::{Attempt, Verifier};

use crate::answer::Kind;
use crate::thought::{Manner, Step, Thinker, Thought, Writing, mix};
use crate::{Ask, Completer, Error, Prompt};

/// What is to be answered.
#[derive(Clone)]
pub struct Problem<'a> {
    /// As it is put to the model.
    pub prompt: Prompt,
    /// The question, for verifiers and for telling languages apart.
    pub question: String,
    /// What was said at the question's end about the form of the answer; a strategy may say
    /// something else.
    pub instruction: Option<String>,
    /// What kind of answer it has.
    pub kind: Kind,
    /// Judges answers, where that can be done without knowing the right one.
    pub verifier: Option<&'a dyn Verifier>,
}

/// What happens meanwhile.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A thought begins.
    Begun {
        /// Its number.
        thought: usize,
        /// What it is about, where that isn't the question itself.
        about: String,
    },
    /// It goes on.
    Text {
        /// Its number.
        thought: usize,
        /// What comes next, tags included.
        text: String,
    },
    /// Its end was cut off.
    Rewound {
        /// Its number.
        thought: usize,
        /// What is left of it.
        text: String,
    },
    /// Something was done to it.
    Step {
        /// Its number.
        thought: usize,
        /// What.
        step: Step,
    },
    /// It is over.
    Over {
        /// Its number.
        thought: usize,
        /// Its answer.
        answer: Option<String>,
        /// Why.
        end: crate::thought::End,
    },
    /// The votes so far, as (answer, weight, thoughts), best first.
    Vote {
        /// The answers.
        clusters: Vec<crate::vote::Cluster>,
        /// The probability that the leader stays the leader.
        sure: f64,
    },
    /// What is being done, for people.
    Note(String),
}

/// A strategy's tools: who answers, what is asked, when to stop, whom to tell.
pub struct Mind<'a> {
    /// Who answers.
    pub completer: &'a dyn Completer,
    /// What is asked.
    pub problem: Problem<'a>,
    /// How a thought is had.
    pub manner: Manner,
    /// Runs programs; none where there is no sandbox.
    pub sandbox: Option<&'a Sandbox>,
    /// Seed of everything.
    pub seed: u64,
    /// When the answer is wanted.
    pub deadline: Option<Instant>,
    /// Whether the asker has gone.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
    /// Hears what happens, from any thread.
    pub tell: &'a (dyn Fn(Event) + Sync),
    /// Below this confidence a thought is given up; NaN for never. Bits of an f64.
    pub(crate) floor: AtomicU64,
    /// The next thought's number.
    pub(crate) next: AtomicU64,
}

/// One of several thoughts that are to be had.
pub(crate) struct Plan {
    pub(crate) ask: Ask,
    pub(crate) manner: Manner,
    /// What it is about, where that isn't the question itself.
    pub(crate) about: String,
}

impl<'a> Mind<'a> {
    /// With everything at hand that must be, and nothing else.
    pub fn new(
        completer: &'a dyn Completer,
        problem: Problem<'a>,
        manner: Manner,
        cancelled: &'a (dyn Fn() -> bool + Sync),
        tell: &'a (dyn Fn(Event) + Sync),
    ) -> Mind<'a> {
        Mind {
            completer,
            problem,
            manner,
            sandbox: None,
            seed: 0,
            deadline: None,
            cancelled,
            tell,
            floor: AtomicU64::new(f64::NAN.to_bits()),
            next: AtomicU64::new(0),
        }
    }

    pub(crate) fn tell(&self, event: Event) {
        (self.tell)(event);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        (self.cancelled)()
    }

    /// Below this confidence a thought is given up.
    pub(crate) fn floor(&self) -> Option<f64> {
        let floor = f64::from_bits(self.floor.load(Ordering::Relaxed));
        (!floor.is_nan()).then_some(floor)
    }

    pub(crate) fn set_floor(&self, floor: f64) {
        self.floor.store(floor.to_bits(), Ordering::Relaxed);
    }

    /// The question, as it is asked.
    pub(crate) fn ask(&self) -> Ask {
        let mut ask = Ask::chat(Vec::new());
        ask.prompt = self.problem.prompt.clone();
        if self.manner.max_thinking == Some(0) {
            ask.max_thinking = Some(0);
        }
        ask
    }

    /// A thought on the question itself.
    pub(crate) fn plan(&self) -> Plan {
        Plan { ask: self.ask(), manner: self.manner.clone(), about: String::new() }
    }

    /// Has one thought.
    pub(crate) fn think(&self, plan: Plan) -> Result<Thought, Error> {
        self.think_while(plan, self.numbers(1), &|| false)
    }

    /// What the verifier says of a thought, where it can say.
    pub(crate) fn score(&self, thought: &Thought) -> Option<f64> {
        let attempt = Attempt {
            question: &self.problem.question,
            reasoning: &thought.reasoning,
            answer: &thought.content,
        };
        match self.problem.verifier?.verify(&attempt) {
            Ok(verdict) => Some(verdict.score),
            Err(error) => {
                self.tell(Event::Note(format!(
                    "thought {} can't be judged: {error}",
                    thought.number
                )));
                None
            }
        }
    }

    /// Whether the time is up.
    pub(crate) fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// The first of `count` numbers for thoughts.
    pub(crate) fn numbers(&self, count: usize) -> usize {
        self.next.fetch_add(count as u64, Ordering::Relaxed) as usize
    }

    fn think_while(
        &self,
        plan: Plan,
        number: usize,
        unwanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<Thought, Error> {
        self.tell(Event::Begun { thought: number, about: plan.about });
        let seed = mix(self.seed, number as u64);
        let writing = Writing::new(self.completer, plan.ask)?;
        let thought = Thinker::new(self, &plan.manner, writing, number, seed, unwanted).run()?;
        self.tell(Event::Over {
            thought: number,
            answer: thought.answer.clone(),
            end: thought.end,
        });
        Ok(thought)
    }

    /// Has several thoughts, up to `width` at a time, as the completer takes them. `hear` is told of
    /// each that is over, in the order in which they are, and may score it; once it says stop, no more
    /// are begun, and those under way are given up. What is returned is all of them, in the order of
    /// the plans.
    pub(crate) fn think_all(
        &self,
        plans: Vec<Plan>,
        width: usize,
        hear: &mut dyn FnMut(&mut Thought) -> Flow,
    ) -> Result<Vec<Thought>, Error> {
        let workers = self.completer.slots().min(width).clamp(1, plans.len().max(1));
        let count = plans.len();
        // Numbers, and with them seeds, don't depend on who comes first.
        let first = self.numbers(count);
        let plans: Mutex<VecDeque<(usize, Plan)>> =
            Mutex::new(plans.into_iter().enumerate().collect());
        let enough = AtomicBool::new(false);
        let unwanted = || enough.load(Ordering::Relaxed);
        let mut thoughts: Vec<Option<Thought>> = (0..count).map(|_| None).collect();
        let mut failure = None;
        std::thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            for _ in 0..workers {
                let (tell, plans, unwanted) = (tell.clone(), &plans, &unwanted);
                scope.spawn(move || {
                    let (go_on, may_go_on) = mpsc::channel::<()>();
                    while !unwanted() && !self.is_cancelled() {
                        let next = plans.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                        let Some((at, plan)) = next else { return };
                        let outcome = self.think_while(plan, first + at, unwanted);
                        // The next is not begun before it is known that it is wanted.
                        let heard = tell.send((at, outcome, go_on.clone())).is_ok();
                        if !heard || may_go_on.recv().is_err() {
                            return;
                        }
                    }
                });
            }
            drop(tell);
            for (at, outcome, go_on) in told {
                match outcome {
                    Ok(mut thought) => {
                        let over = enough.load(Ordering::Relaxed);
                        if !over && hear(&mut thought) == Flow::Stop {
                            enough.store(true, Ordering::Relaxed);
                        }
                        thoughts[at] = Some(thought);
                    }
                    Err(error) => {
                        enough.store(true, Ordering::Relaxed);
                        failure = failure.take().or(Some(error));
                    }
                }
                let _ = go_on.send(());
            }
        });
        match failure {
            Some(error) => Err(error),
            None => Ok(thoughts.into_iter().flatten().collect()),
        }
    }
}
