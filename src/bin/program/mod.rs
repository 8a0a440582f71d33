//! Both programs: what is called as `symroute-gen` writes interfaces files. The package has one file with two names.

use std::ffi::{OsStr, c_int};
use std::path::Path;

use symroute::cli;

/// Where the C library starts the program. Rust's own start would read /proc/self/maps and set up signal handlers, for
/// the message about a stack that is too small: a sixth of the system calls of a hook.
// SAFETY: the symbol has the type and the meaning that C gives to `main` without parameters (C17, 5.1.2.2.1).
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    symroute::system::process::begin();
    let called = std::env::args_os().next().unwrap_or_default();
    let exit = match Path::new(&called).file_name() == Some(OsStr::new("symroute-gen")) {
        true => cli::generate::main(),
        false => cli::symroute::main(),
    };
    std::process::exit(exit as c_int)
}

/// Defines functions of C's <math.h>.
macro_rules! functions {
    ($($name:ident($($argument:ident),+);)+) => {$(
        // SAFETY: the symbol has the type and the meaning that C gives to it (C17, 7.12).
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        extern "C" fn $name($($argument: f64),+) -> f64 {
            libm::$name($($argument),+)
        }
    )+};
}

// Debian 13's C library has a version of `fmod` that Debian 12's lacks, and minijinja calls it. With this one in its
// place, what is built on either runs on both. With the others as well, no start of the program loads the library of
// mathematical functions. Newer compilers have some of them.
functions! {
    ceil(x);
    floor(x);
    fmod(x, y);
    pow(x, y);
    trunc(x);
}
