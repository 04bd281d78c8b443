//! The sandbox's launcher for this crate's own tests, and a way to try a program by hand:
//! `sandbox-launcher run python 'print(1)'`. A binary that uses the sandbox is its own launcher.

use std::process::ExitCode;

use verify::program::sandbox::{Options, enter_if_asked};
use verify::program::{Language, Limits, Sandbox};

fn main() -> ExitCode {
    enter_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (["run", language, source] | ["run", language, source, "no-namespaces"]) = arguments[..]
    else {
        eprintln!(
            "usage: sandbox-launcher run python|javascript|rust|shell SOURCE [no-namespaces]"
        );
        return ExitCode::from(2);
    };
    let language = match language {
        "python" => Language::Python,
        "javascript" => Language::JavaScript,
        "rust" => Language::Rust,
        _ => Language::Shell,
    };
    let options = Options { no_namespaces: arguments.len() == 4, ..Options::default() };
    let outcome = Sandbox::new(options).and_then(|sandbox| {
        eprintln!("{}", sandbox.layers());
        sandbox.run(language, source, "", &Limits::default())
    });
    match outcome {
        Ok(outcome) => {
            println!("{outcome:#?}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
