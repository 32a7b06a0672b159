//! The program: everything is in the library.

use portcullis::cli::{self, exit::Exit};

/// Allocation is the main cost of a request after system calls (docs/decisions/0001).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Exit {
    cli::main()
}
