#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# text.sh [ROOT]: an SPDX line at the top of every source, no reminders left in the text (open questions belong to the
# issue tracker), no tabs or spaces at line ends in C, and every source is listed in a Makefile.inc.
set -eu
cd "${1:-${srcdir:-.}}"
bad=0
dirs=
for d in gateway backends schema tests deploy .ci; do
    [ ! -d $d ] || dirs="$dirs $d"
done

sources() {
    find $dirs -type d \( -name corpus -o -name __pycache__ -o -name .pytest_cache \) -prune -o -type f \
        \( -name '*.[ch]' -o -name '*.def' -o -name '*.sql' -o -name '*.awk' -o -name '*.sh' -o -name '*.py' \
        -o -name 'Makefile.inc' -o -name run -o -name try \) -print
    for f in configure.ac Makefile.am; do [ ! -f $f ] || echo $f; done
}

list=$(sources | grep -vE '^schema/(statements\.[ch]|migrations\.c)$' | sort)
for f in $list; do
    if ! head -n 2 "$f" | grep -q 'SPDX-License-Identifier: Apache-2\.0'; then
        echo "$f: no SPDX line at the top"
        bad=1
    fi
done

if printf '%s\n' "$list" | grep -vx 'tests/lint/.*' | xargs grep -nwE 'TO''DO|FIX''ME|XX''X'; then
    echo "reminders in the text: do it, or file an issue"
    bad=1
fi

if printf '%s\n' "$list" | grep -E '\.(c|h|def)$' | xargs grep -nE '[ 	]+$|^ *	'; then
    echo "tabs, or blanks at the end of a line"
    bad=1
fi

makefiles=$(find gateway backends schema tests -name Makefile.inc)
for f in $(printf '%s\n' "$list" | grep -E '^(gateway|backends|schema|tests/(unit|fuzz))/.*\.(c|h|def)$'); do
    if ! cat $makefiles | grep -qE "(^|[ 	=])$f([ 	]|\$)"; then
        echo "$f: is not listed in any Makefile.inc"
        bad=1
    fi
done
exit $bad
