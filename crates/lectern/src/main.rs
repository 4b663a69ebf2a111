//! The command `lectern`.

fn main() -> std::process::ExitCode {
    lectern::main()
}
