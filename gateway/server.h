/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway as a process: from a checked configuration to running loops and back. main.c parses options and calls
 * this. */
#ifndef PORTICO_SERVER_H
#define PORTICO_SERVER_H

#include "policy/settings.h"

struct server_options {
    const char *config;
    const char *const *overrides;
    size_t n_overrides;
    const char *name;     /* of this gateway, for the gateway table; NULL: host name */
    const char *pid_file; /* NULL: none */
};

/* Reads the configuration as options say. */
struct settings *server_settings(const struct server_options *o, struct err *e) MUST_CHECK;
/* Runs until SIGTERM or SIGINT; returns the exit code. */
int server_run(const struct server_options *o);
/* --check: says what would be done; true when all of it would work as far as that can be seen without the database. */
bool server_check(const struct server_options *o);

#endif
