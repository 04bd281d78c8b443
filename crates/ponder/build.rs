//! Tells the binary what it was built from: its version, and the git revision where there is one.

use std::path::Path;
use std::process::Command;

fn main() {
    let git = |args: &[&str]| {
        let output =
            Command::new("git").args(args).output().ok().filter(|out| out.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    // A checkout's HEAD, and what it points to, change with every commit; elsewhere there is nothing to watch.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name]).unwrap_or_default();
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    // What is in none of the commits is "dirty": as soon as any source changes.
    println!("cargo:rerun-if-changed=..");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let long = match git(&["describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]) {
        Some(revision) => format!("{version} ({revision})"),
        None => version,
    };
    println!("cargo:rustc-env=PONDER_VERSION={long}");
}
