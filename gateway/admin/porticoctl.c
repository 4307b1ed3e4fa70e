/* SPDX-License-Identifier: Apache-2.0 */
/* The operator's command line: asks the database directly, so it works while no gateway runs. Tables for people,
 * --json (stable) for scripts. Exit codes: 0 done, 1 failed, 2 usage. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include "admin/ctl.h"
#include "base/b64.h"
#include "base/json.h"
#include "io/db.h"
#include "io/pki.h"
#include "policy/settings.h"
#include "schema/statements.h"
#include "store/migrate.h"

static const char usage_text[] =
    "usage: porticoctl [--config FILE] [-o key=value] [--json] COMMAND\n"
    "  status                     gateways, accounts, orders, jobs\n"
    "  backends                   configured CAs and what they did in the last day\n"
    "  eab add NAME [--directory D] [--names P,P] [--profiles P,P] [--expires 90d]\n"
    "  eab list | eab disable NAME\n"
    "  issuance list [--state S]  those under way, or in state held, retry, waiting, done, refused\n"
    "  issuance show ID           whole history; ID of an issuance, order or certificate\n"
    "The default FILE is /etc/portico/portico.yaml. See porticoctl(1).\n";

struct ctl {
    const char *config, *overrides[64], *directory, *names, *profiles, *expires, *state;
    size_t n_overrides;
    bool json;
    pool_t pool;
    struct settings *settings;
    struct db_sync *db;
};

static int usage(const char *why)
{
    fprintf(stderr, "porticoctl: %s\n%s", why, usage_text);
    return 2;
}

static int failed(const struct err *e)
{
    fprintf(stderr, "porticoctl: %s%s%s\n", e->detail, e->cause[0] != '\0' ? ": " : "", e->cause);
    return 1;
}

static bool ask(struct ctl *c, int stmt, const struct db_param *p, struct db_table *t, struct err *e)
{
    return db_sync_query(c->db, &c->pool, db_stmts[stmt].sql, p, db_stmts[stmt].n_params, t, e);
}

/* The one JSON value of a statement; NULL after saying why. An answer without a row is *found_out = false. */
static json_t *ask_json(struct ctl *c, int stmt, const struct db_param *p, bool *found_out, int *code_out)
{
    struct db_table t;
    struct err e = ERR_INIT;
    *code_out = 1;
    *found_out = false;
    if (!ask(c, stmt, p, &t, &e)) {
        failed(&e);
        return NULL;
    }
    if (t.rows == 0)
        return NULL;
    *found_out = true;
    json_error_t why;
    json_t *v = json_loadb(t.cells[0].base, t.cells[0].len, JSON_DECODE_ANY, &why);
    if (v == NULL)
        fprintf(stderr, "porticoctl: the database answered something that is not JSON: %s\n", why.text);
    else
        *code_out = 0;
    return v;
}

static int show(struct ctl *c, json_t *v)
{
    if (c->json)
        json_dumpf(v, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
    else
        ctl_print(stdout, v);
    if (c->json)
        putchar('\n');
    json_decref(v);
    return fflush(stdout) == 0 ? 0 : 1;
}

static int simple(struct ctl *c, int stmt, const struct db_param *p, const char *missing)
{
    bool found;
    int code;
    json_t *v = ask_json(c, stmt, p, &found, &code);
    if (v != NULL)
        return show(c, v);
    if (!found && missing != NULL)
        fprintf(stderr, "porticoctl: %s\n", missing);
    return code;
}

static int cmd_status(struct ctl *c, char **argv)
{
    (void)argv;
    return simple(c, STMT_admin_status, NULL, NULL);
}

static int cmd_backends(struct ctl *c, char **argv)
{
    struct iovs names = {0}, drivers = {0};
    (void)argv;
    for (size_t i = 0; i < conf_count(c->settings->backends); i++) {
        const struct conf_node *b = conf_item(c->settings->backends, i);
        iovs_add(&c->pool, &names, iov_of(conf_text(conf_get(b, "name"))));
        iovs_add(&c->pool, &drivers, iov_of(conf_text(conf_get(b, "driver"))));
    }
    struct db_param p[] = {DB_TEXTS(names.v, names.n), DB_TEXTS(drivers.v, drivers.n)};
    return simple(c, STMT_admin_backends, p, NULL);
}

/* ---- eab ---- */

static json_t *split(const char *list)
{
    json_t *a = json_array();
    for (const char *at = list; *at != '\0';) {
        size_t n = strcspn(at, ",");
        if (n > 0)
            json_array_append_new(a, json_stringn(at, n));
        at += n + (at[n] == ',');
    }
    return a;
}

static iov_t policy_of(struct ctl *c)
{
    if (c->names == NULL && c->profiles == NULL)
        return IOV_NULL;
    json_t *o = json_object();
    if (c->names != NULL)
        json_object_set_new(o, "names", split(c->names));
    if (c->profiles != NULL)
        json_object_set_new(o, "profiles", split(c->profiles));
    iov_t text = json_to_iov(&c->pool, o);
    json_decref(o);
    return text;
}

static bool expires_of(struct ctl *c, int64_t *s_out, struct err *e)
{
    struct { int64_t ms; } v = {0};
    static const struct conf_key keys[] = {
        {.name = "expires", .type = CONF_T_DURATION, .offset = 0, .def = "0", .help = "life of the key"}, CONF_END};
    *s_out = 0;
    if (c->expires == NULL)
        return true;
    struct conf *conf = conf_parse(iov_printf(&c->pool, "expires: %s\n", c->expires), "--expires", e);
    bool ok = conf != NULL && conf_read(conf, conf_root(conf), keys, &v, e);
    conf_free(conf);
    *s_out = v.ms / 1000;
    return ok && (*s_out > 0 || err_set(e, 0, "--expires wants a duration like 90d"));
}

static int cmd_eab_add(struct ctl *c, char **argv)
{
    uint8_t key[32];
    struct db_table t;
    struct err e = ERR_INIT;
    int64_t ttl_s;
    if (c->directory != NULL && settings_directory(c->settings, iov_of(c->directory)) == NULL) {
        fprintf(stderr, "porticoctl: no directory is named %s\n", c->directory);
        return 1;
    }
    if (!expires_of(c, &ttl_s, &e))
        return failed(&e);
    pki_random_arg(key, sizeof(key)); /* certbot has to take it as a value */
    iov_t raw = {(char *)key, sizeof(key)}, kid = pki_random_id(&c->pool);
    struct db_param p[] = {DB_TEXT(kid), DB_TEXT(iov_of(argv[0])), DB_TEXT(iov_of(c->directory)), DB_BYTEA(raw),
                           DB_TEXT(policy_of(c)), ttl_s > 0 ? DB_INT(ttl_s) : DB_NULL};
    if (!ask(c, STMT_admin_eab_add, p, &t, &e))
        return failed(&e);
    if (t.rows == 0) {
        fprintf(stderr, "porticoctl: there is an EAB key named %s already\n", argv[0]);
        return 1;
    }
    iov_t b64 = b64_encode(&c->pool, raw);
    if (c->json) {
        printf("{\"kid\":\"%s\",\"hmac_key\":\"%s\"}\n", kid.base, b64.base);
    } else {
        const char *dir = c->directory != NULL ? c->directory : c->settings->directories[0].name;
        printf("kid       %s\nhmac key  %s\n\ncertbot:  certbot register --server %s/acme/%s/directory --eab-kid %s "
               "--eab-hmac-key %s\nlego:     lego --server %s/acme/%s/directory --eab --kid %s --hmac %s ...\n"
               "It is shown only now.\n",
               kid.base, b64.base, c->settings->public_url.v[0], dir, kid.base, b64.base, c->settings->public_url.v[0], dir,
               kid.base, b64.base);
    }
    pki_wipe(key, sizeof(key));
    pki_wipe(b64.base, b64.len);
    return 0;
}

static int cmd_eab_list(struct ctl *c, char **argv)
{
    (void)argv;
    return simple(c, STMT_admin_eab_list, NULL, NULL);
}

static int cmd_eab_disable(struct ctl *c, char **argv)
{
    struct db_table t;
    struct err e = ERR_INIT;
    struct db_param p[] = {DB_TEXT(iov_of(argv[0]))};
    if (!ask(c, STMT_admin_eab_disable, p, &t, &e))
        return failed(&e);
    if (t.rows == 0) {
        fprintf(stderr, "porticoctl: no EAB key has the name or kid %s\n", argv[0]);
        return 1;
    }
    if (c->json)
        printf("{\"kid\":\"%s\",\"status\":\"disabled\"}\n", t.cells[0].base);
    else
        printf("%s is disabled: no new accounts, no new orders; pending ones are refused\n", t.cells[0].base);
    return 0;
}

/* ---- issuance ---- */

static int cmd_issuance_list(struct ctl *c, char **argv)
{
    (void)argv;
    struct db_param p[] = {DB_TEXT(iov_of(c->state)), DB_INT(200)};
    return simple(c, STMT_admin_issuances, p, NULL);
}

static int cmd_issuance_show(struct ctl *c, char **argv)
{
    struct db_param p[] = {DB_TEXT(iov_of(argv[0]))};
    return simple(c, STMT_admin_issuance, p, "no issuance, order or certificate has this id");
}

static const struct command {
    const char *word, *sub;
    int args;
    int (*run)(struct ctl *c, char **argv);
} commands[] = {
    {"status", NULL, 0, cmd_status},
    {"backends", NULL, 0, cmd_backends},
    {"eab", "add", 1, cmd_eab_add},
    {"eab", "list", 0, cmd_eab_list},
    {"eab", "disable", 1, cmd_eab_disable},
    {"issuance", "list", 0, cmd_issuance_list},
    {"issuance", "show", 1, cmd_issuance_show},
};

static const struct command *command_of(int argc, char **argv, int *skip_out)
{
    for (size_t i = 0; i < COUNTOF(commands); i++) {
        *skip_out = commands[i].sub != NULL ? 2 : 1;
        if (argc == *skip_out + commands[i].args && strcmp(argv[0], commands[i].word) == 0 &&
            (commands[i].sub == NULL || strcmp(argv[1], commands[i].sub) == 0))
            return &commands[i];
    }
    return NULL;
}

static bool ctl_open(struct ctl *c, struct err *e)
{
    struct conf *conf = conf_load(c->config, c->overrides, c->n_overrides, e);
    c->settings = conf != NULL ? settings_load(conf, e) : NULL;
    c->db = c->settings != NULL ? db_sync_open(c->settings->database_url, e) : NULL;
    return c->db != NULL && migrate_check(c->db, e);
}

static int options_parse(struct ctl *c, int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"json", no_argument, NULL, 'j'}, {"directory", required_argument, NULL, 'd'},
        {"names", required_argument, NULL, 'n'}, {"profiles", required_argument, NULL, 'p'}, {"expires", required_argument, NULL, 'e'},
        {"state", required_argument, NULL, 's'}, {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {NULL, 0, NULL, 0}};
    int o;
    while ((o = getopt_long(argc, argv, "c:o:", options, NULL)) != -1) {
        switch (o) {
        case 'c': c->config = optarg; break;
        case 'j': c->json = true; break;
        case 'd': c->directory = optarg; break;
        case 'n': c->names = optarg; break;
        case 'p': c->profiles = optarg; break;
        case 'e': c->expires = optarg; break;
        case 's': c->state = optarg; break;
        case 'o':
            if (c->n_overrides == COUNTOF(c->overrides))
                return usage("too many -o");
            c->overrides[c->n_overrides++] = optarg;
            break;
        case 'h': printf("%s", usage_text); exit(0);
        case 'V': printf("porticoctl %s\n", PACKAGE_VERSION); exit(0);
        default: return usage("unknown option, or one without its value");
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct ctl c = {.config = "/etc/portico/portico.yaml"};
    struct err e = ERR_INIT;
    int skip, code = options_parse(&c, argc, argv);
    if (code != 0)
        return code;
    argc -= optind;
    argv += optind;
    const struct command *cmd = argc > 0 ? command_of(argc, argv, &skip) : NULL;
    if (cmd == NULL)
        return usage(argc > 0 ? "no such command, or not with these arguments" : "which command?");
    h2o_mem_init_pool(&c.pool);
    code = ctl_open(&c, &e) ? cmd->run(&c, argv + skip) : failed(&e);
    db_sync_close(c.db);
    settings_unref(c.settings);
    h2o_mem_clear_pool(&c.pool);
    return code;
}
