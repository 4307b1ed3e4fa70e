#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A private PostgreSQL for one test program.
#   pg.sh run PROGRAM [ARG...]   makes a cluster, runs PROGRAM with PG_URL, PG_TCP_URL, PG_DIR and PG_PORT set, removes
#                                the cluster; exit status of PROGRAM, 77 (skipped) when PostgreSQL is not installed
#   pg.sh ctl ARG...             pg_ctl on the cluster of PG_DIR: ctl -m fast -w restart
# The server refuses uid 0, so as root everything of it runs as user postgres.
set -eu

# The newest installed server.
bindir() {
    for d in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -t/ -k5 -n -r); do
        if [ -x "$d/initdb" ] && [ -x "$d/pg_ctl" ]; then
            echo "$d"
            return
        fi
    done
    d=$(command -v initdb || true)
    if [ -n "$d" ]; then
        dirname "$d"
    fi
}

as_server() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --init-groups env -i PATH=/usr/bin:/bin LC_ALL=C.UTF-8 "$@"
    else
        env -i PATH=/usr/bin:/bin LC_ALL=C.UTF-8 "$@"
    fi
}

BIN=$(bindir)

ctl() {
    (cd / && as_server "$BIN/pg_ctl" -D "$PG_DIR/data" -t 60 -l "$PG_DIR/pg.log" -s "$@")
}

cleanup() {
    trap - EXIT HUP INT TERM
    if [ -f "$PG_DIR/data/postmaster.pid" ]; then
        ctl -m immediate -w stop || true
    fi
    rm -rf "$PG_DIR"
}

# A port that nobody listens on, below those that the kernel gives to clients: a search from a number that depends on
# the process.
free_port() {
    p=$((20000 + ($$ * 7 + $1 * 101) % 12000))
    while ss -Hltn "sport = :$p" 2>/dev/null | grep -q .; do
        p=$((p + 1))
    done
    echo "$p"
}

# Another test may take the port in the meantime.
start_server() {
    for try in 1 2 3 4 5; do
        PG_PORT=$(free_port "$try")
        echo "port = $PG_PORT" | as_server tee "$PG_DIR/data/port.conf" >/dev/null
        if ctl -w start >/dev/null 2>&1; then
            return
        fi
    done
    cat "$PG_DIR/pg.log" >&2
    return 1
}

start() {
    if [ "$(id -u)" = 0 ]; then
        chown postgres: "$PG_DIR"
    fi
    as_server mkdir "$PG_DIR/sock"
    (cd / && as_server "$BIN/initdb" -D "$PG_DIR/data" -A trust -U portico --no-locale -E UTF8 -N) >"$PG_DIR/initdb.log" 2>&1 || {
        cat "$PG_DIR/initdb.log" >&2
        return 1
    }
    as_server openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -days 2 \
        -keyout "$PG_DIR/data/server.key" -out "$PG_DIR/data/server.crt" 2>/dev/null
    as_server tee -a "$PG_DIR/data/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
include = 'port.conf'
unix_socket_directories = '$PG_DIR/sock'
ssl = on
CONF
    start_server
    (cd / && as_server "$BIN/createdb" -h "$PG_DIR/sock" -p "$PG_PORT" -U portico portico)
    PG_URL="postgresql:///portico?host=$PG_DIR/sock&port=$PG_PORT&user=portico"
    PG_TCP_URL="postgresql://portico@127.0.0.1:$PG_PORT/portico?sslmode=require"
    export PG_DIR PG_PORT PG_URL PG_TCP_URL
}

case "${1:-}" in
run)
    shift
    if [ -z "$BIN" ]; then
        echo "pg.sh: PostgreSQL's server programs are not installed" >&2
        exit 77
    fi
    PG_DIR=$(mktemp -d "${TMPDIR:-/tmp}/portico-pg.XXXXXX")
    trap cleanup EXIT
    trap 'exit 1' HUP INT TERM
    start
    status=0
    "$@" || status=$?
    exit "$status"
    ;;
ctl)
    shift
    ctl "$@"
    ;;
*)
    sed -n '3,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
