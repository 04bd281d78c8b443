//! pass@k and its kin, how sure they are, and whether two runs differ.
//!
//! Pure functions over samples; [`Summary`] calls them all, [`Comparison`] sets two runs beside each
//! other. What every figure rests on:
//!
//! - *Right* is full credit ([`verify::Verdict::is_right`]). What the verifier could not tell counts as
//!   not right and is reported apart; an item is never left out because judging it failed.
//! - *An item is the unit.* Items weigh alike, however many samples each has; samples of one item are
//!   not independent, so items, not samples, are resampled and summed in every standard error
//!   ([`Bootstrap`]).
//! - *The same figures every time.* Whatever is drawn is drawn from a fixed seed.

mod estimate;
mod exact;
mod interval;
mod items;
mod mark;
mod paired;
mod pass;
mod random;
mod repetition;
mod summary;
mod tokens;
mod vote;

pub use estimate::{Bootstrap, Estimate, Ratio, clustered_se};
pub use exact::{McNemar, mcnemar};
pub use interval::{Interval, wilson};
pub use items::{Item, by_item};
pub use mark::Mark;
pub use paired::{Comparison, DetailDifference, ItemDifference, sign_flip_p};
pub use pass::{ks, pass_at_k};
pub use random::Random;
pub use reason::watch::{FOREIGN_THRESHOLD, Script, foreign_share, is_mixed};
pub use repetition::{Repetition, repetition};
pub use summary::{AtK, Cost, Detail, Group, Summary, Votes};
pub(crate) use tokens::round_step;
pub use tokens::{Bar, Bin, Histogram, bins, histogram};
pub use vote::{Vote, cluster};
