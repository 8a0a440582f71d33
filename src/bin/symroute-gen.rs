//! The same program under its other name, for cargo's `target` directory; the package has a link instead.

#[path = "symroute.rs"]
mod program;

fn main() -> std::process::ExitCode {
    program::main()
}
