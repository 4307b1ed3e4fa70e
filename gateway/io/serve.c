/* SPDX-License-Identifier: Apache-2.0 */
/* The server's life: sockets opened once, a context per loop, a drain that lets requests in flight finish, a
 * stop that leaves nothing behind. */
#include "io/serve_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "base/log.h"

#define H2_REQUESTS_PER_CONNECTION 32 /* at once in the handlers */
#define STOP_LOOK_MS 10

static void configure(struct serve *s)
{
    h2o_config_init(&s->conf);
    s->conf.server_name = (h2o_iovec_t){H2O_STRLIT("")}; /* no Server header */
    s->conf.max_request_entity_size = s->limits.body_max;
    uint64_t timeout_ms = (uint64_t)s->limits.request_timeout_ms;
    s->conf.handshake_timeout = timeout_ms;
    s->conf.http1.req_timeout = timeout_ms;
    s->conf.http1.upgrade_to_http2 = 0; /* HTTP/2 is by ALPN or not at all */
    s->conf.http2.idle_timeout = timeout_ms;
    s->conf.http2.max_concurrent_requests_per_connection = H2_REQUESTS_PER_CONNECTION;
    h2o_hostconf_t *host = h2o_config_register_host(&s->conf, (h2o_iovec_t){H2O_STRLIT("default")}, 65535);
    serve_req_install(&s->conf, host);
}

static void listening_init(struct serve_listening *l, const struct serve_listener *from)
{
    static const char prefix[] = "unix:";
    *l = (struct serve_listening){.address = strdup(from->address),
                                  .port = from->port,
                                  .tls = from->tls,
                                  .handler = from->handler,
                                  .fd = -1};
    if (strncmp(l->address, prefix, sizeof(prefix) - 1) == 0)
        l->unix_path = l->address + sizeof(prefix) - 1;
}

struct serve *serve_open(const struct serve_config *cfg, struct err *e)
{
    assert(cfg->body_max != 0 && cfg->connections_max != 0 && cfg->request_timeout_ms > 0);
    struct serve *s = base_zalloc(sizeof(*s));
    s->limits = *cfg;
    s->limits.listeners = NULL;
    s->n_listeners = cfg->n_listeners;
    s->listeners = base_zalloc(cfg->n_listeners * sizeof(*s->listeners));
    configure(s);
    if (cfg->connections_per_ip != 0)
        s->ips = serve_ip_new(cfg->connections_per_ip);
    bool ok = true;
    for (size_t i = 0; i < s->n_listeners; i++) {
        struct serve_listening *l = &s->listeners[i];
        listening_init(l, &cfg->listeners[i]);
        ok = ok && serve_listen_open(l, e);
        if (ok)
            log_info("serve.listen", KV_STR("address", l->address), KV_INT("port", l->port),
                     KV_STR("tls", l->tls != NULL ? "yes" : "no"));
        if (ok && l->tls != NULL && cfg->http2)
            serve_tls_offer_http2(l->tls);
    }
    if (ok)
        return s;
    serve_free(s);
    return NULL;
}

unsigned serve_bound_port(const struct serve *s, size_t listener)
{
    return s->listeners[listener].port;
}

void serve_start(struct serve *s, struct loop *l)
{
    struct serve_loop *sl = base_zalloc(sizeof(*sl));
    sl->serve = s;
    sl->loop = l;
    h2o_linklist_init_anchor(&sl->connections);
    h2o_linklist_init_anchor(&sl->requests);
    h2o_context_init(&sl->ctx, loop_evloop(l), &s->conf);
    if (!serve_conn_doors_open(sl)) {
        log_error("serve.start", KV_INT("loop", loop_index(l)), KV_STR("reason", strerror(errno)),
                  KV_STR("fix", "raise the limit of open files (systemd: LimitNOFILE=)"));
        abort();
    }
    /* Other threads ask for the number of connections. */
    __atomic_store_n(&loop_svc(l)->serve, sl, __ATOMIC_RELEASE);
}

static struct serve_loop *of_loop(struct loop *l)
{
    return __atomic_load_n(&loop_svc(l)->serve, __ATOMIC_ACQUIRE);
}

unsigned serve_connections(struct serve *s UNUSED, struct loop *l)
{
    struct serve_loop *sl = of_loop(l);
    return sl != NULL ? atomic_load(&sl->n_connections) : 0;
}

void serve_drain(struct serve *s, struct loop *l)
{
    struct serve_loop *sl = of_loop(l);
    if (sl == NULL || sl->draining)
        return;
    sl->draining = true;
    sl->ctx.shutdown_requested = 1; /* HTTP/1: "Connection: close" on whatever comes */
    serve_conn_doors_close(sl);
    /* The loops' duplicates keep the sockets listening until the last loop drains, this must not. */
    if (!atomic_exchange(&s->draining, true)) {
        for (size_t i = 0; i < s->n_listeners; i++)
            serve_listen_close(&s->listeners[i]);
    }
    serve_conn_close_idle(sl);
    if (sl->sweep.loop != NULL)
        loop_timer_start(l, &sl->sweep, 0, sl->sweep.fire); /* more often from here on */
}

void serve_stop(struct serve *s, struct loop *l)
{
    struct serve_loop *sl = of_loop(l);
    if (sl == NULL)
        return;
    serve_drain(s, l);
    sl->stopping = true;
    serve_req_give_up(sl);
    loop_turn(l, 0); /* sends what can be sent */
    while (!h2o_linklist_is_empty(&sl->connections)) {
        for (h2o_linklist_t *n = sl->connections.next; n != &sl->connections; n = n->next)
            serve_conn_cut(CONTAINER_OF(n, struct serve_conn, link));
        loop_turn(l, STOP_LOOK_MS);
    }
    loop_timer_stop(&sl->sweep);
    __atomic_store_n(&loop_svc(l)->serve, NULL, __ATOMIC_RELEASE);
    h2o_timeout_unlink(
        &sl->ctx.http2._graceful_shutdown_timeout); /* h2o_context_dispose() aborts when it is linked */
    h2o_context_dispose(&sl->ctx);
    loop_turn(l, 0); /* frees what is closed */
    free(sl->doors);
    free(sl);
}

void serve_free(struct serve *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->n_listeners; i++) {
        serve_listen_close(&s->listeners[i]);
        free(s->listeners[i].address);
    }
    free(s->listeners);
    serve_ip_free(s->ips);
    h2o_config_dispose(&s->conf);
    free(s);
}
