#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# sql.sh [ROOT]: SQL text exists in schema/ alone, and schema/Makefile.inc knows every file there. A string that begins
# like a statement is taken for one; io/db may speak of transactions and settings, not of tables.
set -eu
cd "${1:-${srcdir:-.}}"
bad=0

if find gateway backends -name '*.[ch]' -type f | sort | xargs grep -nE \
    '"[ \\nt]*(SELECT|INSERT +INTO|UPDATE +[a-z_]+|DELETE +FROM|TRUNCATE|CREATE +(TABLE|INDEX|FUNCTION|TYPE|SCHEMA)|ALTER +TABLE|DROP +(TABLE|INDEX|FUNCTION|SCHEMA)|WITH +[a-z_]+( *\([^)]*\))? +AS)( |"|$|\\)' |
    grep -vE '^gateway/io/db[^:]*:[0-9]+:.*"SELECT set_config\('; then
    echo "SQL text in C: write the statement into schema/queries"
    bad=1
fi

for f in $(find schema -name '*.sql' -type f | sort); do
    if ! grep -qE "(^|[ 	=])$f([ 	]|\$)" schema/Makefile.inc; then
        echo "$f: is not listed in schema/Makefile.inc"
        bad=1
    fi
done
exit $bad
