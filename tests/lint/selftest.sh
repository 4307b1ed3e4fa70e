#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# selftest.sh [ROOT]: every lint passes on a small clean tree, and refuses that tree with one mistake in it.
set -eu
lints=$(cd "${1:-${srcdir:-.}}/tests/lint" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
tree=$scratch/tree
LINT_CC="cc -std=gnu11 -I$tree/gateway -I$tree"
export LINT_CC
bad=0 n=0

# put FILE < text: writes a file of the tree, with its SPDX line for C.
put() {
    mkdir -p "$tree/$(dirname "$1")"
    case $1 in
    *.[ch]) { echo '/* SPDX-License-Identifier: Apache-2.0 */' && cat; } > "$tree/$1" ;;
    *) cat > "$tree/$1" ;;
    esac
}

clean() {
    rm -rf "$tree"
    put gateway/base/base.h <<'C'
#ifndef PORTICO_BASE_H
#define PORTICO_BASE_H
#include <h2o/memory.h>
struct conf_key { const char *name; };
#endif
C
    sed -i '/h2o/d' "$tree/gateway/base/base.h" # compiles without libraries
    put gateway/io/task.h <<'C'
#ifndef PORTICO_TASK_H
#define PORTICO_TASK_H
#include "base/base.h"
int task_run(int a, int (*cb)(int x, int y), int b, int c, int d, int e);
#endif
C
    put gateway/http/call.c <<'C'
#include "io/task.h"
#define TABLE(x) \
    { x, \
      { 1 } }
/* A comment with { and "quotes
 * over lines; int f(a, b, c, d, e, f, g). */
static const struct conf_key keys[] = {
    CONF_STR(struct s, m, "port", "80", "a, b, c"),
    CONF_INT(struct s, m2,
             "timeout", NULL, 0, 0, "x"),
};
int call(int a, int b, int c,
         int d, int e, int f)
{
    static const int v[] = {1, 2, 3, 4, 5, 6, 7, 8};
    if (a) {
        if (b) {
            if (c) {
                if (d) {
                    return v[e + f] + '{' + "{{{{{{"[0];
                }
            }
        }
    }
    return "select"[0];
}
C
    put gateway/http/Makefile.inc <<'M'
# SPDX-License-Identifier: Apache-2.0
libportico_a_SOURCES += gateway/http/call.c gateway/io/task.h gateway/base/base.h \
	gateway/extra.c gateway/extra.h gateway/store/s.c backends/est/est.c backends/backend.h gateway/jobs/j.c
M
    put backends/Makefile.inc < /dev/null
    echo '# SPDX-License-Identifier: Apache-2.0' | put backends/Makefile.inc
    put schema/Makefile.inc <<'M'
# SPDX-License-Identifier: Apache-2.0
SCHEMA_QUERIES = schema/queries/a.sql
M
    printf -- '-- SPDX-License-Identifier: Apache-2.0\n' | put schema/queries/a.sql
    mkdir -p "$tree/tests/unit" "$tree/tests/fuzz"
    printf 'listen: {port: 80}\ntimeout: 10s\n' | put deploy/portico.yaml.example
    printf '.TP\n\\fBport\\fR\nThe port.\n.TP\n.B timeout\nThe time.\n' | put deploy/man/portico.yaml.5
}

# passes LINT; refuses LINT 'part of the message', after a change of the clean tree.
passes() {
    n=$((n + 1))
    if ! sh "$lints/$1.sh" "$tree" > "$scratch/out" 2>&1; then
        echo "selftest: $1 refuses a clean tree:"
        cat "$scratch/out"
        bad=1
    fi
}

refuses() {
    n=$((n + 1))
    if sh "$lints/$1.sh" "$tree" > "$scratch/out" 2>&1; then
        echo "selftest: $1 accepts a tree that it should refuse with \"$2\""
        bad=1
    elif ! grep -qF -e "$2" "$scratch/out"; then
        echo "selftest: $1 does not say \"$2\":"
        cat "$scratch/out"
        bad=1
    fi
    clean
}

clean
for lint in layers sizes headers confdoc sql text; do
    passes $lint
done

# layers
line() { echo "#include \"$1\""; }
line io/task.h | put gateway/acme/a.c; refuses layers 'gateway/acme/a.c:2: acme may not include "io/task.h"'
line acme/a.h | put gateway/base/b.c; refuses layers 'base may not include "acme/a.h"'
line jobs/j.h | put gateway/http/h.c; refuses layers 'http may not include "jobs/j.h"'
line http/h.h | put gateway/jobs/j.c; refuses layers 'jobs may not include "http/h.h"'
line backends/est/est.h | put gateway/jobs/j.c; refuses layers 'jobs may not include "backends/est/est.h"'
line backends/backend.h | put gateway/http/h.c; refuses layers 'http may not include "backends/backend.h"'
line io/pki.h | put gateway/store/s.c; refuses layers 'store may not include "io/pki.h"'
line io/db.h | put gateway/policy/p.c; refuses layers 'policy may not include "io/db.h"'
line store/s.h | put gateway/io/i.c; refuses layers 'io may not include "store/s.h"'
line io/db.h | put backends/est/est.c; refuses layers 'driver may not include "io/db.h"'
line acme/a.h | put backends/est/est.c; refuses layers 'driver may not include "acme/a.h"'
line backends/local/local.h | put backends/est/est.c; refuses layers 'driver may not include "backends/local/local.h"'
line io/task.h | put backends/mtc/tree/t.c; refuses layers 'mtc-tree may not include "io/task.h"'
line store/s.h | put backends/mtc/log/l.c; refuses layers 'mtc-log may not include "store/s.h"'
line ../io/task.h | put gateway/http/h.c; refuses layers 'not from ..'
for pair in libpq-fe.h:gateway/store/s.c h2o.h:gateway/http/h.c h2o/http1.h:gateway/io/db.c curl/curl.h:backends/est/est.c \
    msgpack.h:gateway/jobs/j.c unbound.h:gateway/jobs/j.c openssl/evp.h:gateway/policy/p.c openssl/evp.h:gateway/io/fetch.c \
    jansson.h:gateway/acme/a.c yaml.h:gateway/policy/p.c systemd/sd-daemon.h:gateway/io/loop.c; do
    echo "#include <${pair%%:*}>" | put "${pair#*:}"
    refuses layers "${pair#*:}:2: <${pair%%:*}> is included by its adapter only"
done
for pair in libpq-fe.h:gateway/io/db_conn.c h2o.h:gateway/io/serve_tls.c openssl/evp.h:backends/est/est.c yaml.h:gateway/base/conf_tree.c; do
    echo "#include <${pair%%:*}>" | put "${pair#*:}"
done
{ line jobs/j.h; line http/h.h; line backends/local/signer.h; } | put gateway/main.c
line schema/statements.h | put gateway/store/s.c
{ line backends/backend.h; line io/pki.h; line backends/est/est.h; } | put backends/est/est.c
{ line backends/mtc/tree/t.h; line io/serve.h; } | put backends/mtc/log/l.c
passes layers
clean

# sizes
body() { awk -v n="$1" 'BEGIN { print "int f(void)\n{"; for (i = 0; i < n; i++) print "    g();"; print "}" }'; }
body 100 | put gateway/extra.c; passes sizes
body 101 | put gateway/extra.c; refuses sizes 'gateway/extra.c:3: a function of 101 lines'
awk 'BEGIN { for (i = 0; i < 899; i++) print "int x;" }' | put gateway/extra.c; passes sizes
awk 'BEGIN { for (i = 0; i < 900; i++) print "int x;" }' | put gateway/extra.c; refuses sizes 'gateway/extra.c:901: 901 lines'
awk 'BEGIN { for (i = 0; i < 250; i++) print "int x;" }' | put gateway/extra.h; refuses sizes 'gateway/extra.h:251: 251 lines'
awk 'BEGIN { for (i = 0; i < 400; i++) print "int x;" }' | put gateway/main.c; refuses sizes 'at most 400'
echo 'int f(int a, int b, int c, int d, int e, int f, int g);' | put gateway/extra.h; refuses sizes 'gateway/extra.h:2: 7 parameters'
printf 'static int\nf(int a, int b, int c,\n  int d, int (*e)(int, int), int f, int g)\n{\n}\n' | put gateway/extra.c
refuses sizes '7 parameters'
printf 'int f(void)\n{\n    if (a) { if (b) { if (c) { if (d) { if (e) { f(); } } } } }\n}\n' | put gateway/extra.c; passes sizes
printf 'int f(void)\n{\nif (a) {\nif (b) {\nif (c) {\nif (d) {\nif (e) {\nf();\n}\n}\n}\n}\n}\n}\n' | put gateway/extra.c
refuses sizes 'gateway/extra.c:8: nested 5 deep'

# headers
printf '#ifndef PORTICO_EXTRA_H\n#define PORTICO_EXTRA_H\nsize_t f(void);\n#endif\n' | put gateway/extra.h
refuses headers 'gateway/extra.h: does not compile alone'
printf 'struct a { int b; };\n' | put gateway/extra.h; refuses headers 'the include guard is not PORTICO_EXTRA_H'

# confdoc
sed -i /timeout/d "$tree/deploy/portico.yaml.example"; refuses confdoc 'key "timeout" is not in deploy/portico.yaml.example'
sed -i 's/timeout/read_timeout/' "$tree/deploy/portico.yaml.example"; refuses confdoc 'key "timeout" is not in deploy/portico.yaml.example'
sed -i 's/fBport/fBports/; s/The port/The ports/' "$tree/deploy/man/portico.yaml.5"; refuses confdoc 'key "port" is not in deploy/man/portico.yaml.5'
rm "$tree/deploy/man/portico.yaml.5"; refuses confdoc 'deploy/man/portico.yaml.5: is missing'
rm "$tree/gateway/http/call.c"; refuses confdoc 'no rows found'

# sql
for text in 'SELECT 1' '  INSERT INTO t' 'UPDATE t SET a' 'DELETE FROM t' 'TRUNCATE t' 'CREATE TABLE t' 'WITH a AS (SELECT 1)' 'SELECT\n'; do
    printf 'const char *s = "%s";\n' "$text" | put gateway/store/s.c
    refuses sql 'SQL text in C'
done
echo 'const char *s = "SELECT set_config(";' | put gateway/io/db_conn.c; passes sql
clean
echo 'const char *s = "Select one", *t = "SELECTED", *u = "UPDATED at";' | put gateway/store/s.c; passes sql
echo '-- SPDX-License-Identifier: Apache-2.0' | put schema/queries/b.sql; refuses sql 'schema/queries/b.sql: is not listed'

# text
echo 'int x;' > "$tree/gateway/extra.c"; refuses text 'gateway/extra.c: no SPDX line'
printf '#!/bin/sh\necho\n' | put deploy/x.sh; refuses text 'deploy/x.sh: no SPDX line'
printf '#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n' | put deploy/x.sh; passes text
for word in TO''DO FIX''ME XX''X; do
    echo "/* $word: later */" | put gateway/extra.c
    refuses text 'reminders in the text'
done
printf 'int x; \n' | put gateway/extra.c; refuses text 'blanks at the end'
printf '\tint x;\n' | put gateway/extra.c; refuses text 'tabs'
echo 'int x;' | put gateway/http/forgotten.c; refuses text 'gateway/http/forgotten.c: is not listed'

[ $bad = 0 ] && echo "selftest: $n checks"
exit $bad
