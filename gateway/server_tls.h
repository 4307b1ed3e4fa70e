/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTPS certificates of the listeners: from files, or from one of the backends, renewed while serving. */
#ifndef PORTICO_SERVER_TLS_H
#define PORTICO_SERVER_TLS_H

#include "io/serve.h"
#include "jobs/self_cert.h"

struct server_tls;
/* Blocks until every listener with tls has a certificate (those of a backend: at most 15 s). */
struct server_tls *server_tls_start(const struct settings *s, struct err *e) MUST_CHECK;
struct serve_tls *server_tls_of(struct server_tls *t, size_t listener); /* NULL: plain HTTP */
/* Renewals run on this loop from now on, until release (on its thread both). */
void server_tls_adopt(struct server_tls *t, struct loop *l);
void server_tls_release(struct server_tls *t);
/* Reads certificate files again. */
bool server_tls_reload(struct server_tls *t, const struct settings *next, struct err *e) MUST_CHECK;
void server_tls_free(struct server_tls *t);

#endif
