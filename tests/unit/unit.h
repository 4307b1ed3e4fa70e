/* SPDX-License-Identifier: Apache-2.0 */
/* What every unit test includes: cmocka with its prerequisites, and base. */
#ifndef PORTICO_UNIT_H
#define PORTICO_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/err.h"

#endif
