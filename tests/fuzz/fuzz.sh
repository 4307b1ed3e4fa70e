#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fuzz.sh SECONDS PROGRAM...: runs each libFuzzer program for that long, starting from its corpus ($srcdir/tests/fuzz).
# New inputs go to a scratch folder; a crash is kept in ./fuzz-artifacts and fails the run.
set -eu
seconds=$1
shift
corpus=${srcdir:-.}/tests/fuzz/corpus
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p fuzz-artifacts
failed=
for program; do
    name=${program##*/fuzz_}
    mkdir "$scratch/$name"
    echo "fuzz $name for $seconds s"
    if ! "./$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="fuzz-artifacts/$name-" "$scratch/$name" "$corpus/$name"; then
        failed="$failed $name"
    fi
done
if [ -n "$failed" ]; then
    echo "fuzz: failed:$failed (inputs in fuzz-artifacts/)" >&2
    exit 1
fi
