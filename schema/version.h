/* SPDX-License-Identifier: Apache-2.0 */
/* The statements about the schema's own version. They run before any migration, so they are no prepared statements. */
#ifndef PORTICO_SCHEMA_VERSION_H
#define PORTICO_SCHEMA_VERSION_H

/* "portico" as a lock key: one migration at a time in a database. */
static const char schema_version_lock[] = "SELECT pg_advisory_lock(8101813435459167087)";
static const char schema_version_unlock[] = "SELECT pg_advisory_unlock(8101813435459167087)";
/* min_program: the lowest last-known migration of a program that may still work on this schema. */
static const char schema_version_make[] = "CREATE TABLE IF NOT EXISTS schema_version ("
                                          "number int8 PRIMARY KEY, name text NOT NULL, "
                                          "min_program int8 NOT NULL DEFAULT 1, "
                                          "applied_at timestamptz NOT NULL DEFAULT clock_timestamp())";
static const char schema_version_read[] =
    "SELECT coalesce(max(number), 0), coalesce(max(min_program), 0) FROM schema_version";
static const char schema_version_add[] = "INSERT INTO schema_version (number, name) VALUES ($1, $2)";

#endif
