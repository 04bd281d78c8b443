//! A benchmark, as data: where its items come from, how they are put to a model, how answers are
//! checked. One TOML file each; those that come along are in `benchmarks/`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior};
use reason::{Prompt, Sampling};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use text::template::Message;

use crate::Error;

/// The benchmarks that come along, as (name, TOML).
const BUILT_IN: &[(&str, &str)] = &[
    ("aime24", include_str!("../benchmarks/aime24.toml")),
    ("aime25", include_str!("../benchmarks/aime25.toml")),
    ("amc", include_str!("../benchmarks/amc.toml")),
    ("arithmetic", include_str!("../benchmarks/arithmetic.toml")),
    ("bfcl", include_str!("../benchmarks/bfcl.toml")),
    ("gpqa", include_str!("../benchmarks/gpqa.toml")),
    ("gsm8k", include_str!("../benchmarks/gsm8k.toml")),
    ("humaneval", include_str!("../benchmarks/humaneval.toml")),
    ("humaneval-plus", include_str!("../benchmarks/humaneval-plus.toml")),
    ("ifeval", include_str!("../benchmarks/ifeval.toml")),
    ("livecodebench", include_str!("../benchmarks/livecodebench.toml")),
    ("math500", include_str!("../benchmarks/math500.toml")),
    ("mbpp", include_str!("../benchmarks/mbpp.toml")),
    ("mmlu", include_str!("../benchmarks/mmlu.toml")),
    ("svamp", include_str!("../benchmarks/svamp.toml")),
    ("tasks", include_str!("../benchmarks/tasks.toml")),
];

/// What a benchmark's TOML says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Benchmark {
    /// Its name.
    pub name: String,
    /// What it measures, in a sentence.
    pub description: String,
    /// Where its items come from.
    pub items: Items,
    /// How an item is put to the model.
    pub prompt: PromptSpec,
    /// How an answer is checked: `kind` names the verifier, every other field is an expression over
    /// the item's columns.
    pub check: BTreeMap<String, String>,
    /// How tokens are drawn, where neither the command line nor the model says so.
    #[serde(default)]
    pub sampling: Sampling,
    /// Most tokens of an answer, thinking included.
    pub max_tokens: usize,
    /// Texts that end an answer.
    #[serde(default)]
    pub stop: Vec<String>,
}

/// Where items come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Items {
    /// A file of JSON lines, or a gzipped one, by name; looked for in the data folder. Or
    /// `generator:` and the name of a kind of task, or `generator:all`.
    pub file: String,
    /// The split of a public dataset that has the same items, as `OWNER/NAME:CONFIG:SPLIT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// An expression for the item's id; its number if none.
    #[serde(default)]
    pub id: Option<String>,
    /// An expression for the group it is counted with.
    #[serde(default)]
    pub group: Option<String>,
}

/// How an item is put to the model. Both are templates over the item's columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptSpec {
    /// The system message.
    #[serde(default)]
    pub system: Option<String>,
    /// The question, asked in the model's chat template.
    #[serde(default)]
    pub user: Option<String>,
    /// Plain text to be gone on from, without a chat template.
    #[serde(default)]
    pub text: Option<String>,
}

/// One item, ready to be asked and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Unique in its benchmark.
    pub id: String,
    /// What it is counted with.
    pub group: Option<String>,
    /// What the model is given.
    pub prompt: Prompt,
    /// The question alone.
    pub question: String,
    /// What the verifier is given: see [`verify::Check`].
    pub task: Value,
}

impl Benchmark {
    /// One that comes along, by name, or a TOML file.
    ///
    /// # Errors
    /// There is none of that name, or the file can't be read or understood.
    pub fn open(name_or_path: &str) -> Result<(Benchmark, String), Error> {
        if let Some((_, toml)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
            return Ok((Benchmark::parse(toml, name_or_path)?, (*toml).to_owned()));
        }
        let path = Path::new(name_or_path);
        if !name_or_path.ends_with(".toml") {
            let names: Vec<&str> = Benchmark::names().collect();
            return Err(Error::UnknownBenchmark {
                name: name_or_path.to_owned(),
                known: names.join(", "),
            });
        }
        let toml = std::fs::read_to_string(path)
            .map_err(|error| Error::Read { path: path.to_owned(), error })?;
        Ok((Benchmark::parse(&toml, name_or_path)?, toml))
    }

    /// The names of those that come along.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// Reads a TOML text; `file` is what it is called in errors.
    ///
    /// # Errors
    /// It isn't what a benchmark's TOML must be.
    pub fn parse(toml: &str, file: &str) -> Result<Benchmark, Error> {
        let wrong = |why: String| Error::Benchmark { file: file.to_owned(), why };
        let benchmark: Benchmark =
            toml::from_str(toml).map_err(|error| wrong(error.to_string()))?;
        if benchmark.prompt.user.is_some() == benchmark.prompt.text.is_some() {
            return Err(wrong("[prompt] must have either `user` or `text`".to_owned()));
        }
        if !benchmark.check.contains_key("kind") {
            return Err(wrong("[check] must have a `kind`".to_owned()));
        }
        if benchmark.max_tokens == 0 {
            return Err(wrong("max_tokens must be at least 1".to_owned()));
        }
        Ok(benchmark)
    }

    /// Where the items' file is: as given, or in the data folder.
    ///
    /// # Errors
    /// It is in neither place.
    pub fn find_items(&self, given: Option<&Path>, data: Option<&Path>) -> Result<PathBuf, Error> {
        if let Some(path) = given {
            return Ok(path.to_owned());
        }
        let path = data.map(|data| data.join(&self.items.file));
        match path {
            Some(path) if path.exists() => Ok(path),
            _ => Err(Error::NoItems {
                file: self.items.file.clone(),
                benchmark: self.name.clone(),
                dataset: self.items.dataset.clone(),
            }),
        }
    }

    /// Turns rows into items.
    ///
    /// # Errors
    /// A template or expression fails on a row, or two rows have one id.
    pub fn items(&self, rows: &[Map<String, Value>]) -> Result<Vec<Item>, Error> {
        let writer = Writer::new();
        let mut seen = std::collections::HashSet::new();
        let mut items = Vec::with_capacity(rows.len());
        for (index, row) in rows.iter().enumerate() {
            let mut row = row.clone();
            row.entry("index").or_insert(index.into());
            let item = self.item(&writer, &row).map_err(|(field, why)| Error::Row {
                benchmark: self.name.clone(),
                row: index + 1,
                field,
                why,
            })?;
            if !seen.insert(item.id.clone()) {
                return Err(Error::Row {
                    benchmark: self.name.clone(),
                    row: index + 1,
                    field: "items.id".to_owned(),
                    why: format!("{:?} is the id of another row too", item.id),
                });
            }
            items.push(item);
        }
        Ok(items)
    }

    fn item(&self, writer: &Writer, row: &Map<String, Value>) -> Result<Item, (String, String)> {
        let plain = |field: &str, expression: &str| -> Result<String, (String, String)> {
            match writer.value(expression, row).map_err(|why| (field.to_owned(), why))? {
                Value::String(text) => Ok(text),
                other => Ok(other.to_string()),
            }
        };
        let fill = |field: &str, template: &str| {
            writer.fill(template, row).map_err(|why| (field.to_owned(), why))
        };
        let id = plain("items.id", self.items.id.as_deref().unwrap_or("index"))?;
        let group = match &self.items.group {
            Some(expression) => Some(plain("items.group", expression)?),
            None => None,
        };
        let (prompt, question) = match (&self.prompt.user, &self.prompt.text) {
            (Some(user), _) => {
                let user = fill("prompt.user", user)?;
                let mut messages = Vec::new();
                if let Some(system) = &self.prompt.system {
                    messages.push(Message::new("system", fill("prompt.system", system)?));
                }
                messages.push(Message::new("user", user.clone()));
                (Prompt::Chat(messages), user)
            }
            (None, text) => {
                let text = fill("prompt.text", text.as_deref().unwrap_or_default())?;
                (Prompt::Text(text.clone()), text)
            }
        };
        let mut task = Map::new();
        for (field, expression) in &self.check {
            let value = match field.as_str() {
                "kind" => Value::String(expression.clone()),
                _ => {
                    writer.value(expression, row).map_err(|why| (format!("check.{field}"), why))?
                }
            };
            task.insert(field.clone(), value);
        }
        // Tasks that bring their own check along replace the benchmark's.
        if self.check.get("kind").is_some_and(|kind| kind == "own") {
            let own = task.remove("check").unwrap_or_default();
            return Ok(Item { id, group, prompt, question, task: own });
        }
        Ok(Item { id, group, prompt, question, task: Value::Object(task) })
    }
}

/// Fills templates in.
struct Writer(Environment<'static>);

/// JSON, as Jinja's own `tojson` writes it.
fn to_json(value: minijinja::Value) -> Result<String, minijinja::Error> {
    serde_json::to_string(&value).map_err(|error| {
        minijinja::Error::new(minijinja::ErrorKind::BadSerialization, error.to_string())
    })
}

impl Writer {
    fn new() -> Writer {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        // A hostile benchmark must not run for ever.
        environment.set_fuel(Some(1_000_000));
        if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).build() {
            environment.set_syntax(syntax);
        }
        Writer(environment)
    }

    fn fill(&self, template: &str, row: &Map<String, Value>) -> Result<String, String> {
        self.0
            .render_str(template, minijinja::Value::from(minijinja::value::Serde(row)))
            .map_err(|error| error.to_string())
    }

    fn value(&self, expression: &str, row: &Map<String, Value>) -> Result<Value, String> {
        let expression = self.0.compile_expression(expression).map_err(|e| e.to_string())?;
        let value = expression
            .eval(minijinja::Value::from(minijinja::value::Serde(row)))
            .map_err(|error| error.to_string())?;
        if value.is_undefined() {
            return Err("the row has no such column".to_owned());
        }
        serde_json::to_value(value).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn those_that_come_along_can_be_read() {
        for name in Benchmark::names() {
            let (benchmark, _) = Benchmark::open(name).unwrap();
            assert_eq!(benchmark.name, name);
        }
        let error = Benchmark::open("gsm9k").unwrap_err().to_string();
        assert!(error.contains("gsm9k") && error.contains("gsm8k"), "{error}");
    }

    /// A row of each benchmark's items, in the published form.
    fn published(name: &str) -> Value {
        let choice = json!({"question": "Which?", "choices": ["x", "y"], "answer": 1});
        match name {
            "gsm8k" => json!({"question": "?", "answer": "so\n#### 1,080"}),
            "svamp" => {
                json!({"ID": "c-1", "Body": "b", "Question": "q", "Answer": 145.0, "Type": "t"})
            }
            "math500" => json!({"problem": "p", "answer": "\\frac12", "level": 3}),
            "amc" => json!({"problem": "p", "answer": 5}),
            "aime24" | "aime25" => json!({"prompt": "p", "answer": "204"}),
            "humaneval" | "humaneval-plus" => json!({
                "task_id": "HumanEval/0", "prompt": "def f():\n", "test": "def check(c): pass",
                "entry_point": "f", "canonical_solution": "    pass",
            }),
            "mbpp" => json!({"task_id": 2, "text": "Do.", "test_list": ["assert f()"]}),
            "livecodebench" => json!({
                "question_id": "a", "question_content": "Add.",
                "public_test_cases": [{"input": "1", "output": "1"}],
            }),
            "ifeval" => json!({
                "prompt": "Write.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}],
            }),
            "gpqa" | "mmlu" => choice,
            "bfcl" => json!({
                "id": "simple_0", "question": "Add.", "function": [{"name": "add"}],
                "ground_truth": [{"add": {"a": [1], "b": [2, ""]}}],
            }),
            "tasks" | "arithmetic" => {
                let kind = match name {
                    "tasks" => verify::tasks::Kind::Countdown,
                    _ => verify::tasks::Kind::Arithmetic,
                };
                let task = verify::tasks::generate(kind, 1, 1);
                serde_json::to_value(task).unwrap()
            }
            other => panic!("{other} has no row here"),
        }
    }

    #[test]
    fn published_rows_become_checks() {
        for name in Benchmark::names() {
            let (benchmark, _) = Benchmark::open(name).unwrap();
            let items = benchmark.items(&[row(published(name))]).unwrap();
            if let Err(error) = verify::check::Check::from_json(&items[0].task) {
                panic!("{name}: {error}: {}", items[0].task);
            }
            assert!(
                !items[0].question.trim().is_empty() && !items[0].question.contains("{{"),
                "{name}"
            );
        }
    }

    const TOY: &str = r##"
        name = "toy"
        description = "A toy."
        max_tokens = 10
        items = { file = "toy.jsonl", id = "'q-' ~ index", group = "level" }
        prompt = { system = "Be brief.", user = "{{ question }}?" }
        check = { kind = "math", gold = "answer.split('#### ')[-1]", extra = "list" }
    "##;

    #[test]
    fn rows_become_items() {
        let toy = Benchmark::parse(TOY, "toy.toml").unwrap();
        let rows = [row(json!({
            "question": "1 + 1 < {{ 3 }}", "answer": "so\n#### 2", "level": 3, "list": [1, {"a": null}]
        }))];
        let items = toy.items(&rows).unwrap();
        assert_eq!(items[0].id, "q-0");
        assert_eq!(items[0].group.as_deref(), Some("3"));
        assert_eq!(items[0].question, "1 + 1 < {{ 3 }}?");
        assert_eq!(items[0].task, json!({"kind": "math", "gold": "2", "extra": [1, {"a": null}]}));
        let Prompt::Chat(messages) = &items[0].prompt else { panic!() };
        assert_eq!(messages[0].content, "Be brief.");
    }

    #[test]
    fn errors_name_row_and_field() {
        let toy = Benchmark::parse(TOY, "toy.toml").unwrap();
        let error = toy.items(&[row(json!({"question": "?"}))]).unwrap_err().to_string();
        assert!(
            error.contains("row 1") && error.contains("check.") || error.contains("group"),
            "{error}"
        );
        let twice = TOY.replace("'q-' ~ index", "level");
        let rows = vec![row(json!({"question": "?", "answer": "1", "level": 1, "list": 0})); 2];
        let error = Benchmark::parse(&twice, "t").unwrap().items(&rows).unwrap_err().to_string();
        assert!(error.contains("row 2") && error.contains("another row"), "{error}");
        let error = Benchmark::parse("name = 3", "x.toml").unwrap_err().to_string();
        assert!(error.contains("x.toml"), "{error}");
    }
}
