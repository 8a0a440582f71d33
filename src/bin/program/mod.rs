//! All three programs: what is called as `symroute-gen` writes interfaces files, what is called as `symroute-capture` is
//! the capture program. The package has one file with three names.

use std::ffi::c_int;
use std::path::Path;

use symroute::{capture, cli};

/// Where the C library starts the program. Rust's own start would read /proc/self/maps and set up signal handlers, for
/// the message about a stack that is too small: a sixth of the system calls of a hook.
// SAFETY: the symbol has the type and the meaning that C gives to `main` without parameters (C17, 5.1.2.2.1).
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    symroute::system::process::begin();
    let called = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_default();
    std::process::exit(match name.as_encoded_bytes() {
        b"symroute-gen" => cli::generate::main() as c_int,
        b"symroute-capture" => capture::main(),
        _ => cli::symroute::main() as c_int,
    })
}

/// fmod(3), for minijinja: Debian 13's C library has a version of it that Debian 12's lacks. The test lab runs a dynamic
/// program that is built on either, in roots of both.
// SAFETY: the symbol has the type and the meaning that C gives to it (C17, 7.12.10.1).
#[cfg(not(target_feature = "crt-static"))]
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn fmod(x: f64, y: f64) -> f64 {
    libm::fmod(x, y)
}
