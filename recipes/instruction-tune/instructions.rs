//! `instructions`: something to write, and one to three instructions about how, which a program can check
//! (the checks are those of IFEval, Zhou et al. 2023, arXiv:2311.07911; the texts are not).
//!
//! The subjects of `--held-out` prompts are others than those of the rest.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};
use verify::tasks::random::{Random, hash};

#[derive(Parser)]
#[command(about, max_term_width = 100)]
/// Prompts with instructions, as JSON lines: id, prompt, instruction_id_list, kwargs.
struct Arguments {
    /// Another seed gives other prompts; the same seed the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many.
    #[arg(long, default_value_t = 400)]
    count: u64,
    /// Prompts for measuring, about what the others aren't about.
    #[arg(long)]
    held_out: bool,
}

/// What is to be written.
struct Subjects {
    tasks: &'static [&'static str],
    things: &'static [&'static str],
}

const SEEN: Subjects = Subjects {
    tasks: &[
        "Write a short text about {thing}.",
        "Explain {thing} to a child.",
        "Describe {thing} for a leaflet.",
        "Tell me something about {thing}.",
        "Write a note to a friend about {thing}.",
        "Give some advice about {thing}.",
        "What should one know about {thing}?",
        "Write a little story in which {thing} matters.",
        "Write an announcement about {thing}.",
        "Compare {thing} with what people did a hundred years ago.",
    ],
    things: &[
        "keeping bees",
        "a walk by the sea",
        "baking bread",
        "an old bicycle",
        "learning the piano",
        "the first snow",
        "a broken window",
        "growing tomatoes",
        "a night train",
        "moving to another city",
        "a lighthouse",
        "saving money",
        "mending clothes",
        "a school trip",
        "the night sky",
        "a good breakfast",
        "a flea market",
        "looking after a dog",
        "a job interview",
        "taking photographs",
        "swimming in a lake",
        "writing letters",
        "a small library",
        "painting a room",
        "a lost key",
        "cooking for many people",
        "a mountain hut",
        "sleeping well",
        "a power cut",
        "choosing a present",
    ],
};

const HELD_OUT: Subjects = Subjects {
    tasks: &[
        "Write a few lines about {thing}.",
        "Introduce {thing} to somebody who has never heard of it.",
        "What is there to say about {thing}?",
        "Write a message to your neighbours about {thing}.",
    ],
    things: &[
        "a farmers' market",
        "riding a horse",
        "a leaking tap",
        "playing chess",
        "a thunderstorm",
        "an early morning bus",
        "making jam",
        "a village fair",
        "repairing a clock",
        "planting a tree",
    ],
};

/// An instruction: its name, its parameters, and how it is put.
struct Instruction {
    id: &'static str,
    kwargs: Value,
    text: String,
}

/// Whether instructions go together: two of a kind may contradict each other.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// How the text is laid out.
    Form,
    /// How long it is.
    Length,
    /// What letters and words are in it.
    Words,
    /// How it begins or ends.
    Frame,
}

const WORDS: [&str; 16] = [
    "morning", "careful", "window", "friend", "simple", "garden", "quiet", "story", "water",
    "answer", "patience", "light", "paper", "music", "weather", "hands",
];
const ENDS: [&str; 6] = [
    "That is all for now.",
    "See you soon.",
    "Try it yourself.",
    "What do you think?",
    "Now it is your turn.",
    "Thank you for reading.",
];
const NUMBERS: [&str; 7] = ["zero", "one", "two", "three", "four", "five", "six"];

fn form(random: &mut Random) -> Instruction {
    let n = random.range(2, 5);
    let word = NUMBERS[n as usize];
    match random.range(0, 6) {
        0 => Instruction {
            id: "detectable_format:number_bullet_lists",
            kwargs: json!({"num_bullets": n}),
            text: random
                .pick(&[
                    format!("Use exactly {word} bullet points in markdown, each on a line that begins with \"* \"."),
                    format!("Make it a list of exactly {n} bullet points like this one:\n* This is a point."),
                ])
                .clone(),
        },
        1 => Instruction {
            id: "length_constraints:number_paragraphs",
            kwargs: json!({"num_paragraphs": n}),
            text: format!("Write exactly {n} paragraphs and put *** between them."),
        },
        2 => Instruction {
            id: "detectable_format:number_highlighted_sections",
            kwargs: json!({"num_highlights": n}),
            text: format!("Highlight at least {n} parts with markdown, *like this*."),
        },
        3 => Instruction {
            id: "detectable_format:multiple_sections",
            kwargs: json!({"section_spliter": "Section", "num_sections": n}),
            text: format!("It must have {n} sections. Begin each of them with Section and its number, such as Section 1."),
        },
        4 => Instruction {
            id: "detectable_content:number_placeholders",
            kwargs: json!({"num_placeholders": n}),
            text: format!("Leave at least {n} placeholders in square brackets, such as [name]."),
        },
        5 => Instruction {
            id: "detectable_format:json_format",
            kwargs: json!({}),
            text: random
                .pick(&["Put the whole answer into JSON.", "The entire output must be a JSON object, nothing else."])
                .to_string(),
        },
        _ => Instruction {
            id: "combination:two_responses",
            kwargs: json!({}),
            text: "Give two different answers, with six asterisks between them: ******".to_owned(),
        },
    }
}

fn length(random: &mut Random) -> Instruction {
    let (relation, put) = *random.pick(&[("at least", "at least"), ("less than", "fewer than")]);
    match random.range(0, 1) {
        0 => {
            let n = if relation == "at least" {
                random.range(4, 12) * 10
            } else {
                random.range(4, 10) * 10
            };
            Instruction {
                id: "length_constraints:number_words",
                kwargs: json!({"relation": relation, "num_words": n}),
                text: random
                    .pick(&[
                        format!("Use {put} {n} words."),
                        format!("Answer with {put} {n} words."),
                    ])
                    .clone(),
            }
        }
        _ => {
            let n = random.range(3, 7);
            Instruction {
                id: "length_constraints:number_sentences",
                kwargs: json!({"relation": relation, "num_sentences": n}),
                text: format!("It should have {put} {n} sentences."),
            }
        }
    }
}

fn words(random: &mut Random) -> Instruction {
    let first = random.range(0, WORDS.len() as i64 - 1) as usize;
    let second = (first + random.range(1, WORDS.len() as i64 - 1) as usize) % WORDS.len();
    let (first, second) = (WORDS[first], WORDS[second]);
    let n = random.range(2, 4);
    match random.range(0, 7) {
        0 => Instruction {
            id: "punctuation:no_comma",
            kwargs: json!({}),
            text: random
                .pick(&["Do not use any commas.", "There must be no comma in your whole answer."])
                .to_string(),
        },
        1 => Instruction {
            id: "keywords:existence",
            kwargs: json!({"keywords": [first, second]}),
            text: format!("Use the words \"{first}\" and \"{second}\"."),
        },
        2 => Instruction {
            id: "keywords:forbidden_words",
            kwargs: json!({"forbidden_words": [first, second]}),
            text: format!("Leave out the words \"{first}\" and \"{second}\"."),
        },
        3 => Instruction {
            id: "keywords:frequency",
            kwargs: json!({"keyword": first, "frequency": n, "relation": "at least"}),
            text: format!("The word \"{first}\" must come at least {n} times."),
        },
        4 => Instruction {
            id: "change_case:english_lowercase",
            kwargs: json!({}),
            text: "Use small letters only, no capitals, in English.".to_owned(),
        },
        5 => Instruction {
            id: "change_case:english_capital",
            kwargs: json!({}),
            text: "Write in English and in capital letters throughout.".to_owned(),
        },
        6 => Instruction {
            id: "change_case:capital_word_frequency",
            kwargs: json!({"capital_frequency": n, "capital_relation": "at least"}),
            text: format!("Put at least {n} words in capitals to stress them."),
        },
        _ => {
            let letter = *random.pick(&["q", "w", "k", "v", "j"]);
            Instruction {
                id: "keywords:letter_frequency",
                kwargs: json!({"letter": letter, "let_frequency": n, "let_relation": "at least"}),
                text: format!("The letter {letter} should be there at least {n} times."),
            }
        }
    }
}

fn frame(random: &mut Random, task: &str) -> Instruction {
    match random.range(0, 4) {
        0 => Instruction {
            id: "startend:quotation",
            kwargs: json!({}),
            text: "Put your whole answer in double quotation marks.".to_owned(),
        },
        1 => {
            let end = *random.pick(&ENDS);
            Instruction {
                id: "startend:end_checker",
                kwargs: json!({"end_phrase": end}),
                text: format!("End with this exact sentence and nothing after it: {end}"),
            }
        }
        2 => {
            let marker = *random.pick(&["P.S.", "P.P.S"]);
            Instruction {
                id: "detectable_content:postscript",
                kwargs: json!({"postscript_marker": marker}),
                text: format!("At the end, add a postscript that begins with {marker}"),
            }
        }
        3 => Instruction {
            id: "detectable_format:title",
            kwargs: json!({}),
            text: "Give it a title in double angular brackets, such as <<my title>>.".to_owned(),
        },
        _ => Instruction {
            id: "combination:repeat_prompt",
            kwargs: json!({"prompt_to_repeat": task}),
            text: format!(
                "First repeat the request word for word, then answer it (the request to repeat: {task})"
            ),
        },
    }
}

fn prompt(seed: u64, index: u64, held_out: bool) -> Value {
    let subjects = if held_out { HELD_OUT } else { SEEN };
    let mut random = Random::new(&[hash("instruction-tune"), seed, u64::from(held_out), index]);
    let thing = *random.pick::<&str>(subjects.things);
    let task = random.pick::<&str>(subjects.tasks).replace("{thing}", thing);
    let mut kinds = vec![Kind::Form, Kind::Length, Kind::Words, Kind::Frame];
    let mut given: Vec<Instruction> = Vec::new();
    for _ in 0..=index % 3 {
        let kind = kinds.remove(random.range(0, kinds.len() as i64 - 1) as usize);
        given.push(match kind {
            Kind::Form => form(&mut random),
            Kind::Length => length(&mut random),
            Kind::Words => words(&mut random),
            Kind::Frame => frame(&mut random, &task),
        });
    }
    // What must be the whole of an answer leaves no room for others.
    if let Some(whole) = given.iter().position(|i| {
        let alone = ["json_format", "two_responses", "repeat_prompt"];
        alone.iter().any(|name| i.id.ends_with(name))
    }) {
        given = vec![given.swap_remove(whole)];
    }
    let texts: Vec<&str> = given.iter().map(|i| &i.text[..]).collect();
    let id = format!("{}-{seed}-{index}", if held_out { "held-out" } else { "instruction" });
    json!({
        "id": id,
        "prompt": format!("{task} {}", texts.join(" ")),
        "instruction_id_list": given.iter().map(|i| i.id).collect::<Vec<_>>(),
        "kwargs": given.iter().map(|i| i.kwargs.clone()).collect::<Vec<_>>(),
    })
}

fn main() -> ExitCode {
    let Arguments { seed, count, held_out } = Arguments::parse();
    recipes::write_lines("instructions", (0..count).map(|i| prompt(seed, i, held_out)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use verify::instructions::{Instructions, Task};

    use super::*;

    fn prompts(held_out: bool) -> impl Iterator<Item = Value> {
        (0..600).map(move |i| prompt(1, i, held_out))
    }

    #[test]
    fn every_instruction_can_be_checked() {
        let mut seen = BTreeSet::new();
        for row in prompts(false).chain(prompts(true)) {
            let task: Task = serde_json::from_value(row.clone()).unwrap();
            Instructions::of(&task).unwrap_or_else(|error| panic!("{row}: {error}"));
            assert!((1..=3).contains(&task.instruction_id_list.len()));
            assert!(!task.prompt.contains(['{', '}']), "{row}");
            seen.extend(task.instruction_id_list);
        }
        assert_eq!(seen.len(), 22, "{seen:?}");
    }

    /// Two of a kind may contradict each other, and what is the whole answer stands alone.
    #[test]
    fn instructions_go_together() {
        for row in prompts(false) {
            let task: Task = serde_json::from_value(row).unwrap();
            let ids: Vec<&str> = task.instruction_id_list.iter().map(|id| &id[..]).collect();
            for pair in [
                ["change_case:english_lowercase", "change_case:english_capital"],
                ["length_constraints:number_words", "length_constraints:number_sentences"],
                ["startend:end_checker", "detectable_content:postscript"],
                ["detectable_format:json_format", "punctuation:no_comma"],
            ] {
                assert!(!pair.iter().all(|id| ids.contains(id)), "{ids:?}");
            }
        }
    }

    #[test]
    fn what_is_measured_with_is_about_something_else() {
        for thing in HELD_OUT.things {
            assert!(!SEEN.things.contains(thing));
        }
        for row in prompts(true) {
            let prompt = row["prompt"].as_str().unwrap();
            assert!(HELD_OUT.things.iter().any(|thing| prompt.contains(thing)), "{prompt}");
            assert!(SEEN.things.iter().all(|thing| !prompt.contains(thing)), "{prompt}");
        }
    }
}
