//! Mails, from chance.

use recipes::Draft;
use verify::tasks::random::Random;

use crate::{About, Action, Actions, Line};

const ITEMS: &[&str] = &[
    "mug", "lamp", "towel", "notebook", "kettle", "candle", "cushion", "teapot", "basket", "clock",
];
const STREETS: &[&str] = &["Oak Lane", "Mill Road", "Station Street", "Hill Close", "Church Walk"];
const TOWNS: &[&str] = &["Leeds", "York", "Bath", "Derby", "Exeter", "Durham"];
const NUMBERS: &[&str] = &["no", "one", "two", "three", "four", "five", "six"];

const CANCEL: &[&str] = &[
    "Please cancel order {order}.",
    "I don't need {order} any more, please call it off.",
    "Can you stop order {order}? I ordered it by mistake.",
];
const RETURN: &[&str] = &[
    "I want to send back {items} from order {order} and get my money back.",
    "I would like to return {items} that came with {order}, please refund me.",
    "From order {order} I am not happy with {items}. I am sending that back for a refund.",
];
const REPLACE: &[&str] = &[
    "In order {order}, {items} arrived broken. Please send new ones.",
    "I need a replacement for {items} from {order}, damaged on the way.",
    "Could you replace {items} of order {order}? The quality is faulty.",
];
const ADDRESS: &[&str] = &[
    "Please deliver order {order} to {address} instead.",
    "I have moved: the new address for order {order} is {address}.",
    "Order {order} should go to another place, namely {address}.",
];
const UNNAMED: &[&str] = &[
    "Please cancel my order.",
    "One of my orders has to be cancelled, I no longer want it.",
    "I want to return my order and get my money back.",
];
const SOME: &[&str] = &[
    "I want to return some of the {item}s from order {order} and get my money back.",
    "A few of the {item}s in order {order} arrived broken, please replace those.",
];
const KEPT: &[&str] = &[
    "I first wanted to return the {item}s from {order} as well, but I will keep them.",
    "I was about to cancel {order} too, but please leave that one as it is.",
];
const FILLER: &[&str] = &[
    "I have been a customer since 2014.",
    "You can reach me at 0161 555 2020 before 5 o'clock.",
    "The weather has been awful here, 12 days of rain.",
    "By the way, {order} arrived fine, thank you!",
    "My neighbour bought 3 of your lamps and loves them.",
];
const GREETINGS: &[&str] = &["Hello,", "Dear shop,", "hi there", "Good morning,", "hey,"];

struct Order {
    id: String,
    lines: Vec<Line>,
}

pub fn make(random: &mut Random, difficulty: u32) -> Draft<Actions> {
    let requests = match difficulty {
        ..=3 => 1,
        4 => 2,
        _ => 3,
    };
    // One order more than is asked about: something to be confused by.
    let orders = orders(random, requests + 1, difficulty);
    let noisy = difficulty >= 3;
    let mut actions = Vec::new();
    let mut sentences = Vec::new();
    for order in &orders[..requests] {
        let (sentence, action) = request(random, order, difficulty, requests == 1);
        sentences.push(sentence);
        actions.push(action);
    }
    let spare = &orders[requests];
    if difficulty >= 5 {
        let item = &spare.lines[0].item;
        sentences.push(fill(random, KEPT, true, &[("order", &spare.id), ("item", item)]));
    }
    for _ in 0..difficulty.saturating_sub(1).min(3) {
        let filler = fill(random, FILLER, noisy, &[("order", &spare.id)]);
        if !sentences.contains(&filler) {
            let at = random.below(sentences.len() as u64 + 1) as usize;
            sentences.insert(at, filler);
        }
    }
    let mut shown: Vec<String> = orders.iter().map(on_file).collect();
    random.shuffle(&mut shown);
    let question = format!(
        "Orders on file:\n{}\n\nMail:\n{}\n{}",
        shown.join("\n"),
        random.pick(GREETINGS),
        sentences.join(" ")
    );
    let task = Actions { actions };
    let gold = serde_json::to_string(&task).unwrap_or_default();
    Draft { question, task, gold }
}

fn on_file(order: &Order) -> String {
    let lines: Vec<String> =
        order.lines.iter().map(|line| format!("{} x {}", line.quantity, line.item)).collect();
    format!("{}: {}", order.id, lines.join(", "))
}

fn orders(random: &mut Random, count: usize, difficulty: u32) -> Vec<Order> {
    let mut orders: Vec<Order> = Vec::new();
    while orders.len() < count {
        let letter = *random.pick(&['A', 'B', 'C', 'K']);
        let id = format!("{letter}-{}", random.range(1000, 9999));
        if orders.iter().any(|order| order.id == id) {
            continue;
        }
        let kinds = random.range(1, 1 + i64::from(difficulty.min(3))) as usize;
        let lines = random
            .sample(ITEMS, kinds)
            .into_iter()
            .map(|item| Line { item: item.to_owned(), quantity: random.range(2, 6) as u32 })
            .collect();
        orders.push(Order { id, lines });
    }
    orders
}

/// One request about this order. Only where it is the mail's sole one can the order be left out.
fn request(random: &mut Random, order: &Order, difficulty: u32, alone: bool) -> (String, Action) {
    let noisy = difficulty >= 3;
    let id = order.id.clone();
    if noisy && random.chance(25) {
        if alone && random.chance(50) {
            return (fill(random, UNNAMED, noisy, &[]), Action::Ask { about: About::Order });
        }
        let item = &random.pick(&order.lines).item;
        let sentence = fill(random, SOME, noisy, &[("order", &id), ("item", item)]);
        return (sentence, Action::Ask { about: About::Quantity });
    }
    let kinds: &[u32] = if difficulty == 1 { &[0, 1] } else { &[0, 1, 2, 2, 3, 3] };
    match random.pick(kinds) {
        0 => (fill(random, CANCEL, noisy, &[("order", &id)]), Action::Cancel { order: id }),
        1 => {
            let address =
                format!("{} {}, {}", random.range(1, 99), random.pick(STREETS), random.pick(TOWNS));
            let sentence = fill(random, ADDRESS, noisy, &[("order", &id), ("address", &address)]);
            (sentence, Action::ChangeAddress { order: id, address })
        }
        kind => {
            let (said, items) = some_items(random, order, difficulty);
            let fields = [("order", id.as_str()), ("items", said.as_str())];
            match kind {
                2 => (fill(random, RETURN, noisy, &fields), Action::Return { order: id, items }),
                _ => (fill(random, REPLACE, noisy, &fields), Action::Replace { order: id, items }),
            }
        }
    }
}

/// Some items of an order, in words and as data.
fn some_items(random: &mut Random, order: &Order, difficulty: u32) -> (String, Vec<Line>) {
    let kinds = if difficulty < 3 { 1 } else { random.range(1, 2) as usize };
    let mut said = Vec::new();
    let mut items = Vec::new();
    for line in random.sample(&order.lines, kinds) {
        let quantity = random.range(1, line.quantity.into());
        let all = difficulty >= 3 && random.chance(30);
        let quantity = if all { i64::from(line.quantity) } else { quantity };
        said.push(match () {
            () if all => format!("all the {}s", line.item),
            () if difficulty >= 3 => {
                let counted = plural(quantity, &line.item);
                counted.replacen(&quantity.to_string(), NUMBERS[quantity as usize], 1)
            }
            () => plural(quantity, &line.item),
        });
        items.push(Line { item: line.item, quantity: quantity as u32 });
    }
    (said.join(" and "), items)
}

/// One of the templates, with its fields filled in; typing slips never touch a field.
fn fill(random: &mut Random, of: &[&str], noisy: bool, fields: &[(&str, &str)]) -> String {
    let template = *random.pick(of);
    let words: Vec<String> = template
        .split(' ')
        .map(|word| match noisy && random.chance(12) {
            true => slip(random, word),
            false => word.to_owned(),
        })
        .collect();
    let mut text = words.join(" ");
    for (field, value) in fields {
        text = text.replace(&format!("{{{field}}}"), value);
    }
    text
}

/// Two neighbouring letters in the wrong order, in a word of small letters.
fn slip(random: &mut Random, word: &str) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    if letters.len() >= 5 && letters.iter().all(char::is_ascii_lowercase) {
        let at = random.range(1, letters.len() as i64 - 3) as usize;
        letters.swap(at, at + 1);
    }
    letters.into_iter().collect()
}

/// `n` of these: `1 mug`, `2 mugs`.
fn plural(n: i64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use recipes::{Recipe, item};

    use super::*;
    use crate::Shop;

    #[test]
    fn its_own_answers_are_right() {
        for index in 0..500 {
            let (_, draft) = item::<Shop>(11, index);
            let verdict = Shop::judge(&draft.task, &draft.gold).unwrap();
            assert!(verdict.is_right(), "{}\n{}\n{}", draft.question, draft.gold, verdict.why);
            assert!(!draft.question.contains(['{', '}']), "{}", draft.question);
        }
    }

    #[test]
    fn mails_name_what_is_asked_for() {
        let mut asked = 0;
        for index in 0..500 {
            let (difficulty, draft) = item::<Shop>(12, index);
            let mail = draft.question.split_once("Mail:").unwrap().1;
            assert_eq!(draft.task.actions.len(), [1, 1, 1, 2, 3][difficulty as usize - 1]);
            for action in &draft.task.actions {
                match action {
                    Action::Cancel { order } => assert!(mail.contains(order)),
                    Action::ChangeAddress { order, address } => {
                        assert!(mail.contains(order) && mail.contains(address));
                    }
                    Action::Return { order, items } | Action::Replace { order, items } => {
                        assert!(mail.contains(order));
                        assert!(items.iter().all(|line| mail.contains(&line.item)), "{mail}");
                    }
                    Action::Ask { .. } => asked += 1,
                }
            }
        }
        assert!(asked > 30, "{asked}");
    }

    #[test]
    fn another_items_answer_is_wrong() {
        let golds: Vec<String> = (0..40).map(|i| item::<Shop>(13, i).1.gold).collect();
        for (i, gold) in golds.iter().enumerate() {
            let (_, draft) = item::<Shop>(13, i as u64);
            for other in golds.iter().filter(|other| *other != gold) {
                assert!(!Shop::judge(&draft.task, other).unwrap().is_right());
            }
        }
    }
}
