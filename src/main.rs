//! The `whetstone` binary.

/// Thousands of short-lived requests and answers a second are what mimalloc is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    whetstone::cli::main()
}
