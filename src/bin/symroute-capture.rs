//! The capture program of `symroute observe` and `symroute check --traffic`.

use std::process::ExitCode;

pub fn main() -> ExitCode {
    symroute::capture::main()
}
