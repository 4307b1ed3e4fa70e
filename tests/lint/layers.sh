#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# layers.sh [ROOT]: who may include whom (design, section 2), and third-party headers only in their adapters.
set -eu
cd "${1:-${srcdir:-.}}"

find gateway backends -name '*.[ch]' -type f | sort | xargs awk '
# What a file belongs to.
function layer(path,    p, n)
{
    n = split(path, p, "/")
    if (p[1] == "gateway")
        return n == 2 ? "main" : p[2] == "admin" && p[3] ~ /^porticoctl/ ? "main" : p[2]
    if (path ~ /^backends\/mtc\/(log|tree)\//)
        return "mtc-" p[3]
    return "driver"
}

# What an include is of.
function target(inc,    p, n)
{
    n = split(inc, p, "/")
    if (p[1] == "backends")
        return inc == "backends/backend.h" ? "backend.h" : inc ~ /^backends\/mtc\/(log|tree)\// ? "mtc-" p[3] : "driver"
    if (n == 1)
        return "main"
    return p[1]
}

function folder(path)
{
    sub(/\/[^\/]*$/, "", path)
    sub(/^gateway\//, "", path)
    return path
}

# Whether layer l may include inc, which is of t.
function allowed(l, t, inc)
{
    if (folder(FILENAME) == folder(inc) || l == "main")
        return 1
    if (t == "base")
        return l != "base"
    if (l == "io" || l == "acme" || l == "mtc-tree" || l == "base")
        return 0
    if (l == "policy")
        return t == "acme" || inc == "io/pki.h"
    if (l == "store")
        return t == "acme" || t == "schema" || inc ~ /^io\/(db|task)\.h$/
    if (l == "http" || l == "admin")
        return t ~ /^(store|policy|io|acme|schema)$/
    if (l == "jobs")
        return t ~ /^(store|policy|io|acme|schema|backend\.h)$/
    if (l == "driver")
        return t == "backend.h" || inc ~ /^io\/(fetch|worker|pki|pack|loop|task)\.h$/ || t == "mtc-tree"
    if (l == "mtc-log")
        return t == "mtc-tree" || t == "io"
    return 0
}

# Files that may include a third-party header; "" when the header is nobody special.
function adapters(inc)
{
    if (inc ~ /^h2o\/(memory|string_)\.h$/)
        return "^gateway/(base/base\\.h|io/(loop|serve|worker)[^/]*)$"
    if (inc ~ /^h2o(\.h|\/)/)
        return "^gateway/io/(loop|serve|worker)[^/]*$"
    if (inc ~ /^(libpq-fe|libpq-events|pg_config|postgres_ext)\.h/)
        return "^gateway/io/db[^/]*$"
    if (inc ~ /^curl\//)
        return "^gateway/io/fetch[^/]*$"
    if (inc ~ /^msgpack/)
        return "^gateway/io/pack[^/]*$"
    if (inc ~ /^unbound/)
        return "^gateway/io/dns[^/]*$"
    if (inc ~ /^openssl\//)
        return "^(gateway/io/(pki|serve)[^/]*|backends/.*)$"
    if (inc == "jansson.h")
        return "^gateway/base/json\\.h$"
    if (inc == "yaml.h")
        return "^gateway/base/conf[^/]*$"
    if (inc ~ /^systemd\//)
        return "^gateway/[^/]*$"
    return ""
}

function refuse(what)
{
    printf "%s:%d: %s\n", FILENAME, FNR, what
    bad = 1
}

/^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, part, "\"")
    l = layer(FILENAME)
    if (part[2] ~ /\.\./)
        refuse("\"" part[2] "\": includes start from the top, not from ..")
    else if (!allowed(l, target(part[2]), part[2]))
        refuse(l " may not include \"" part[2] "\"")
}

/^[ \t]*#[ \t]*include[ \t]*</ {
    inc = $0
    sub(/^[^<]*</, "", inc)
    sub(/>.*$/, "", inc)
    files = adapters(inc)
    if (files != "" && FILENAME !~ files)
        refuse("<" inc "> is included by its adapter only (" files ")")
}

END { exit bad }'
