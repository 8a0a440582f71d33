fn main() -> std::process::ExitCode {
    symroute::cli::generate::main()
}

/// Debian 13's C library has a version of `fmod` that Debian 12's lacks, and minijinja's `%` calls it. With
/// this one in its place, what is built on either runs on both.
// SAFETY: the symbol has the type and the meaning that C gives to `fmod` (C17, 7.12.10.1).
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn fmod(x: f64, y: f64) -> f64 {
    libm::fmod(x, y)
}
