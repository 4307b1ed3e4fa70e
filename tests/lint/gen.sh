#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# gen.sh [ROOT]: schema/gen.awk and schema/embed.awk on good and on bad input. A mistake in a query file must stop the
# build with file and line.
set -eu
root=${1:-${srcdir:-.}}
: "${AWK:=awk}" "${LINT_CC:=cc -std=gnu11 -I$root/gateway -I$root -D_GNU_SOURCE -DH2O_USE_LIBUV=0}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/schema"
bad=0

complain() {
    echo "gen.sh: $*"
    bad=1
}

# refused NAME 'message' < query text: gen.awk must fail with exactly this message and print nothing for the compiler.
refused() {
    cat > "$scratch/$1.sql"
    if $AWK -f "$root/schema/gen.awk" -v out=c "$scratch/$1.sql" > "$scratch/out" 2> "$scratch/err"; then
        complain "$1 was accepted"
    fi
    if [ "$(cat "$scratch/err")" != "$scratch/$2" ]; then
        complain "$1 says \"$(cat "$scratch/err")\", not \"$scratch/$2\""
    fi
    [ ! -s "$scratch/out" ] || complain "$1: output in spite of the error"
}

cat > "$scratch/good.sql" <<'SQL'
-- SPDX-License-Identifier: Apache-2.0

-- What it is for; :not_a_parameter.
-- name: everything   in: id text, csr bytea, n int8, small int4?, ok bool, names text[], ids int8[], at timestamptz, doc jsonb, raws bytea[], maybe bool?   out: id text, n int8
-- a comment
SELECT a::text, ':quoted', 'it''s :quoted', ":column", $$ :dollar ; $$, $tag$ :tag $$ ' $tag$, /* :comment ; */ arr[1:2]
  FROM t -- :trailing
 WHERE id = :id AND csr = :csr AND n=:n AND s IS NOT DISTINCT FROM :small::int4 AND :ok AND x = ANY(:names)
   AND y = ANY (:ids) AND at<:at AND doc = :doc AND raw = ANY (:raws) AND (:maybe OR :n > 1) AND e = '\d "x"';

-- name: nothing in: - out: -
DELETE FROM t
;
-- name: continued
--   in: a text,
--   out: b text
SELECT 1;
SQL
# A list cannot be broken after a comma: the error must say so.
refused_list=$scratch/good.sql
$AWK -f "$root/schema/gen.awk" -v out=h "$refused_list" > /dev/null 2> "$scratch/err" && complain "an empty list item was accepted"
sed -i 's/^--   in: a text,$/--   in: a text/; s/^SELECT 1;$/SELECT :a;/' "$scratch/good.sql"

for out in h c; do
    $AWK -f "$root/schema/gen.awk" -v out=$out "$scratch/good.sql" > "$scratch/schema/statements.$out" || complain "good.sql is refused"
done
grep -q "a::text, ':quoted', 'it''s :quoted', \\\\\":column\\\\\", \\\$\\\$ :dollar ; \\\$\\\$, \\\$tag\\\$ :tag \\\$\\\$ ' \\\$tag\\\$,   arr\[1:2\]" \
    "$scratch/schema/statements.c" || complain "quoted text was changed"
grep -q 'WHERE id = $1 AND csr = $2 AND n=$3 AND s IS NOT DISTINCT FROM $4::int4 AND $5 AND x = ANY($6)' \
    "$scratch/schema/statements.c" || complain "parameters were not numbered"
grep -q '($11 OR $3 > 1)' "$scratch/schema/statements.c" || complain "parameters were not numbered by their place"
grep -q '25, 17, 20, 23, 16, 1009, 1016, 1184, 3802, 1001, 16}' "$scratch/schema/statements.c" || complain "oids are wrong"
grep -q '"good.sql:4"' "$scratch/schema/statements.c" || complain "the place of a statement is wrong"
if grep -qE 'trailing|a comment|comment ;' "$scratch/schema/statements.c"; then
    complain "comments were kept"
fi

# What is generated compiles, and its functions take the right types only.
check() {
    printf '#include "schema/statements.h"\nunsigned f(struct db_unit *u); unsigned f(struct db_unit *u) { return %s; }\n' "$1" > "$scratch/use.c"
    $LINT_CC -I"$scratch" -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Werror -fsyntax-only "$scratch/use.c" 2> "$scratch/err"
}
# The scratch statements.h must be found before the build's own.
LINT_CC="${LINT_CC%% *} -I$scratch ${LINT_CC#* }"
$LINT_CC -Wall -Wextra -Wshadow -Werror -fsyntax-only "$scratch/schema/statements.c" || complain "statements.c does not compile"
check 'N_IN_nothing + N_OUT_everything + COL_everything_n + STMT_COUNT + q_nothing(u) + q_continued(u, IOV("x"))' ||
    complain "good use does not compile: $(cat "$scratch/err")"
check 'q_everything(u, IOV(""), IOV_NULL, 1, 2, true, (struct iovs){0}, (struct ints){0}, IOV(""), IOV("{}"), (struct iovs){0}, false)' ||
    complain "good use does not compile: $(cat "$scratch/err")"
for use in 'q_continued(u)' 'q_continued(u, 5)' 'q_continued(u, (struct iovs){0})' 'q_nothing(u, IOV("x"))' 'COL_continued_x'; do
    if check "$use"; then
        complain "$use compiles"
    fi
done

refused unknown 'unknown.sql:2: a: ":idd" is not in its "in:" list' <<'SQL'
-- name: a in: id text out: -
SELECT :idd;
SQL
refused unused 'unused.sql:1: a: parameter "n" is never used' <<'SQL'
-- name: a in: id text, n int8 out: -
SELECT :id, ':n';
SQL
refused twice 'twice.sql:4: statement a stands at '"$scratch"'/twice.sql:2 already' <<'SQL'

-- name: a in: - out: -
SELECT 1;
-- name: a in: - out: -
SELECT 2;
SQL
refused no_in 'no_in.sql:1: a: no "in:" (write "in: -" when there is no parameter)' <<'SQL'
-- name: a out: n int8
SELECT 1;
SQL
refused no_out 'no_out.sql:2: a: no "out:" (write "out: -" when there is no result)' <<'SQL'
-- leading
-- name: a in: -
SELECT 1;
SQL
refused empty_in 'empty_in.sql:1: a: nothing after "in:" (write "-" for an empty list)' <<'SQL'
-- name: a in: out: -
SELECT 1;
SQL
refused twice_in 'twice_in.sql:2: a: a second "in:"' <<'SQL'
-- name: a in: - out: -
--   in: id text
SELECT :id;
SQL
refused type 'type.sql:1: a: unknown type "integer" (text bytea int8 int4 bool text[] int8[] bytea[] timestamptz jsonb)' <<'SQL'
-- name: a in: n integer out: -
SELECT :n;
SQL
refused maybe 'maybe.sql:1: a: "?" is for int8, int4 and bool parameters only' <<'SQL'
-- name: a in: n text? out: -
SELECT :n;
SQL
refused column 'column.sql:1: a: "n" stands twice in "out:"' <<'SQL'
-- name: a in: - out: n int8, n text
SELECT 1, 2;
SQL
refused reserved 'reserved.sql:1: a: "default" cannot be a parameter name, it is taken in C' <<'SQL'
-- name: a in: default text out: -
SELECT :default;
SQL
refused pair 'pair.sql:1: a: "n" in "in:" is not "name type"' <<'SQL'
-- name: a in: n out: -
SELECT :n;
SQL
refused name 'name.sql:1: "a-b" is not a statement name (lower-case letters, digits, _)' <<'SQL'
-- name: a-b in: - out: -
SELECT 1;
SQL
refused dollar 'dollar.sql:2: a: write :name for a parameter, not $1' <<'SQL'
-- name: a in: - out: -
SELECT $1;
SQL
refused second 'second.sql:2: a: more than one statement (text after ";")' <<'SQL'
-- name: a in: - out: -
SELECT 1; SELECT 2;
SQL
refused no_end 'no_end.sql:1: a: no ";" at the end' <<'SQL'
-- name: a in: - out: -
SELECT 1
SQL
refused no_sql 'no_sql.sql:1: a: no SQL follows' <<'SQL'
-- name: a in: - out: -
-- name: b in: - out: -
SELECT 1;
SQL
refused quote "quote.sql:1: a: ' is not closed" <<'SQL'
-- name: a in: - out: -
SELECT 'x;
SQL
refused nameless 'nameless.sql:2: SQL before the first "-- name:" of the file' <<'SQL'
-- a file
SELECT 1;
SQL

# Two files: the second's text does not belong to the first's last statement.
printf -- '-- name: a in: - out: -\nSELECT 1;\n' > "$scratch/one.sql"
printf 'SELECT 2;\n' > "$scratch/two.sql"
if $AWK -f "$root/schema/gen.awk" -v out=c "$scratch/one.sql" "$scratch/two.sql" > /dev/null 2>&1; then
    complain "text of a second file was taken for the first one's"
fi

# Migrations.
mkdir "$scratch/m"
printf 'CREATE TABLE "t" (a text DEFAULT E'"'"'\\n'"'"');\n' > "$scratch/m/0001_one.sql"
printf 'SELECT 2;\n' > "$scratch/m/0002_two.sql"
$AWK -f "$root/schema/embed.awk" "$scratch/m/0001_one.sql" "$scratch/m/0002_two.sql" > "$scratch/migrations.c" ||
    complain "migrations are refused"
cat >> "$scratch/migrations.c" <<'C'
#include <string.h>
int main(void)
{
    return !(schema_n_migrations == 2 && schema_migrations[1].number == 2 && strcmp(schema_migrations[1].name, "0002_two") == 0 &&
             strcmp(schema_migrations[0].sql, "CREATE TABLE \"t\" (a text DEFAULT E'\\n');\n") == 0);
}
C
# shellcheck disable=SC2086
cc_only=$(printf '%s' "$LINT_CC" | sed 's/-fsanitize=[^ ]*//g')
$cc_only -I"$root" -o "$scratch/migrations" "$scratch/migrations.c" && "$scratch/migrations" || complain "a migration's text was changed"
for list in 0002_two.sql "0001_one.sql 0001_one.sql"; do
    files=
    for f in $list; do files="$files $scratch/m/$f"; done
    if $AWK -f "$root/schema/embed.awk" $files > /dev/null 2>&1; then
        complain "migrations $list were accepted"
    fi
done
exit $bad
