/* SPDX-License-Identifier: Apache-2.0 */
/* The router: /acme/DIRECTORY/... by endpoint.def; beside it health, metrics and CRLs, which speak no ACME. */
#ifndef PORTICO_HTTP_H
#define PORTICO_HTTP_H

#include "io/serve.h"

/* serve_handler of the listeners. */
void http_handle(struct serve_req *r);
void http_handle_admin(struct serve_req *r);
/* Per loop, on its thread, before and after serving. */
void http_loop_start(struct loop *l);
void http_loop_stop(struct loop *l);

/* What is asked of the process by health and metrics; set before the loops run. */
struct http_env {
    unsigned challenge_mask;                                 /* validation methods that are built in: bits of challenge_type */
    bool (*ready)(struct loop *l, const char **why_not_out); /* why: static text */
    bool (*has_crl)(const char *backend);                    /* a backend whose CRL we sign */
    void (*metrics)(struct sbuf *out);                       /* other parts' metrics, in Prometheus text form */
};
extern struct http_env http_env;

#endif
