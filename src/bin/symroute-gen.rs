fn main() -> std::process::ExitCode {
    symroute::cli::generate::main()
}
