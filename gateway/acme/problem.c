/* SPDX-License-Identifier: Apache-2.0 */
/* Problem documents: problem.def expanded, and the two JSON forms (to a client, and kept with an order or challenge). */
#include "acme/problem.h"

#include "acme/jws.h"

#define TYPE_PREFIX "urn:ietf:params:acme:error:"
#define INSTANCE_PREFIX "urn:portico:request:"

static const struct {
    const char *type; /* the whole URN */
    int status;
    const char *text;
} table[ACME_PROBLEM_COUNT] = {
#define PROBLEM(id, name, status, text) [ACME_##id] = {TYPE_PREFIX name, status, text},
#include "acme/problem.def"
#undef PROBLEM
};

/* A code from outside the table can only be our own mistake. */
static size_t index_of(int code)
{
    return code >= 0 && code < ACME_PROBLEM_COUNT ? (size_t)code : ACME_SERVER_INTERNAL;
}

int problem_status(int code)
{
    return table[index_of(code)].status;
}

const char *problem_name(int code)
{
    const char *name = table[index_of(code)].type + sizeof(TYPE_PREFIX) - 1;
    return *name == 0 ? NULL : name;
}

const char *problem_type(int code)
{
    return problem_name(code) == NULL ? "about:blank" : table[index_of(code)].type;
}

static void put_type_and_detail(json_t *obj, const struct err *err)
{
    const char *detail = err->detail[0] != 0 ? err->detail : table[index_of(err->code)].text;
    json_object_set_new(obj, "type", json_string(problem_type(err->code)));
    json_object_set_new(obj, "detail", json_str(iov_of(detail)));
}

static json_t *subject_json(const struct subproblem *s)
{
    json_t *id = ident_json(&s->ident);
    if (s->other_type.base != NULL)
        json_object_set_new(id, "type", json_str(s->other_type));
    return id;
}

static void put_subproblems(json_t *obj, const struct problem_doc *doc)
{
    if (doc->n_subs == 0)
        return;
    json_t *list = json_array();
    for (size_t i = 0; i < doc->n_subs; i++) {
        json_t *sub = json_object();
        put_type_and_detail(sub, &doc->subs[i].err);
        if (doc->subs[i].ident.value.base != NULL)
            json_object_set_new(sub, "identifier", subject_json(&doc->subs[i]));
        json_array_append_new(list, sub);
    }
    json_object_set_new(obj, "subproblems", list);
}

json_t *problem_json(const struct problem_doc *doc)
{
    json_t *obj = json_object();
    put_type_and_detail(obj, &doc->err);
    json_object_set_new(obj, "status", json_integer(problem_status(doc->err.code)));
    if (doc->instance.len != 0) {
        json_t *id = json_str(doc->instance); /* UTF-8 whatever the id holds */
        json_object_set_new(obj, "instance", json_sprintf(INSTANCE_PREFIX "%s", json_string_value(id)));
        json_decref(id);
    }
    put_subproblems(obj, doc);
    if (doc->list_algorithms) {
        json_t *list = json_array();
        for (const char *const *name = jws_algorithms; *name != NULL; name++)
            json_array_append_new(list, json_string(*name));
        json_object_set_new(obj, "algorithms", list);
    }
    return obj;
}

iov_t problem_text(pool_t *pool, const struct problem_doc *doc)
{
    json_t *obj = json_object();
    put_type_and_detail(obj, &doc->err);
    put_subproblems(obj, doc);
    iov_t text = json_to_iov(pool, obj);
    json_decref(obj);
    return text;
}
