//! Graph colouring: no edge joins two nodes of one colour.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pattern::{extract, shown, unreadable};
use crate::{Attempt, CannotTell, Verdict, Verifier};

/// The most edges, and nodes, of a graph.
const MAX_SIZE: usize = 100_000;

/// A node's name: a number or a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Name {
    /// A number.
    Number(u64),
    /// A text; capitals don't matter.
    Text(String),
}

impl Name {
    fn key(&self) -> String {
        match self {
            Self::Number(n) => n.to_string(),
            Self::Text(text) => key(text),
        }
    }
}

/// A graph and how many colours there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Nodes that no edge names; those that one names may be among them.
    #[serde(default)]
    pub nodes: Vec<Name>,
    /// Pairs of nodes that must differ.
    pub edges: Vec<[Name; 2]>,
    /// How many colours may be used.
    pub colours: usize,
    /// Whether a wrong colouring earns the share of edges it gets right; nothing otherwise.
    #[serde(default)]
    pub partial: bool,
}

/// Judges a colouring.
#[derive(Clone, Debug)]
pub struct Colouring {
    nodes: BTreeSet<String>,
    edges: Vec<(String, String)>,
    colours: usize,
    partial: bool,
}

impl Colouring {
    /// For this task.
    ///
    /// # Errors
    /// [`CannotTell::Task`] if there is no node, no colour, too much of either, or a node that is
    /// its own neighbour.
    pub fn new(task: &Task) -> Result<Self, CannotTell> {
        let bad = |field, why: &str| CannotTell::Task { field, why: why.to_owned() };
        if task.edges.len() > MAX_SIZE || task.nodes.len() > MAX_SIZE {
            return Err(bad("edges", "the graph is too large"));
        }
        let edges: Vec<_> = task.edges.iter().map(|[a, b]| (a.key(), b.key())).collect();
        if edges.iter().any(|(a, b)| a == b) {
            return Err(bad("edges", "a node is its own neighbour"));
        }
        let mut nodes: BTreeSet<String> = task.nodes.iter().map(Name::key).collect();
        nodes.extend(edges.iter().flat_map(|(a, b)| [a.clone(), b.clone()]));
        if nodes.is_empty() || task.colours == 0 {
            return Err(bad("colours", "there must be a node and a colour"));
        }
        Ok(Self { nodes, edges, colours: task.colours, partial: task.partial })
    }

    fn read(&self, answer: &str) -> Option<BTreeMap<String, String>> {
        let part = extract::boxed(answer).or_else(|| extract::tagged(answer, "answer"));
        let part = part.unwrap_or(answer);
        let json = extract::json(part).map(|json| self.of_json(&json));
        let colours = json.filter(|colours| !colours.is_empty());
        let colours = colours.unwrap_or_else(|| self.of_lines(part));
        (!colours.is_empty()).then_some(colours)
    }

    fn of_json(&self, json: &Value) -> BTreeMap<String, String> {
        let text = |value: &Value| match value {
            Value::String(text) => Some(key(text)),
            Value::Number(n) => Some(n.to_string()),
            _ => None,
        };
        let mut colours = BTreeMap::new();
        match json {
            // What stands in "colouring": {…} or the like counts as if it stood alone.
            Value::Object(fields)
                if fields.len() == 1
                    && fields.values().all(|v| !v.is_string() && !v.is_number()) =>
            {
                return fields
                    .values()
                    .next()
                    .map(|inner| self.of_flat(inner, &text))
                    .unwrap_or_default();
            }
            json => colours.extend(self.of_flat(json, &text)),
        }
        colours
    }

    fn of_flat(
        &self,
        json: &Value,
        text: &dyn Fn(&Value) -> Option<String>,
    ) -> BTreeMap<String, String> {
        match json {
            Value::Object(fields) => {
                let pairs =
                    fields.iter().filter_map(|(node, colour)| Some((key(node), text(colour)?)));
                pairs.filter(|(node, _)| self.nodes.contains(node)).collect()
            }
            Value::Array(pairs) => pairs
                .iter()
                .filter_map(|pair| match pair {
                    Value::Array(two) if two.len() == 2 => Some((text(&two[0])?, text(&two[1])?)),
                    Value::Object(pair) => {
                        let node = pair.get("node").or_else(|| pair.get("vertex"))?;
                        let colour = pair.get("colour").or_else(|| pair.get("color"))?;
                        Some((text(node)?, text(colour)?))
                    }
                    _ => None,
                })
                .filter(|(node, _)| self.nodes.contains(node))
                .collect(),
            _ => BTreeMap::new(),
        }
    }

    /// "node: colour" lines, or several on a line with commas between; the last counts.
    fn of_lines(&self, text: &str) -> BTreeMap<String, String> {
        let mut colours = BTreeMap::new();
        for pair in text.split(['\n', ',', ';']) {
            let split = ["->", "→", ":", "="].iter().find_map(|sign| pair.split_once(sign));
            let Some((node, colour)) = split else { continue };
            let (node, colour) = (key(node), key(colour));
            let words = |text: &str| text.split_whitespace().count();
            if self.nodes.contains(&node) && (1..=3).contains(&words(&colour)) {
                colours.insert(node, colour);
            }
        }
        colours
    }
}

/// A name without capitals, list marks, emphasis, and the words "node" and "colour".
fn key(text: &str) -> String {
    let around = |c: char| c.is_whitespace() || "*_`\"'-•.()[]{}".contains(c);
    let text = text.trim_matches(around).to_lowercase();
    let words = ["node ", "vertex ", "region ", "colour ", "color "];
    let text = words.iter().find_map(|word| text.strip_prefix(word)).unwrap_or(&text);
    text.trim_matches(around).to_owned()
}

impl Verifier for Colouring {
    fn verify(&self, attempt: &Attempt<'_>) -> Result<Verdict, CannotTell> {
        if let Some(verdict) = unreadable(attempt.answer) {
            return Ok(verdict);
        }
        let Some(colours) = self.read(attempt.answer) else {
            return Ok(Verdict::missing("the answer colours no node of the graph"));
        };
        let pairs: Vec<String> =
            colours.iter().map(|(node, colour)| format!("{node}: {colour}")).collect();
        let text = shown(&pairs.join(", "));
        let used: BTreeSet<&String> = colours.values().collect();
        if used.len() > self.colours {
            let why = format!("{} colours are used, not at most {}", used.len(), self.colours);
            return Ok(Verdict::wrong(text, why));
        }
        let clash = |(a, b): &&(String, String)| {
            let (a, b) = (colours.get(a), colours.get(b));
            a.is_none() || b.is_none() || a == b
        };
        let clashes = self.edges.iter().filter(clash).count();
        let bare: Vec<&String> =
            self.nodes.iter().filter(|node| !colours.contains_key(*node)).collect();
        let why = match (bare.first(), self.edges.iter().find(clash)) {
            (Some(node), _) => format!("{} has no colour", shown(node)),
            (None, Some((a, b))) => format!("{} and {} have one colour", shown(a), shown(b)),
            (None, None) => return Ok(Verdict::right(text, "no edge joins two of one colour")),
        };
        let all = (self.edges.len() + bare.len()) as f64;
        let share = (self.edges.len() - clashes) as f64 / all;
        Ok(Verdict::new(if self.partial { share } else { 0.0 }, Some(text), why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judge(task: Value, answer: &str) -> Verdict {
        let task: Task = serde_json::from_value(task).unwrap();
        Colouring::new(&task).unwrap().verify(&Attempt::of(answer)).unwrap()
    }

    fn triangle() -> Value {
        json!({"edges": [["A", "B"], ["B", "C"], ["A", "C"], ["C", "D"]], "colours": 3})
    }

    #[test]
    fn reads_every_form() {
        for answer in [
            r#"{"A": "red", "B": "green", "C": "blue", "D": "red"}"#,
            r#"{"colouring": {"A": 1, "B": 2, "C": 3, "D": 1}}"#,
            r#"[{"node": "a", "color": "red"}, {"node": "b", "color": "green"}, {"node": "c", "color": "blue"}, {"node": "d", "color": "red"}]"#,
            r#"[["A", 1], ["B", 2], ["C", 3], ["D", 1]]"#,
            "So:\n- A: red\n- **B**: green\n- Node C: Blue\n* D -> RED\nThat's it.",
            "<answer>A = 1, B = 2, C = 3, D = 2</answer>",
            "```json\n{\"A\": \"red\", \"B\": \"green\", \"C\": \"blue\", \"D\": \"red\"}\n```",
        ] {
            let verdict = judge(triangle(), answer);
            assert!(verdict.is_right(), "{answer}: {}", verdict.why);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (answer, why) in [
            (r#"{"A": 1, "B": 1, "C": 2, "D": 3}"#, "a and b have one colour"),
            (r#"{"A": 1, "B": 2, "C": 3}"#, "d has no colour"),
            (r#"{"A": 1, "B": 2, "C": 3, "D": 4}"#, "4 colours"),
            ("nothing", "no node"),
            ("", "empty"),
        ] {
            let verdict = judge(triangle(), answer);
            assert!(!verdict.is_right() && verdict.score == 0.0);
            assert!(verdict.why.contains(why), "{answer}: {}", verdict.why);
        }
    }

    #[test]
    fn partial_credit_is_the_share_of_edges() {
        let mut task = triangle();
        task["partial"] = json!(true);
        assert_eq!(judge(task.clone(), r#"{"A": 1, "B": 1, "C": 2, "D": 3}"#).score, 0.75);
        assert_eq!(judge(task, r#"{"A": 1, "B": 2, "C": 3}"#).score, 0.6);
    }

    #[test]
    fn numbers_are_names_and_bad_graphs_are_refused() {
        let task = json!({"nodes": [3], "edges": [[1, 2]], "colours": 2});
        assert!(judge(task.clone(), "1: red\n2: blue\n3: red").is_right());
        assert!(!judge(task, "1: red\n2: blue").is_right());
        let task: Task = serde_json::from_value(json!({"edges": [[1, 1]], "colours": 2})).unwrap();
        assert!(Colouring::new(&task).is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(answer in r#"([ABCD:,"{}\[\]=\n 1]|red|->){0,50}"#) {
            judge(triangle(), &answer);
        }
    }
}
