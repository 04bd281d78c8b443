//! Is it the schema's JSON, and are these the actions that were asked for?

use std::collections::BTreeMap;
use std::sync::LazyLock;

use recipes::{Unusable, answer};
use verify::pattern::schema::{Schema, Task};
use verify::{Attempt, CannotTell, Verdict, Verifier};

use crate::{Action, Actions, Line};

static SCHEMA: LazyLock<Result<Schema, CannotTell>> = LazyLock::new(|| {
    let schema = serde_json::from_str(include_str!("schema.json"))
        .map_err(|e| CannotTell::Task { field: "schema", why: e.to_string() })?;
    Schema::new(&Task { schema, whole: true })
});

pub fn judge(task: &Actions, text: &str) -> Result<Verdict, Unusable> {
    let wanted = normal(&task.actions)?;
    let Some(object) = answer::object(text) else {
        return Ok(Verdict::missing("the answer holds no JSON object"));
    };
    let object = object.to_string();
    let own = |error: &CannotTell| Unusable::new("schema", error.to_string());
    let schema = SCHEMA.as_ref().map_err(own)?;
    let fits = schema.verify(&Attempt::of(&object)).map_err(|error| own(&error))?;
    if !fits.is_right() {
        return Ok(fits);
    }
    let (said, shown) = match answer::read::<Actions>(&object) {
        Ok(read) => read,
        Err(verdict) => return Ok(verdict),
    };
    let said = match normal(&said.actions) {
        Ok(said) => said,
        Err(bad) => return Ok(Verdict::wrong(shown, format!("{}: {}", bad.field, bad.why))),
    };
    let json = |action: &Action| serde_json::to_string(action).unwrap_or_default();
    if let Some(missing) = wanted.iter().find(|action| !said.contains(action)) {
        return Ok(Verdict::wrong(shown, format!("missing: {}", json(missing))));
    }
    // Both are sorted, and nothing is missing: what is longer has something too many.
    if let Some(extra) = said.iter().find(|action| !wanted.contains(action)) {
        return Ok(Verdict::wrong(shown, format!("not asked for: {}", json(extra))));
    }
    if said.len() != wanted.len() {
        return Ok(Verdict::wrong(shown, "an action is there twice"));
    }
    Ok(Verdict::right(shown, "these are the actions asked for"))
}

/// The same actions in one order and spelling: returns of one order are one, items are sorted.
fn normal(actions: &[Action]) -> Result<Vec<Action>, Unusable> {
    let mut of_items: BTreeMap<(bool, &str), BTreeMap<String, u32>> = BTreeMap::new();
    let mut all = Vec::new();
    for (i, action) in actions.iter().enumerate() {
        let mut add = |returned, order, items: &[Line]| {
            let sums = of_items.entry((returned, order)).or_default();
            for line in items {
                let sum = sums.entry(name(&line.item)).or_default();
                let field = format!("actions[{i}].items");
                *sum = sum
                    .checked_add(line.quantity)
                    .ok_or_else(|| Unusable::new(field, "the quantities are too large"))?;
            }
            Ok(())
        };
        match action {
            Action::Return { order, items } => add(true, order, items)?,
            Action::Replace { order, items } => add(false, order, items)?,
            Action::ChangeAddress { order, address } => {
                let address = words(address);
                all.push(Action::ChangeAddress { order: order.clone(), address });
            }
            other => all.push(other.clone()),
        }
    }
    for ((returned, order), sums) in of_items {
        let order = order.to_owned();
        let items = sums.into_iter().map(|(item, quantity)| Line { item, quantity }).collect();
        all.push(match returned {
            true => Action::Return { order, items },
            false => Action::Replace { order, items },
        });
    }
    all.sort();
    Ok(all)
}

/// Small letters and figures, one space between words.
fn words(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The name of an item: `Mugs` is `mug`.
fn name(item: &str) -> String {
    let words = words(item);
    words.strip_suffix('s').unwrap_or(&words).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn task() -> Actions {
        serde_json::from_value(json!({"actions": [
            {"action": "return", "order": "A-1000",
             "items": [{"item": "mug", "quantity": 2}, {"item": "lamp", "quantity": 1}]},
            {"action": "change_address", "order": "B-2000", "address": "12 Oak Lane, Leeds"},
        ]}))
        .unwrap()
    }

    fn score(answer: &str) -> f64 {
        judge(&task(), answer).unwrap().score
    }

    #[test]
    fn order_and_spelling_do_not_matter() {
        for right in [
            r#"{"actions": [{"action": "change_address", "order": "B-2000", "address": "12 oak lane  Leeds."},
                {"action": "return", "order": "A-1000", "items": [{"item": "Lamps", "quantity": 1}, {"item": "mugs", "quantity": 2}]}]}"#,
            r#"Here you are:
                ```json
                {"actions": [{"action": "return", "order": "A-1000", "items": [{"item": "mug", "quantity": 2}]},
                {"action": "return", "order": "A-1000", "items": [{"item": "lamp", "quantity": 1}]},
                {"action": "change_address", "order": "B-2000", "address": "12 Oak Lane, Leeds"}]}
                ```"#,
        ] {
            assert_eq!(score(right), 1.0, "{right}");
        }
    }

    #[test]
    fn everything_else_is_wrong() {
        let gold = serde_json::to_string(&task()).unwrap();
        assert_eq!(score(&gold), 1.0);
        for (from, to) in [
            ("\"quantity\":2", "\"quantity\":3"),
            ("\"quantity\":2", "\"quantity\":\"2\""),
            ("\"quantity\":2", "\"quantity\":0"),
            ("\"quantity\":2", "\"quantity\":2,\"why\":\"broken\""),
            ("A-1000", "A-1001"),
            ("A-1000", "1000"),
            ("A-1000", "B-2000"),
            ("\"return\"", "\"replace\""),
            ("\"return\"", "\"refund\""),
            ("12 Oak", "21 Oak"),
            ("mug", "jug"),
            ("{\"actions\":[", "{\"actions\":[{\"action\":\"cancel\",\"order\":\"A-1000\"},"),
            ("{\"actions\":[", "{\"actions\":[{\"action\":\"ask\",\"about\":\"order\"},"),
            ("{\"actions\"", "{\"steps\""),
        ] {
            assert!(gold.contains(from));
            assert_eq!(score(&gold.replacen(from, to, 1)), 0.0, "{to}");
        }
        for answer in ["", "{}", "{\"actions\": []}", "Certainly! I have cancelled it.", "[]"] {
            assert_eq!(score(answer), 0.0, "{answer}");
        }
    }

    #[test]
    fn an_action_twice_is_wrong() {
        let one = json!({"action": "cancel", "order": "A-1000"});
        let task: Actions = serde_json::from_value(json!({"actions": [one]})).unwrap();
        let twice = json!({"actions": [one, one]}).to_string();
        assert_eq!(judge(&task, &twice).unwrap().score, 0.0);
    }
}
