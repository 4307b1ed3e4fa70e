/* SPDX-License-Identifier: Apache-2.0 */
/* The schema's version: migrations applied under an advisory lock, and what a program says to a database that is behind
 * or too far ahead. Blocking; for start-up. */
#ifndef PORTICO_MIGRATE_H
#define PORTICO_MIGRATE_H

#include "io/db.h"

/* Applies what is missing, each migration in one transaction, under a cluster-wide advisory lock. */
bool migrate_apply(struct db_sync *db, unsigned *applied_out, struct err *e) MUST_CHECK;
/* Fits the schema this program? A database may be ahead as long as its recorded minimum allows (rolling upgrades). */
bool migrate_check(struct db_sync *db, struct err *e) MUST_CHECK;

#endif
