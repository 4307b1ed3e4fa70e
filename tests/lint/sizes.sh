#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# sizes.sh [ROOT]: refuses functions over 100 lines or nested more than 4 deep, more than 6 parameters, .c files over 900
# lines, headers over 250, main files over 400. Needs the house layout: a function's braces stand in the first column.
set -eu
cd "${1:-${srcdir:-.}}"

find gateway backends tests/unit tests/fuzz schema -name '*.[ch]' -type f |
    grep -vxE 'schema/(statements\.[ch]|migrations\.c)' | sort | xargs awk '
function refuse(line, what)
{
    printf "%s:%d: %s\n", file, line, what
    bad = 1
}

function end_of_file(    most)
{
    if (file == "")
        return
    most = file ~ /\.h$/ ? 250 : file ~ /(^|\/)main\.c$/ ? 400 : 900
    if (lines > most)
        refuse(lines, lines " lines, at most " most " are allowed")
}

# A line without strings, characters and comments, so that braces and commas count.
function code(s)
{
    gsub(/\\./, "", s)
    gsub(/"[^"]*"/, "\"\"", s)
    gsub(/\047[^\047]*\047/, "0", s)
    gsub(/\/\*([^*]|\*+[^*\/])*\*+\//, "", s)
    if (in_comment) {
        if (!match(s, /\*\//))
            return ""
        s = substr(s, RSTART + 2)
        in_comment = 0
    }
    if (match(s, /\/\*/)) {
        s = substr(s, 1, RSTART - 1)
        in_comment = 1
    }
    sub(/\/\/.*$/, "", s)
    return s
}

# Parameters of a declaration or definition that begins in the first column.
function count_parameters(s,    i, c, depth, n)
{
    i = index(s, "(")
    if (i == 0 || substr(s, 1, i) ~ /[={]/)
        return 0
    depth = 0
    n = 1
    for (; i <= length(s); i++) {
        c = substr(s, i, 1)
        if (c == "(")
            depth++
        else if (c == ")" && --depth == 0)
            break
        else if (c == "," && depth == 1)
            n++
    }
    return n
}

FNR == 1 {
    end_of_file()
    file = FILENAME
    in_comment = in_function = 0
    head = ""
}

{
    lines = FNR
    s = code($0)
}

/^#/ || in_macro {
    in_macro = $0 ~ /\\$/
    next
}

in_function {
    if (s ~ /^}/) {
        if (FNR - start - 1 > 100)
            refuse(start, "a function of " (FNR - start - 1) " lines, at most 100 are allowed")
        in_function = 0
        next
    }
    opens = gsub(/{/, "{", s)
    closes = gsub(/}/, "}", s)
    depth += opens - closes
    if (depth > 4 && !told) {
        refuse(FNR, "nested " depth " deep, at most 4 is allowed")
        told = 1
    }
    next
}

s == "{" && head != "" {
    if (count_parameters(head) > 6)
        refuse(head_line, count_parameters(head) " parameters, at most 6 are allowed (make a struct)")
    in_function = 1
    start = FNR
    depth = told = 0
    head = ""
    next
}

s ~ /^[a-zA-Z_]/ {
    head = ""
    head_line = FNR
}

s ~ /^[a-zA-Z_]/ || (head != "" && s != "") {
    head = head " " s
    if (s ~ /;[ \t]*$/) {
        if (head !~ /^ typedef struct|^ struct [a-z_]+ {/ && count_parameters(head) > 6)
            refuse(head_line, count_parameters(head) " parameters, at most 6 are allowed (make a struct)")
        head = ""
    }
}

END {
    end_of_file()
    exit bad
}'
