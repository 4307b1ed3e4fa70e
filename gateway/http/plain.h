/* SPDX-License-Identifier: Apache-2.0 */
/* What is not ACME: /health/live, /health/ready, /metrics, /crl/BACKEND.crl. GET and HEAD only. */
#ifndef PORTICO_PLAIN_H
#define PORTICO_PLAIN_H

#include "http/call.h"

enum plain_side { PLAIN_PUBLIC, PLAIN_ADMIN };
/* Answers if the path is one of them; false: not ours. Metrics are served on the admin side only. */
bool plain_route(struct call *c, enum plain_side side);

#endif
