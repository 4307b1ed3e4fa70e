/* SPDX-License-Identifier: Apache-2.0 */
/* What the validation methods share: their table, their one answer, the list of what was tried. */
#include "jobs/validate.h"
#include <assert.h>

const struct validate_method validate_methods[CHALLENGE_TYPES] = {
#define METHOD(id, name, wildcard, ip, run) [CHALLENGE_##id] = {name, wildcard, ip, run},
#include "jobs/validate.def"
#undef METHOD
};

static void on_answer(struct loop_msg *m)
{
    struct validation *v = CONTAINER_OF(m, struct validation, answer.msg);
    if (!v->task.over)
        v->answered(v, v->answer.ok, &v->answer.err);
    task_unref(&v->task);
}

static void answer(struct validation *v)
{
    assert(!v->answer.given);
    v->answer.given = true;
    v->answer.msg.run = on_answer;
    task_ref(&v->task);
    loop_post(v->task.loop, &v->answer.msg);
}

void validation_ok(struct validation *v)
{
    v->answer.ok = true;
    answer(v);
}

void validation_failed(struct validation *v, const struct err *e)
{
    v->answer.err = *e;
    answer(v);
}

json_t *validation_tried(struct validation *v, const char *kind, iov_t what)
{
    json_t *entry = json_object();
    validation_tried_put(entry, kind, what);
    json_array_append_new(v->tried, entry);
    return entry;
}

void validation_tried_put(json_t *entry, const char *key, iov_t value)
{
    if (value.base != NULL)
        json_object_set_new(entry, key, json_str(value));
}
