#!/usr/bin/env bash
# Runs each fuzz target in turn, sharing the seconds among them. Installs Rust's nightly toolchain and cargo-fuzz if
# they are missing. The first crash, hang or excess of memory ends it with an error.
set -euo pipefail

case "${1-}" in
-h | --help)
  echo "usage: fuzz/run.sh [SECONDS]    3600 without; TARGETS='mjpeg yuyv' tries these alone"
  exit ;;
'' | *[!0-9]*) [[ -z ${1-} ]] || { echo "fuzz: no number of seconds: '$1' (try --help)" >&2; exit 2; } ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")"
export PATH=$PATH:$HOME/.cargo/bin

rustup run nightly rustc --version >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal
cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked

read -ra targets <<<"${TARGETS:-mjpeg yuyv photo manifest gallery}"
seconds=$((${1:-3600} / ${#targets[@]}))
((seconds)) || { echo "fuzz: ${#targets[@]} targets take as many seconds at least" >&2; exit 2; }

# The gallery's file is rewritten for each input: in memory, if possible.
[[ -w /dev/shm ]] && export TMPDIR=/dev/shm
TMPDIR=$(mktemp -d) # the target that writes there leaves its folder behind
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

for target in "${targets[@]}"; do
  cargo +nightly fuzz build "$target"
done
for target in "${targets[@]}"; do
  echo "fuzz: $target for $seconds s"
  mkdir -p "found/$target"
  # New finds go into the first folder; the corpus is only read.
  cargo +nightly fuzz run "$target" "found/$target" "corpus/$target" -- \
    -max_total_time="$seconds" -max_len=8192 -timeout=30 -rss_limit_mb=1024 -print_final_stats=1
done
echo "fuzz: nothing found"
