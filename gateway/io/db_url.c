/* SPDX-License-Identifier: Apache-2.0 */
/* Connection options: the user's libpq string, completed with what an ACME gateway needs (dead hosts are
 * noticed, several hosts mean "the one that takes writes"). */
#include "io/db_internal.h"

#include <ctype.h>
#include <stdlib.h>

/* Used unless the string says otherwise. */
static const struct {
    const char *key, *value;
} defaults[] = {
    {"connect_timeout", "5"},  {"keepalives_idle", "10"},     {"keepalives_interval", "5"},
    {"keepalives_count", "3"}, {"tcp_user_timeout", "10000"},
};

enum { EXTRA_OPTIONS = COUNTOF(defaults) + 4 };

void db_reason_set(char reason[DB_REASON_BYTES], const char *message)
{
    size_t n = 0;
    for (const char *p = message != NULL ? message : ""; *p != '\0' && n < DB_REASON_BYTES - 1; p++) {
        bool space = isspace((unsigned char)*p);
        if (space && (n == 0 || reason[n - 1] == ' '))
            continue;
        reason[n++] = space ? ' ' : *p;
    }
    while (n == DB_REASON_BYTES - 1 && n > 0 && ((unsigned char)reason[n - 1] & 0x80) != 0)
        n--; /* a cut never leaves half a character */
    while (n > 0 && reason[n - 1] == ' ')
        n--;
    reason[n] = '\0';
}

static const PQconninfoOption *find(const PQconninfoOption *parsed, const char *key)
{
    for (const PQconninfoOption *o = parsed; o->keyword != NULL; o++) {
        if (o->val != NULL && strcmp(o->keyword, key) == 0)
            return o;
    }
    return NULL;
}

static bool names_several_hosts(const PQconninfoOption *parsed)
{
    const PQconninfoOption *host = find(parsed, "host"), *addr = find(parsed, "hostaddr");
    return (host != NULL && strchr(host->val, ',') != NULL) ||
           (addr != NULL && strchr(addr->val, ',') != NULL);
}

static PQconninfoOption *parse(const char *url, char reason[DB_REASON_BYTES])
{
    char *message = NULL;
    PQconninfoOption *parsed = PQconninfoParse(url, &message);
    if (parsed == NULL && (strchr(url, '@') != NULL || strstr(url, "password") != NULL))
        db_reason_set(reason, "the connection string is not valid (what libpq says may quote the password)");
    else if (parsed == NULL)
        db_reason_set(reason, message != NULL ? message : "out of memory");
    PQfreemem(message);
    return parsed;
}

PGconn *db_url_connect(const char *url, const char *application, char reason[DB_REASON_BYTES])
{
    PQconninfoOption *parsed = parse(url, reason);
    if (parsed == NULL)
        return NULL;
    size_t cap = 1, n = 0;
    for (const PQconninfoOption *o = parsed; o->keyword != NULL; o++)
        cap++;
    const char **keys = base_zalloc((cap + EXTRA_OPTIONS) * sizeof(*keys));
    const char **values = base_zalloc((cap + EXTRA_OPTIONS) * sizeof(*values));
#define ADD(k, v) (keys[n] = (k), values[n++] = (v))
    for (const PQconninfoOption *o = parsed; o->keyword != NULL; o++) {
        if (o->val != NULL && strcmp(o->keyword, "client_encoding") != 0)
            ADD(o->keyword, o->val);
    }
    for (size_t i = 0; i < COUNTOF(defaults); i++) {
        if (find(parsed, defaults[i].key) == NULL)
            ADD(defaults[i].key, defaults[i].value);
    }
    if (find(parsed, "target_session_attrs") == NULL && names_several_hosts(parsed))
        ADD("target_session_attrs", "read-write");
    ADD("client_encoding", "UTF8");
    ADD("fallback_application_name", application);
#undef ADD
    PGconn *pg = PQconnectdbParams(keys, values, 0);
    free(keys);
    free(values);
    PQconninfoFree(parsed);
    if (PQstatus(pg) == CONNECTION_OK)
        return pg;
    db_reason_set(reason, pg != NULL ? PQerrorMessage(pg) : "out of memory");
    PQfinish(pg);
    return NULL;
}
