/* SPDX-License-Identifier: Apache-2.0 */
/* Reference counting, cancellation and the failure hook of asynchronous work. */
#include "io/task.h"

#include <assert.h>

/* Written on the loop only; io/worker looks at it from its threads to skip what nobody waits for. */
static void set_over(struct task *t)
{
    __atomic_store_n(&t->over, true, __ATOMIC_RELAXED);
}

void task_init(struct task *t, struct loop *l, const char *id,
               void (*on_fail)(struct task *, const struct err *), void (*on_free)(struct task *))
{
    memset(t, 0, sizeof(*t));
    t->loop = l;
    t->refs = 1;
    t->on_fail = on_fail;
    t->on_free = on_free;
    h2o_mem_init_pool(&t->pool);
    size_t len = id != NULL ? strnlen(id, sizeof(t->id) - 1) : 0;
    if (len != 0)
        memcpy(t->id, id, len);
}

void task_ref(struct task *t)
{
    assert(t->refs != 0);
    t->refs++;
}

void task_unref(struct task *t)
{
    assert(t->refs != 0);
    if (--t->refs != 0)
        return;
    if (t->on_free != NULL)
        t->on_free(t);
    else
        task_dispose(t);
}

void task_cancel(struct task *t)
{
    set_over(t);
}

void task_fail(struct task *t, const struct err *e)
{
    if (t->over)
        return;
    set_over(t);
    if (t->on_fail == NULL)
        return;
    task_ref(t); /* the hook may let go of the last reference */
    t->on_fail(t, e);
    task_unref(t);
}

void task_dispose(struct task *t)
{
    h2o_mem_clear_pool(&t->pool);
}
