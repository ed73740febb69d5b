//! The `whetstone` binary.

fn main() {}
