//! Both programs: what is called as `symroute-gen` writes interfaces files. The package has one file with two names.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

pub fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    match Path::new(&called).file_name() == Some(OsStr::new("symroute-gen")) {
        true => symroute::cli::generate::main(),
        false => symroute::cli::symroute::main(),
    }
}

/// Debian 13's C library has a version of `fmod` that Debian 12's lacks, and minijinja's `%` calls it. With
/// this one in its place, what is built on either runs on both. With [`pow`] as well, no start of the program loads the
/// library of mathematical functions.
// SAFETY: the symbol has the type and the meaning that C gives to `fmod` (C17, 7.12.10.1).
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn fmod(x: f64, y: f64) -> f64 {
    libm::fmod(x, y)
}

/// As [`fmod`], for minijinja's `**`.
// SAFETY: the symbol has the type and the meaning that C gives to `pow` (C17, 7.12.7.4).
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn pow(x: f64, y: f64) -> f64 {
    libm::pow(x, y)
}
