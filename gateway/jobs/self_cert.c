/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway as a client of its own backend: key and CSR made here, the driver's five answers acted on here. No order
 * and no row stands behind it; a gateway that dies asks for another one. */
#include "jobs/self_cert.h"
#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "io/pki.h"

#define RETRY_MS 5000
#define RENEW_LEAST_S 5 /* however short the CA makes it, or far apart the clocks are */
#define GUARD_MORE_MS 1000 /* a driver's own time-out comes first */
#define RENEW_MOST_MS (24 * 3600 * 1000LL) /* look at least daily: a wall clock may have moved */

struct self_cert {
    struct loop *loop;
    struct self_cert_ask ask;
    pool_t pool;
    bool had_one;
    int64_t renew_at; /* unix seconds */
    struct loop_timer timer;
    struct self_try *try;
};
struct self_try {
    struct issue issue;
    struct self_cert *of; /* NULL: nobody waits any more */
    iov_t key_pem;
};

static void try_start(struct self_cert *c);
static void give_up(struct self_cert *c);

static void on_timer(struct loop_timer *t)
{
    struct self_cert *c = CONTAINER_OF(t, struct self_cert, timer);
    int64_t left_ms = (c->renew_at - clock_unix_s()) * 1000;
    if (c->try != NULL)
        give_up(c);
    else if (c->had_one && left_ms > 0)
        loop_timer_start(c->loop, &c->timer, (uint64_t)(left_ms < RENEW_MOST_MS ? left_ms : RENEW_MOST_MS), on_timer);
    else
        try_start(c);
}

static void again(struct self_cert *c, int64_t in_ms)
{
    loop_timer_start(c->loop, &c->timer, (uint64_t)in_ms, on_timer);
}

static void try_free(struct task *t)
{
    struct self_try *y = CONTAINER_OF(CONTAINER_OF(t, struct issue, task), struct self_try, issue);
    if (y->key_pem.base != NULL)
        pki_wipe(y->key_pem.base, y->key_pem.len);
    task_dispose(t);
    free(y);
}

static void try_leave(struct self_cert *c)
{
    struct self_try *y = c->try;
    c->try = NULL;
    y->of = NULL;
    task_cancel(&y->issue.task);
    task_unref(&y->issue.task);
}

static void failed(struct self_cert *c, const struct err *e)
{
    log_warn("gateway.certificate_failed", KV_STR("backend", backend_common(c->ask.backend)->name), KV_STR("reason", e->detail),
             KV_STR("cause", e->cause));
    if (!c->had_one) {
        c->ask.lost(c->ask.arg, e);
        return;
    }
    again(c, RETRY_MS);
}

static void got(struct self_cert *c, const struct issue_answer *a)
{
    struct self_try *y = c->try;
    pool_t *pool = &y->issue.task.pool;
    struct sbuf pem;
    struct pki_cert cert;
    struct err e = ERR_INIT;
    sbuf_init(&pem, pool);
    for (size_t i = 0; i < a->chain.n; i++)
        sbuf_add(&pem, pki_der_to_pem(pool, "CERTIFICATE", a->chain.v[i]));
    if (!pki_cert_parse(pool, a->chain.v[0], &cert, &e)) {
        failed(c, &e);
        return;
    }
    int64_t now = clock_unix_s();
    int64_t life = cert.not_after - now;
    c->renew_at = now + (life * 2 / 3 > RENEW_LEAST_S ? life * 2 / 3 : RENEW_LEAST_S);
    c->had_one = true;
    log_info("gateway.certificate", KV_STR("backend", backend_common(c->ask.backend)->name), KV_IOV("serial", cert.serial),
             KV_IOV("not_after", clock_rfc3339(pool, cert.not_after)));
    c->ask.got(c->ask.arg, pem.text, y->key_pem);
    again(c, 0);
}

static void on_answered(struct issue *i)
{
    struct self_try *y = CONTAINER_OF(i, struct self_try, issue);
    struct self_cert *c = y->of;
    if (c == NULL)
        return;
    loop_timer_stop(&c->timer);
    if (i->answer->result == ISSUE_DONE) {
        got(c, i->answer);
    } else {
        struct err e = i->answer->err;
        if (i->answer->result == ISSUE_WAIT)
            err_set(&e, 0, "the backend answers later; a gateway's own certificate needs one that answers at once");
        failed(c, &e);
    }
    if (c->try == y)
        try_leave(c);
}

static void on_task_failed(struct task *t, const struct err *e)
{
    struct self_try *y = CONTAINER_OF(CONTAINER_OF(t, struct issue, task), struct self_try, issue);
    struct self_cert *c = y->of;
    if (c == NULL)
        return;
    loop_timer_stop(&c->timer);
    failed(c, e);
    if (c->try == y)
        try_leave(c);
}

/* The driver did not answer; if it ever does, nobody listens. */
static void give_up(struct self_cert *c)
{
    struct err e = ERR_INIT;
    err_set(&e, 0, "the backend did not answer in time");
    try_leave(c);
    failed(c, &e);
}

static struct iovs copy_list(pool_t *pool, const struct iovs *from)
{
    struct iovs to = {0};
    for (size_t i = 0; i < from->n; i++)
        iovs_add(pool, &to, iov_dup(pool, from->v[i]));
    return to;
}

static void try_start(struct self_cert *c)
{
    struct self_try *y = base_zalloc(sizeof(*y));
    struct issue *i = &y->issue;
    struct err e = ERR_INIT;
    task_init(&i->task, c->loop, "own-certificate", on_task_failed, try_free);
    c->try = y;
    y->of = c;
    i->backend = c->ask.backend;
    i->dns = copy_list(&i->task.pool, &c->ask.dns); /* it may outlive c in a driver's hands */
    i->ips = copy_list(&i->task.pool, &c->ask.ips);
    i->profile = "gateway";
    i->lifetime_s = c->ask.lifetime_s;
    i->attempt = 1;
    i->answered = on_answered;
    i->deadline_ms = (int64_t)loop_now_ms(c->loop) + backend_common(c->ask.backend)->timeout_ms;
    const struct backend_driver *d = backend_driver(c->ask.backend);
    if (!pki_make_key_and_csr(&i->task.pool, &i->dns, &i->ips, &y->key_pem, &i->csr_der, &e) ||
        (d->prepare != NULL && !d->prepare(i, &i->prepared, &e))) {
        failed(c, &e);
        try_leave(c);
        return;
    }
    loop_timer_start(c->loop, &c->timer, (uint64_t)(backend_common(c->ask.backend)->timeout_ms + GUARD_MORE_MS), on_timer);
    d->submit(i);
}

struct self_cert *self_cert_start(struct loop *l, const struct self_cert_ask *ask)
{
    struct self_cert *c = base_zalloc(sizeof(*c));
    h2o_mem_init_pool(&c->pool);
    c->loop = l;
    c->ask = *ask;
    c->ask.dns = copy_list(&c->pool, &ask->dns);
    c->ask.ips = copy_list(&c->pool, &ask->ips);
    again(c, 0);
    return c;
}

void self_cert_move(struct self_cert *c, struct loop *l)
{
    loop_timer_stop(&c->timer);
    if (c->try != NULL)
        try_leave(c);
    c->loop = l;
    if (l != NULL)
        again(c, 0);
}

void self_cert_free(struct self_cert *c)
{
    if (c == NULL)
        return;
    loop_timer_stop(&c->timer);
    if (c->try != NULL)
        try_leave(c);
    h2o_mem_clear_pool(&c->pool);
    free(c);
}
