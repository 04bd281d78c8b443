//! Nothing but the sandbox's launcher, for this crate's own tests. A binary that uses the sandbox
//! is its own launcher.

fn main() {
    verify::program::sandbox::enter_if_asked();
    eprintln!("this is started by the sandbox's tests, and does nothing by itself");
    std::process::exit(2);
}
