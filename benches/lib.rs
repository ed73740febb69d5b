//! How long the parts of Whetstone take: each other file here is a benchmark. `cargo bench --workspace` runs them all.
