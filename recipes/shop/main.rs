//! `shop`: a customer's mail becomes actions on orders.
#![forbid(unsafe_code)]

mod check;
mod mails;

use std::process::ExitCode;

use recipes::{Draft, Recipe, Unusable};
use serde::{Deserialize, Serialize};
use verify::Verdict;
use verify::tasks::random::Random;

/// An item and how many of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    item: String,
    quantity: u32,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
enum Action {
    /// The whole order is called off.
    Cancel { order: String },
    /// Items come back for money.
    Return { order: String, items: Vec<Line> },
    /// Items are sent anew.
    Replace { order: String, items: Vec<Line> },
    /// The order goes elsewhere.
    ChangeAddress { order: String, address: String },
    /// The mail doesn't say enough.
    Ask { about: About },
}

/// What the customer has to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum About {
    /// Which order.
    Order,
    /// How many of an item.
    Quantity,
}

/// What a model answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Actions {
    actions: Vec<Action>,
}

struct Shop;

impl Recipe for Shop {
    const NAME: &'static str = "shop";
    const ABOUT: &'static str = "Customers' mails, and the actions on orders that they ask for";
    type Task = Actions;

    fn make(random: &mut Random, difficulty: u32) -> Draft<Actions> {
        mails::make(random, difficulty)
    }

    fn judge(task: &Actions, answer: &str) -> Result<Verdict, Unusable> {
        check::judge(task, answer)
    }
}

fn main() -> ExitCode {
    recipes::main::<Shop>()
}
