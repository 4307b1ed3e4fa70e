/* SPDX-License-Identifier: Apache-2.0 */
/* The loop threads of the gateway, their services, the watchdog. Main thread only. */
#ifndef PORTICO_SERVER_LOOPS_H
#define PORTICO_SERVER_LOOPS_H

#include "backends/backend.h"
#include "server_tls.h"

/* Every backend that a route or a listener names exists. */
bool server_routes_ok(const struct settings *s, struct err *e) MUST_CHECK;
/* Opens the listeners and starts the threads; returns when all of them serve. */
bool server_loops_start(struct settings *s, struct server_tls *tls, struct err *e) MUST_CHECK;
unsigned server_loops_count(void);
/* Once a second: a loop that has not turned for long is reported. */
void server_loops_watch(void);
/* After a reload: resolvers may have changed. */
void server_loops_reload_dns(void);
/* Stops accepting, lets work in flight finish for at most drain_ms, then ends the threads; a loop that hangs then ends the
 * process. */
void server_loops_stop(int64_t drain_ms);

#endif
