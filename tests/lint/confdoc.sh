#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# confdoc.sh [ROOT]: every configuration key that a CONF_* row names stands in deploy/portico.yaml.example (as "key:") and
# in the manual page deploy/man/portico.yaml.5.
set -eu
cd "${1:-${srcdir:-.}}"
example=deploy/portico.yaml.example
manual=deploy/man/portico.yaml.5
for f in $example $manual; do
    if [ ! -f $f ]; then
        echo "$f: is missing"
        exit 1
    fi
done

# "file key" for each row; a row may be broken over lines.
rows() {
    find gateway backends -name '*.c' -type f | sort | while read -r f; do
        tr '\n' ' ' < "$f" | grep -oE 'CONF_(STR|BOOL|INT|DURATION|SIZE|LIST|ENUM|SECRET|FILES?|NODE)\([^"()]*"[^"]*"' |
            sed -E "s|^.*\"([^\"]*)\"\$|$f \1|"
    done | sort -u
}

# The manual page without font escapes.
words=$(sed -E 's/\\f[BIRP]//g; s/\\-/-/g' $manual)
rows | {
    bad=0 n=0
    while read -r file key; do
        n=$((n + 1))
        if ! grep -qE "(^|[^A-Za-z0-9_])$key:" $example; then
            echo "$file: key \"$key\" is not in $example"
            bad=1
        fi
        if ! printf '%s\n' "$words" | grep -qE "(^|[^A-Za-z0-9_])$key([^A-Za-z0-9_]|\$)"; then
            echo "$file: key \"$key\" is not in $manual"
            bad=1
        fi
    done
    if [ $n = 0 ]; then
        echo "confdoc.sh: no rows found: the pattern does not fit any more"
        bad=1
    fi
    exit $bad
}
