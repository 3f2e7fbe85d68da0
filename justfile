# Shortcuts; `just` lists them. Each is one command that works without just, too.

# List what there is
default:
    @just --list

# Hub, terminal, two people and an unknown face, on this machine
demo *arguments:
    ./deploy/demo.sh {{arguments}}

# Every test, or those of one file: just test delivery
test *arguments:
    ./tests/run.sh {{arguments}}

# A bench: just bench month --behind 10
bench name *arguments:
    cargo build --release --workspace --bins --examples --features hub/pdf,bench/system
    target/release/examples/{{name}} {{arguments}}

# What a change must pass
ci:
    ./.ci/run

# Format, then the lints that `ci` denies
lint:
    cargo fmt --all
    cargo clippy --release --workspace --all-targets --all-features --locked -- -D warnings

# After a query or a migration changed: what PostgreSQL says of each query, and the diagram of the schema
database:
    hub/prepare.sh

# After the API changed: its document
openapi:
    cargo run --release -p hub -- openapi > hub/openapi.json

# Debian packages, amd64 and arm64
package:
    deploy/package.sh
