/* SPDX-License-Identifier: Apache-2.0 */
/* Private to settings.c: whether the values of a configuration fit together. */
#ifndef PORTICO_SETTINGS_CHECK_H
#define PORTICO_SETTINGS_CHECK_H

#include "policy/settings.h"

/* Syntax of every text, names that refer to other items, contradictions. False: e says "file:line: what is wrong; what
 * would be right". What is legal but surely not meant is a warning in the log. */
bool settings_check(const struct settings *s, struct err *e) MUST_CHECK;

/* Node of item i of the list under key, for error places: the list may be a scalar, or absent (then the mapping). */
const struct conf_node *settings_check_at(const struct conf_node *map, const char *key, size_t i);
/* "X is not known; choose from ...". Returns false. names ends with NULL. */
bool settings_check_unknown(const struct conf_node *at, const char *what, const char *const *names, struct err *e);

#endif
