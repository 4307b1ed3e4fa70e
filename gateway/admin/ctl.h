/* SPDX-License-Identifier: Apache-2.0 */
/* JSON for people: objects as aligned "key  value" lines, lists of objects as tables. */
#ifndef PORTICO_CTL_H
#define PORTICO_CTL_H

#include <stdio.h>
#include "base/json.h"

void ctl_print(FILE *out, const json_t *value);

#endif
