# The few verbs of a contributor. `make check` is what CI runs.
.PHONY: check test lint docs bench clients generated sqlx

check: lint docs test  ## everything that CI runs

test:  ## all tests
	cargo test --locked

lint:  ## formatting, and clippy with warnings as errors
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

docs:  ## the crate's documentation, broken links as errors
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

bench:  ## every benchmark, in a release build
	cargo bench --locked
	benches/throughput.sh

clients:  ## the official OpenAI and Anthropic clients against the simulated world
	cargo build --locked
	tests/clients/run.sh target/debug/whetstone

generated:  ## the generated files: CRDs, and the schema of world files
	cargo build --locked
	target/debug/whetstone crd > crds/whetstone.dev.yaml
	target/debug/whetstone schema world > docs/world.schema.json

sqlx:  ## the query metadata, after a change of a query or a migration
	migrations/prepare.sh
