# SPDX-License-Identifier: Apache-2.0
# schema/queries/*.sql -> schema/statements.h (-v out=h) or schema/statements.c (-v out=c) on standard output.
#
# A statement begins with a header comment and ends where the next header begins:
#     -- name: order_finalize   in: order_id text, csr bytea, names text[]   out: status text, n int8
# The header may go on in lines "--   in: ..." and "--   out: ...". "-" is an empty list. In the statement :name stands
# for a parameter; quoted text and ::casts are left alone. A parameter type may end in "?" (int8?, int4?, bool?): the
# value 0 (false) is then sent as NULL; text and bytea send NULL for an absent iov_t anyway. Comments are dropped.
# Everything odd is an error with file and line. Runs in any POSIX awk (mawk).

BEGIN {
    split("text 25 bytea 17 int8 20 int4 23 bool 16 text[] 1009 int8[] 1016 bytea[] 1001 timestamptz 1184 jsonb 3802", t, " ")
    for (i = 1; i in t; i += 2)
        oid[t[i]] = t[i + 1]
    ctype["text"] = ctype["bytea"] = ctype["timestamptz"] = ctype["jsonb"] = "iov_t"
    ctype["int8"] = ctype["int4"] = "int64_t"
    ctype["bool"] = "bool"
    ctype["text[]"] = ctype["bytea[]"] = "struct iovs"
    ctype["int8[]"] = "struct ints"
    split("auto break case char const continue default do double else enum extern float for goto if inline int long " \
          "register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while " \
          "bool true false u", t, " ")
    for (i = 1; i in t; i++)
        reserved[t[i]] = 1
    n = 0
}

function fail(file, line, what)
{
    printf "%s:%d: %s\n", file, line, what > "/dev/stderr"
    failed = 1
    exit 1
}

function trim(s)
{
    gsub(/^[ \t]+|[ \t\r]+$/, "", s)
    return s
}

# One list of the header: "a text, b int8?" or "-". kind is "in" or "out".
function header_list(kind, text,    parts, count, i, w, type)
{
    if ((n, kind) in seen)
        fail(FILENAME, FNR, name[n] ": a second \"" kind ":\"")
    seen[n, kind] = 1
    cnt[n, kind] = 0
    text = trim(text)
    if (text == "-")
        return
    if (text == "")
        fail(FILENAME, FNR, name[n] ": nothing after \"" kind ":\" (write \"-\" for an empty list)")
    count = split(text, parts, /,/)
    for (i = 1; i <= count; i++) {
        if (split(trim(parts[i]), w, /[ \t]+/) != 2)
            fail(FILENAME, FNR, name[n] ": \"" trim(parts[i]) "\" in \"" kind ":\" is not \"name type\"")
        if (w[1] !~ /^[a-z][a-z0-9_]*$/)
            fail(FILENAME, FNR, name[n] ": \"" w[1] "\" is not a name (lower-case letters, digits, _)")
        if ((n, kind, "has", w[1]) in col)
            fail(FILENAME, FNR, name[n] ": \"" w[1] "\" stands twice in \"" kind ":\"")
        if (kind == "in" && w[1] in reserved)
            fail(FILENAME, FNR, name[n] ": \"" w[1] "\" cannot be a parameter name, it is taken in C")
        type = w[2]
        if (type ~ /\?$/) {
            sub(/\?$/, "", type)
            if (kind == "out" || type !~ /^(int8|int4|bool)$/)
                fail(FILENAME, FNR, name[n] ": \"?\" is for int8, int4 and bool parameters only")
            col[n, kind, "null", i] = 1
        }
        if (!(type in oid))
            fail(FILENAME, FNR, name[n] ": unknown type \"" w[2] "\" (text bytea int8 int4 bool text[] int8[] bytea[] timestamptz jsonb)")
        col[n, kind, "has", w[1]] = i
        col[n, kind, "name", i] = w[1]
        col[n, kind, "type", i] = type
    }
    cnt[n, kind] = count
}

# The part of a header line that begins with "in:" or "out:".
function header_lists(s,    at)
{
    while (s != "") {
        if (s ~ /^in:/) {
            s = substr(s, 4)
            at = match(s, /(^|[ \t])out:/) ? RSTART : length(s) + 1
            header_list("in", substr(s, 1, at - 1))
        } else if (s ~ /^out:/) {
            s = substr(s, 5)
            at = match(s, /(^|[ \t])in:/) ? RSTART : length(s) + 1
            header_list("out", substr(s, 1, at - 1))
        } else {
            fail(FILENAME, FNR, name[n] ": expected \"in:\" or \"out:\" at \"" s "\"")
        }
        s = trim(substr(s, at))
    }
}

function begin_statement(rest,    w)
{
    finish_statement()
    n++
    split(rest, w, /[ \t]+/)
    name[n] = w[1]
    if (w[1] !~ /^[a-z][a-z0-9_]*$/)
        fail(FILENAME, FNR, "\"" w[1] "\" is not a statement name (lower-case letters, digits, _)")
    if (w[1] in where)
        fail(FILENAME, FNR, "statement " w[1] " stands at " where[w[1]] " already")
    where[w[1]] = FILENAME ":" FNR
    base = FILENAME
    sub(/^.*\//, "", base)
    file[n] = FILENAME
    line[n] = FNR
    at_base[n] = base ":" FNR
    sql[n] = ""
    mode = ""
    ended = 0
    in_header = 1
    header_lists(trim(substr(rest, length(w[1]) + 1)))
}

# A :name that is a parameter.
function parameter(id)
{
    if (!((n, "in", "has", id) in col))
        fail(FILENAME, FNR, name[n] ": \":" id "\" is not in its \"in:\" list")
    used[n, id] = 1
    return "$" col[n, "in", "has", id]
}

# Copies one line of SQL. mode: "" or what it is inside of: ' " /* or $tag$.
function sql_line(s,    res, c, two, tag)
{
    res = ""
    while (s != "") {
        c = substr(s, 1, 1)
        two = substr(s, 1, 2)
        if (mode == "/*") {
            if (two == "*/") {
                mode = ""
                s = substr(s, 3)
            } else {
                s = substr(s, 2)
            }
            continue
        }
        if (mode == "'" || mode == "\"") {
            if (c == mode)
                mode = ""
        } else if (mode != "") {
            if (substr(s, 1, length(mode)) == mode) {
                res = res mode
                s = substr(s, length(mode) + 1)
                mode = ""
                continue
            }
        } else if (two == "--") {
            break
        } else if (two == "/*") {
            mode = two
            res = res " "
            s = substr(s, 3)
            continue
        } else if (two == "::") {
            res = res two
            s = substr(s, 3)
            continue
        } else if (match(s, /^:[a-zA-Z_][a-zA-Z0-9_]*/)) {
            tag = substr(s, 2, RLENGTH - 1)
            s = substr(s, RLENGTH + 1)
            res = res parameter(tag)
            continue
        } else if (match(s, /^[a-zA-Z_][a-zA-Z0-9_$]*/)) {
            res = res substr(s, 1, RLENGTH)
            s = substr(s, RLENGTH + 1)
            continue
        } else if (match(s, /^[$][0-9]/)) {
            fail(FILENAME, FNR, name[n] ": write :name for a parameter, not $1")
        } else if (match(s, /^[$][a-zA-Z_]*[$]/)) {
            mode = substr(s, 1, RLENGTH)
            res = res mode
            s = substr(s, RLENGTH + 1)
            continue
        } else if (c == "'" || c == "\"") {
            mode = c
        } else if (c == ";") {
            ended = 1
            s = substr(s, 2)
            continue
        }
        if (ended && c !~ /[ \t\r]/)
            fail(FILENAME, FNR, name[n] ": more than one statement (text after \";\")")
        res = res c
        s = substr(s, 2)
    }
    if (mode == "")
        sub(/[ \t\r]+$/, "", res)
    return res
}

function finish_statement(    i, p)
{
    if (n == 0)
        return
    if (!((n, "in") in seen))
        fail(file[n], line[n], name[n] ": no \"in:\" (write \"in: -\" when there is no parameter)")
    if (!((n, "out") in seen))
        fail(file[n], line[n], name[n] ": no \"out:\" (write \"out: -\" when there is no result)")
    if (sql[n] == "")
        fail(file[n], line[n], name[n] ": no SQL follows")
    if (mode != "")
        fail(file[n], line[n], name[n] ": " mode " is not closed")
    if (!ended)
        fail(file[n], line[n], name[n] ": no \";\" at the end")
    for (i = 1; i <= cnt[n, "in"]; i++) {
        p = col[n, "in", "name", i]
        if (!((n, p) in used))
            fail(file[n], line[n], name[n] ": parameter \"" p "\" is never used")
    }
}

FNR == 1 && n > 0 {
    finish_statement()
    done = n
}

/^--[ \t]*name:/ {
    rest = $0
    sub(/^--[ \t]*name:[ \t]*/, "", rest)
    if (done == n)
        done = -1
    begin_statement(trim(rest))
    next
}

in_header && /^--[ \t]+(in|out):/ {
    rest = $0
    sub(/^--[ \t]+/, "", rest)
    header_lists(trim(rest))
    next
}

mode == "" && /^[ \t]*(--.*)?\r?$/ {
    next
}

{
    if (n == 0 || done == n)
        fail(FILENAME, FNR, "SQL before the first \"-- name:\" of the file")
    in_header = 0
    text = sql_line($0)
    if (mode == "" && text ~ /^[ \t]*$/)
        next
    sql[n] = sql[n] == "" ? text : sql[n] "\n" text
}

# ---- output ----

# As it stands inside a C string. Letter by letter: what gsub makes of backslashes differs from awk to awk.
function c_text(s,    i, c, res)
{
    res = ""
    for (i = 1; i <= length(s); i++) {
        c = substr(s, i, 1)
        res = res (c == "\\" || c == "\"" ? "\\" c : c == "\t" ? "\\t" : c)
    }
    return res
}

function c_string(s, indent,    parts, count, i, res)
{
    count = split(s, parts, /\n/)
    res = ""
    for (i = 1; i <= count; i++)
        res = res indent "\"" c_text(parts[i]) (i < count ? "\\n" : "") "\"" (i < count ? "\n" : "")
    return res
}

# How a value reaches DB_ADD.
function argument(i, k,    type, p)
{
    type = col[i, "in", "type", k]
    p = col[i, "in", "name", k]
    if (type == "text[]" || type == "bytea[]")
        return "DB_TEXTS(" p ".v, " p ".n)"
    if (type == "int8[]")
        return "DB_INTS(" p ".v, " p ".n)"
    if (type == "bytea")
        return "DB_BYTEA(" p ")"
    if (type == "bool")
        return (i, "in", "null", k) in col ? "(" p " ? DB_BOOL(true) : DB_NULL)" : "DB_BOOL(" p ")"
    if (type ~ /^int/)
        return (i, "in", "null", k) in col ? "(" p " != 0 ? DB_INT(" p ") : DB_NULL)" : "DB_INT(" p ")"
    return "DB_TEXT(" p ")"
}

function print_adder(i,    k, sep)
{
    printf "static inline unsigned q_%s(struct db_unit *u", name[i]
    for (k = 1; k <= cnt[i, "in"]; k++)
        printf ", %s %s", ctype[col[i, "in", "type", k]], col[i, "in", "name", k]
    if (cnt[i, "in"] == 0) {
        printf ")\n{\n    return db_add(u, STMT_%s, NULL, 0);\n}\n", name[i]
        return
    }
    printf ")\n{\n    return DB_ADD(u, STMT_%s", name[i]
    for (k = 1; k <= cnt[i, "in"]; k++)
        printf ",\n                  %s", argument(i, k)
    print ");\n}"
}

function print_header(    i, k)
{
    print "/* Generated by schema/gen.awk from schema/queries. */"
    print "#ifndef PORTICO_STATEMENTS_H\n#define PORTICO_STATEMENTS_H\n"
    print "#include \"io/db.h\"\n"
    print "enum stmt {"
    for (i = 1; i <= n; i++)
        printf "    STMT_%s, /* %s */\n", name[i], at_base[i]
    print "    STMT_COUNT\n};"
    print "extern const struct db_stmt db_stmts[STMT_COUNT];"
    for (i = 1; i <= n; i++) {
        printf "\n#define N_IN_%s %d\n", name[i], cnt[i, "in"]
        printf "#define N_OUT_%s %d\n", name[i], cnt[i, "out"]
        if (cnt[i, "out"] > 0) {
            printf "enum {"
            for (k = 1; k <= cnt[i, "out"]; k++)
                printf "%s\n    COL_%s_%s", (k > 1 ? "," : ""), name[i], col[i, "out", "name", k]
            print "\n};"
        }
        print_adder(i)
    }
    print "\n#endif"
}

function print_table(    i, k)
{
    print "/* Generated by schema/gen.awk from schema/queries. */"
    print "#include \"schema/statements.h\"\n"
    for (i = 1; i <= n; i++) {
        if (cnt[i, "in"] == 0)
            continue
        printf "static const char *const types_%s[] = {", name[i]
        for (k = 1; k <= cnt[i, "in"]; k++)
            printf "%s\"%s\"", (k > 1 ? ", " : ""), col[i, "in", "type", k]
        printf "};\nstatic const unsigned oids_%s[] = {", name[i]
        for (k = 1; k <= cnt[i, "in"]; k++)
            printf "%s%d", (k > 1 ? ", " : ""), oid[col[i, "in", "type", k]]
        print "};"
    }
    print "\nconst struct db_stmt db_stmts[STMT_COUNT] = {"
    for (i = 1; i <= n; i++) {
        printf "    [STMT_%s] = {\n        .name = \"%s\", .file = \"%s\",\n        .n_params = %d,", \
            name[i], name[i], at_base[i], cnt[i, "in"]
        if (cnt[i, "in"] > 0)
            printf " .param_types = types_%s, .param_oids = oids_%s,", name[i], name[i]
        printf "\n        .sql =\n%s\n    },\n", c_string(sql[i], "            ")
    }
    print "};"
}

END {
    if (failed)
        exit 1
    finish_statement()
    if (failed)
        exit 1
    if (n == 0) {
        print "gen.awk: no statements" > "/dev/stderr"
        exit 1
    }
    if (out == "h")
        print_header()
    else if (out == "c")
        print_table()
    else {
        print "gen.awk: -v out=h or -v out=c" > "/dev/stderr"
        exit 2
    }
}
