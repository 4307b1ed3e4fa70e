#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# headers.sh [ROOT]: every header compiles alone, twice in one unit, and has the house's include guard. LINT_CC is the
# compiler with its include paths (make check sets it).
set -eu
root=${1:-${srcdir:-.}}
: "${LINT_CC:=cc -std=gnu11 -I. -I$root/gateway -I$root -D_GNU_SOURCE -DH2O_USE_LIBUV=0 $(pkg-config --cflags libpq 2>/dev/null || true)}"
bad=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

for h in $(cd "$root" && find gateway backends schema -name '*.h' -type f | sort); do
    case $h in schema/statements.h) continue ;; esac
    name=${h#gateway/}
    guard=$(basename "$h" .h | tr 'a-z-' 'A-Z_')_H
    if ! grep -qE "^#ifndef PORTICO_([A-Z]+_)?$guard\$" "$root/$h"; then
        echo "$h: the include guard is not PORTICO_$guard"
        bad=1
    fi
    printf '#include "%s"\n#include "%s"\n' "$name" "$name" > "$scratch/alone.c"
    if ! $LINT_CC -Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla -Werror -fsyntax-only "$scratch/alone.c" 2> "$scratch/err"; then
        echo "$h: does not compile alone:"
        sed 's/^/    /' "$scratch/err"
        bad=1
    fi
done
exit $bad
