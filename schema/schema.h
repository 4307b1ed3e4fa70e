/* SPDX-License-Identifier: Apache-2.0 */
/* The numbered migrations, embedded at build time (schema/embed.awk) and applied by `porticod --migrate` in
 * order, each in one transaction. */
#ifndef PORTICO_SCHEMA_H
#define PORTICO_SCHEMA_H

#include <stddef.h>

struct schema_migration {
    int number;       /* 1, 2, 3, ... without gaps */
    const char *name; /* "0001_core" */
    const char *sql;
};
extern const struct schema_migration schema_migrations[];
extern const size_t schema_n_migrations;

#endif
