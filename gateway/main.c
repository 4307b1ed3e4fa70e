/* SPDX-License-Identifier: Apache-2.0 */
/* porticod: options and one-shot commands; everything else is server.c. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "backends/local/init_ca.h"
#include "backends/local/signer.h"
#include "base/log.h"
#include "server.h"
#include "store/migrate.h"

enum { OPT_CHECK = 256, OPT_MIGRATE, OPT_INIT_CA, OPT_NAME, OPT_KEY_TYPE, OPT_SIGNER, OPT_PID_FILE, OPT_LOG_FILE, OPT_GATEWAY_NAME,
       OPT_VERSION, OPT_HELP };

static const char usage_text[] =
    "usage: porticod -c FILE [-o key=value ...]            run the gateway in the foreground\n"
    "       porticod -c FILE [-o key=value ...] --check    say what the configuration means, and what is wrong\n"
    "       porticod -c FILE [-o key=value ...] --migrate  bring the database's schema up to date\n"
    "       porticod --init-ca DIR [--name NAME] [--key-type p256|p384|rsa2048|rsa4096|ed25519]\n"
    "                                                      make a root and an issuing CA in DIR\n"
    "options: --pid-file PATH  --log-file PATH  --gateway-name NAME  --version\n"
    "SIGHUP reloads the configuration, SIGTERM drains and ends. See porticod(8), portico.yaml(5).\n";

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'},          {"check", no_argument, NULL, OPT_CHECK},
    {"migrate", no_argument, NULL, OPT_MIGRATE},       {"init-ca", required_argument, NULL, OPT_INIT_CA},
    {"name", required_argument, NULL, OPT_NAME},       {"key-type", required_argument, NULL, OPT_KEY_TYPE},
    {"signer", no_argument, NULL, OPT_SIGNER},         {"pid-file", required_argument, NULL, OPT_PID_FILE},
    {"log-file", required_argument, NULL, OPT_LOG_FILE}, {"gateway-name", required_argument, NULL, OPT_GATEWAY_NAME},
    {"version", no_argument, NULL, OPT_VERSION},       {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

struct command {
    struct server_options server;
    const char *overrides[256];
    const char *init_ca, *log_file;
    struct local_init init;
    enum { RUN, CHECK, MIGRATE, INIT_CA, SIGNER, VERSION, HELP } what;
};

static int usage(const char *why)
{
    fprintf(stderr, "porticod: %s\n%s", why, usage_text);
    return 2;
}

static bool override_add(struct command *c, const char *text)
{
    if (strchr(text, '=') == NULL || c->server.n_overrides == COUNTOF(c->overrides))
        return false;
    c->overrides[c->server.n_overrides++] = text;
    c->server.overrides = c->overrides;
    return true;
}

/* 0, or the exit code. */
static int parse(struct command *c, int argc, char **argv)
{
    int o;
    while ((o = getopt_long(argc, argv, "c:o:", options, NULL)) != -1) {
        switch (o) {
        case 'c': c->server.config = optarg; break;
        case 'o':
            if (!override_add(c, optarg))
                return usage("-o wants key=value, at most 256 times");
            break;
        case OPT_CHECK: c->what = CHECK; break;
        case OPT_MIGRATE: c->what = MIGRATE; break;
        case OPT_INIT_CA: c->what = INIT_CA; c->init_ca = optarg; break;
        case OPT_NAME: c->init.name = optarg; break;
        case OPT_KEY_TYPE: c->init.key_type = optarg; break;
        case OPT_SIGNER: c->what = SIGNER; break;
        case OPT_PID_FILE: c->server.pid_file = optarg; break;
        case OPT_LOG_FILE: c->log_file = optarg; break;
        case OPT_GATEWAY_NAME: c->server.name = optarg; break;
        case OPT_VERSION: c->what = VERSION; break;
        case OPT_HELP: c->what = HELP; break;
        default: return usage("unknown option, or one without its value");
        }
    }
    if (optind < argc)
        return usage("no arguments are taken beside options");
    if ((c->what == RUN || c->what == CHECK || c->what == MIGRATE) && c->server.config == NULL)
        return usage("-c FILE is missing");
    return 0;
}

static int failed(const struct err *e)
{
    fprintf(stderr, "porticod: %s%s%s\n", e->detail, e->cause[0] != '\0' ? ": " : "", e->cause);
    return 1;
}

static int migrate(const struct command *c)
{
    struct err e = ERR_INIT;
    unsigned applied = 0;
    struct settings *s = server_settings(&c->server, &e);
    struct db_sync *db = s != NULL ? db_sync_open(s->database_url, &e) : NULL;
    bool ok = db != NULL && migrate_apply(db, &applied, &e);
    db_sync_close(db);
    settings_unref(s);
    if (!ok)
        return failed(&e);
    printf("porticod: %u migration%s applied, the schema is up to date\n", applied, applied == 1 ? "" : "s");
    return 0;
}

static int init_ca(const struct command *c)
{
    struct err e = ERR_INIT;
    if (!local_init_ca(c->init_ca, &c->init, &e))
        return failed(&e);
    printf("porticod: made a root and an issuing CA in %s\n", c->init_ca);
    return 0;
}

static bool log_open(const char *path, struct err *e)
{
    if (path == NULL)
        return true;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0)
        return err_set(e, 0, "cannot write the log file %s: %m", path);
    log_init(fd, LOG_LEVEL_INFO);
    return true;
}

int main(int argc, char **argv)
{
    struct command c = {0};
    struct err e = ERR_INIT;
    int code = parse(&c, argc, argv);
    if (code != 0)
        return code;
    if (c.what == SIGNER)
        return signer_main(3);
    if (!log_open(c.log_file, &e))
        return failed(&e);
    switch (c.what) {
    case RUN: return server_run(&c.server);
    case CHECK: return server_check(&c.server) ? 0 : 1;
    case MIGRATE: return migrate(&c);
    case INIT_CA: return init_ca(&c);
    case VERSION: printf("porticod %s\n", PACKAGE_VERSION); return 0;
    default: printf("%s", usage_text); return 0;
    }
}
