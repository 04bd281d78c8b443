//! Ordinary programs in the sandbox.

#![cfg(target_os = "linux")]

mod common;

use std::time::{Duration, Instant};

use verify::program::{Language, Limits, Sandbox, Status};

fn has(sandbox: &Sandbox, language: Language) -> bool {
    let has = sandbox.has(language);
    if let Err(why) = &has {
        eprintln!("skipped: {why}");
    }
    has.is_ok()
}

#[test]
fn each_language_reads_and_writes() {
    let programs = [
        (Language::Python, "import sys\nprint(int(input()) * 2)\nprint('e', file=sys.stderr)\nsys.exit(3)"),
        (
            Language::JavaScript,
            "console.log(2 * require('fs').readFileSync(0, 'utf8')); console.error('e'); process.exit(3)",
        ),
        (
            Language::Rust,
            "fn main() { let mut s = String::new(); std::io::stdin().read_line(&mut s).unwrap();
             println!(\"{}\", 2 * s.trim().parse::<i32>().unwrap()); eprintln!(\"e\"); std::process::exit(3) }",
        ),
        (Language::Shell, "read n; echo $((n * 2)); echo e >&2; exit 3"),
    ];
    for no_namespaces in [false, true] {
        let sandbox = common::sandbox(no_namespaces);
        for (language, source) in programs {
            if !has(&sandbox, language) {
                continue;
            }
            let outcome = sandbox.run(language, source, "21\n", &Limits::default());
            println!("{language}: {outcome:?}");
            let outcome = outcome.unwrap();
            assert_eq!(outcome.status, Status::Exited(3), "{language}: {outcome:?}");
            assert_eq!(outcome.stdout, "42\n");
            assert_eq!(outcome.stderr, "e\n");
            assert!(outcome.peak_memory > 1 << 19);
        }
    }
}

/// What models' programs rely on although only Python's start-up provides it.
#[test]
fn python_is_as_usual() {
    let sandbox = common::sandbox(false);
    if !has(&sandbox, Language::Python) {
        return;
    }
    let source = r#"
import sys, pickle, dataclasses, multiprocessing, os, tempfile
@dataclasses.dataclass
class P:
    x: "int"
def double(n): return 2 * n
if __name__ == "__main__":
    assert pickle.loads(pickle.dumps(P(3))) == P(3)
    assert len(sys.argv) == 1 and sys.argv[0] == __file__, sys.argv
    assert "_s" not in globals() and "_t" not in globals()
    assert any(p.endswith("-packages") for p in sys.path), sys.path
    with tempfile.NamedTemporaryFile("w") as f: f.write("é"); f.flush(); print(open(f.name).read())
    assert os.environ.keys() <= {"PATH", "HOME", "TMPDIR", "LANG", "OPENSSL_CONF"}, os.environ
    with multiprocessing.Pool(2) as pool: print(pool.map(double, range(5)))
    exit(0)
"#;
    let outcome = sandbox.run(Language::Python, source, "", &Limits::default()).unwrap();
    assert_eq!(outcome.status, Status::Exited(0), "{outcome:?}");
    assert_eq!(outcome.stdout, "é\n[0, 2, 4, 6, 8]\n");
}

/// Run with `--ignored --nocapture` on a quiet machine, in a release build.
#[test]
#[ignore = "a measurement"]
fn how_long_a_trivial_program_takes() {
    let sandbox = common::sandbox(std::env::var_os("NO_NAMESPACES").is_some());
    let median = |language, source: &str| {
        if !has(&sandbox, language) {
            return;
        }
        let once = || sandbox.run(language, source, "", &Limits::default()).unwrap().seconds;
        let mut all: Vec<f64> =
            (0..if language == Language::Rust { 9 } else { 101 }).map(|_| once()).collect();
        all.sort_by(f64::total_cmp);
        println!(
            "{language}: median {:.1} ms, 90 % within {:.1} ms",
            all[all.len() / 2] * 1e3,
            all[all.len() * 9 / 10] * 1e3
        );
    };
    median(Language::Python, "print(1)");
    median(Language::Shell, "echo 1");
    median(Language::JavaScript, "console.log(1)");
    median(Language::Rust, "fn main() { println!(\"1\") }");

    // One core's worth, then two's: half a second of processor time in each program.
    let busy = "import time\nwhile time.process_time() < 0.3: pass";
    for (name, source, runs) in [("trivial", "print(1)", 100), ("0.3 s of work", busy, 10)] {
        let rate = |threads: usize| {
            let begun = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        for _ in 0..runs {
                            let outcome = sandbox
                                .run(Language::Python, source, "", &Limits::default())
                                .unwrap();
                            assert_eq!(outcome.status, Status::Exited(0), "{outcome:?}");
                        }
                    });
                }
            });
            (threads * runs) as f64 / begun.elapsed().as_secs_f64()
        };
        println!("{name}: {:.1} runs/s on 1 thread, {:.1} on 2", rate(1), rate(2));
    }
}

#[test]
fn runs_side_by_side_keep_apart() {
    for no_namespaces in [false, true] {
        let sandbox = common::sandbox(no_namespaces);
        if !has(&sandbox, Language::Python) {
            return;
        }
        let source = "
import os
n = input()
assert not os.path.exists('mine'), os.listdir()
open('mine', 'w').write(n)
print(int(open('mine').read()) + 1)";
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let sandbox = &sandbox;
                scope.spawn(move || {
                    for run in 0..40 {
                        let n = thread * 1000 + run;
                        let outcome = sandbox
                            .run(Language::Python, source, &n.to_string(), &Limits::default())
                            .unwrap();
                        assert_eq!(outcome.stdout, format!("{}\n", n + 1), "{outcome:?}");
                    }
                });
            }
        });
    }
}

#[test]
fn large_input_and_output_pass_and_binary_output_is_replaced() {
    let sandbox = common::sandbox(false);
    let input = "0123456789\n".repeat(90_000);
    let outcome = sandbox.run(Language::Shell, "cat", &input, &Limits::default()).unwrap();
    assert_eq!((outcome.status, outcome.stdout == input), (Status::Exited(0), true));
    let outcome = sandbox
        .run(Language::Shell, "printf 'a\\377b'; kill -9 $$", "", &Limits::default())
        .unwrap();
    assert_eq!((outcome.status, &*outcome.stdout), (Status::Signalled(9), "a\u{fffd}b"));
}

#[test]
fn what_does_not_compile_says_why() {
    let sandbox = common::sandbox(false);
    if has(&sandbox, Language::Rust) {
        let outcome =
            sandbox.run(Language::Rust, "fn main() { nonsense }", "", &Limits::default()).unwrap();
        assert_eq!(outcome.status, Status::NotCompiled);
        assert!(outcome.stderr.contains("nonsense"), "{outcome:?}");
    }
}

#[test]
fn time_runs_out() {
    let sandbox = common::sandbox(false);
    if has(&sandbox, Language::Python) {
        let limits = Limits { wall: Duration::from_millis(300), ..Limits::default() };
        let outcome = sandbox.run(Language::Python, "while True: pass", "", &limits).unwrap();
        assert_eq!(outcome.status, Status::OutOfTime);
        assert!(outcome.seconds < 1.0, "{}", outcome.seconds);
    }
}
