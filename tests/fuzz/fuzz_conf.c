/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a configuration: YAML text, then perhaps a NUL byte and an override. Everything is either
 * refused with a place and a reason, or values lie in the bounds of their rows. Rows that open files are left
 * out. */
#include <stdlib.h>

#include "base/conf_tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const choices[] = {"off", "optional", "required", NULL};

struct values {
    const char *str, *str_def;
    bool flag;
    int64_t number, wait_ms, bytes, any;
    struct conf_list list;
    int choice;
    const struct conf_node *node;
};
static const struct conf_key keys[] = {
    CONF_STR(struct values, str, "str", NULL, ""),
    CONF_STR(struct values, str_def, "str_def", "x", ""),
    CONF_BOOL(struct values, flag, "flag", "true", ""),
    CONF_INT(struct values, number, "number", "5", -10, 65535, ""),
    CONF_INT(struct values, any, "any", NULL, 0, 0, ""),
    CONF_DURATION(struct values, wait_ms, "wait", "10s", 0, 3600000, ""),
    CONF_SIZE(struct values, bytes, "bytes", "64KiB", 1024, 1 << 20, ""),
    CONF_LIST(struct values, list, "list", "a, b", ""),
    CONF_ENUM(struct values, choice, "choice", "optional", choices, ""),
    CONF_NODE(struct values, node, "node", NULL, ""),
    CONF_END,
};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void read_section(struct conf *c, const struct conf_node *map)
{
    struct values v;
    struct err e = ERR_INIT;
    if (!conf_read(c, map, keys, &v, &e)) {
        check(strstr(e.detail, ": ") != NULL);
        return;
    }
    check(v.number >= -10 && v.number <= 65535 && v.wait_ms >= 0 && v.wait_ms <= 3600000);
    check(v.bytes >= 1024 && v.bytes <= 1 << 20 && v.choice >= 0 && v.choice <= 2 && v.str_def != NULL);
    for (size_t i = 0; i < v.list.n; i++)
        check(v.list.v[i] != NULL);
    if (conf_count(v.node) == 0 && conf_text(v.node) == NULL && v.node != NULL)
        read_section(c, v.node);
    for (size_t i = 0; i < conf_count(v.node); i++)
        read_section(c, conf_item(v.node, i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size > 0 ? memchr(data, '\0', size) : NULL;
    size_t len = nul ? (size_t)(nul - data) : size;
    struct err e = ERR_INIT;
    struct conf *c = conf_parse((iov_t){(char *)data, len}, "fuzz.yaml", &e);
    if (c == NULL) {
        check(strncmp(e.detail, "fuzz.yaml:", 10) == 0);
        return 0;
    }
    if (nul != NULL) {
        char *override = conf_tree_text(c, (const char *)nul + 1, size - len - 1);
        if (!conf_override_apply(c, override, "/", &e))
            check(e.detail[0] != '\0');
    }
    read_section(c, conf_root(c));
    conf_free(c);
    return 0;
}
