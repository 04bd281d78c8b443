//! Rewards to be sought: problems are drawn, completions are sampled and judged, and what did
//! better than its siblings becomes more likely.

mod batches;
mod critic;
mod curriculum;
mod figures;
mod grpo;
mod problems;
mod reward;
mod rollout;

pub use curriculum::Curriculum;
pub use grpo::Grpo;
pub use problems::{Pool as ProblemPool, Problem};
pub use reward::{Judge, Judged};
pub use rollout::{Draw, Drawn, Endpoints, Rollouts, Sampler, Watch as WatchDrawing};
