/* SPDX-License-Identifier: Apache-2.0 */
/* Heads and targets of requests from strangers: no byte beyond them is read, and what is passed on is what
 * the rules allow. */
#include <assert.h>
#include <stdlib.h>

#include "io/serve_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1); /* at its exact size for the sanitizer, bar one for malloc(0) */
    iov_t bytes = {copy + 1, size}, authority, path;
    if (copy == NULL)
        abort();
    if (size != 0)
        memcpy(bytes.base, data, size);
    for (int old = 0; old < 2; old++) {
        const char *fault = serve_head_fault(bytes, old);
        assert(fault == NULL || fault[0] != '\0');
    }
    if (serve_head_target(bytes, &authority, &path)) {
        assert(path.base + path.len == bytes.base + bytes.len);
        if (authority.base == NULL)
            assert(path.len == bytes.len && path.base[0] == '/');
        else
            assert(authority.len != 0 && authority.base + authority.len == path.base);
    }
    free(copy);
    return 0;
}
