fn main() -> std::process::ExitCode {
    symroute::cli::symroute::main()
}
