/* SPDX-License-Identifier: Apache-2.0 */
/* The answers of a driver. An answer may be given inside the call that asked; what follows from it runs on a later turn
 * of the loop, and not at all when the task is over by then. */
#include "backends/backend.h"

#include <assert.h>
#include <stdlib.h>

const char *const issue_result_names[] = {
    [ISSUE_DONE] = "done",   [ISSUE_WAIT] = "wait",       [ISSUE_REFUSE] = "refuse",
    [ISSUE_RETRY] = "retry", [ISSUE_UNKNOWN] = "unknown", NULL};

/* An issue's answer is the first member of this, in the issue's pool. */
struct given {
    struct issue_answer answer;
    bool final; /* one of the five was said */
};

static struct issue_answer *answer_of(struct issue *i)
{
    if (i->answer == NULL)
        i->answer = &POOL_NEW(&i->task.pool, struct given, 1)->answer;
    assert(!CONTAINER_OF(i->answer, struct given, answer)->final); /* exactly one answer per call */
    return i->answer;
}

struct issue_msg {
    struct loop_msg msg;
    struct issue *issue;
};

static void on_issue_turn(struct loop_msg *m)
{
    struct issue *i = CONTAINER_OF(m, struct issue_msg, msg)->issue;
    free(CONTAINER_OF(m, struct issue_msg, msg));
    if (!i->task.over)
        i->answered(i);
    task_unref(&i->task);
}

static void answer(struct issue *i, enum issue_result result)
{
    struct issue_answer *a = answer_of(i);
    a->result = result;
    CONTAINER_OF(a, struct given, answer)->final = true;
    struct issue_msg *m = base_zalloc(sizeof(*m));
    m->msg.run = on_issue_turn;
    m->issue = i;
    task_ref(&i->task);
    loop_post(i->task.loop, &m->msg);
}

static void answer_err(struct issue *i, enum issue_result result, const struct err *e)
{
    answer_of(i)->err = *e;
    answer(i, result);
}

static struct iovs copied(pool_t *pool, const struct iovs *list)
{
    struct iovs copy = {0};
    for (size_t i = 0; i < list->n; i++)
        iovs_add(pool, &copy, iov_dup(pool, list->v[i]));
    return copy;
}

void issue_done(struct issue *i, const struct iovs *chain_ders)
{
    assert(chain_ders->n > 0);
    answer_of(i)->chain = copied(&i->task.pool, chain_ders);
    answer(i, ISSUE_DONE);
}

void issue_done_alternate(struct issue *i, const struct iovs *issuers_ders)
{
    struct issue_answer *a = answer_of(i);
    struct iovs *chains = POOL_NEW(&i->task.pool, struct iovs, a->alternates.n + 1);
    if (a->alternates.n > 0)
        memcpy(chains, a->alternates.chains, a->alternates.n * sizeof(*chains));
    chains[a->alternates.n++] = copied(&i->task.pool, issuers_ders);
    a->alternates.chains = chains;
}

void issue_wait(struct issue *i, unsigned seconds, iov_t cookie)
{
    struct issue_answer *a = answer_of(i);
    a->wait_s = seconds;
    a->cookie = cookie.base != NULL ? iov_dup(&i->task.pool, cookie) : IOV_NULL;
    answer(i, ISSUE_WAIT);
}

void issue_refuse(struct issue *i, const struct err *e)
{
    answer_err(i, ISSUE_REFUSE, e);
}

void issue_retry(struct issue *i, const struct err *e)
{
    answer_err(i, ISSUE_RETRY, e);
}

void issue_unknown(struct issue *i, const struct err *e)
{
    answer_err(i, ISSUE_UNKNOWN, e);
}

/* ---- revocation ---- */

struct revoke_msg {
    struct loop_msg msg;
    struct revoke *revoke;
};

static void on_revoke_turn(struct loop_msg *m)
{
    struct revoke *r = CONTAINER_OF(m, struct revoke_msg, msg)->revoke;
    free(CONTAINER_OF(m, struct revoke_msg, msg));
    if (!r->task.over)
        r->answered(r);
    task_unref(&r->task);
}

static void revoke_answer(struct revoke *r)
{
    assert(!r->given); /* exactly one answer */
    r->given = true;
    struct revoke_msg *m = base_zalloc(sizeof(*m));
    m->msg.run = on_revoke_turn;
    m->revoke = r;
    task_ref(&r->task);
    loop_post(r->task.loop, &m->msg);
}

void revoke_done(struct revoke *r)
{
    r->result = REVOKE_DONE;
    revoke_answer(r);
}

void revoke_retry(struct revoke *r, const struct err *e)
{
    r->result = REVOKE_RETRY;
    r->err = *e;
    revoke_answer(r);
}

void revoke_refuse(struct revoke *r, const struct err *e)
{
    r->result = REVOKE_REFUSE;
    r->err = *e;
    revoke_answer(r);
}
