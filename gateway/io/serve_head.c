/* SPDX-License-Identifier: Apache-2.0 */
/* What h2o lets pass and RFC 9112 does not: two lengths, a length beside chunks, no Host or two, folded
 * lines. A proxy in front that reads such a head in another way could be made to mix up its clients'
 * requests. Pure. */
#include "io/serve_internal.h"

/* The next line without its end; false when there is none. */
static bool next_line(iov_t *in, iov_t *line_out)
{
    const char *lf = memchr(in->base, '\n', in->len);
    if (lf == NULL)
        return false;
    size_t len = (size_t)(lf - in->base);
    *line_out = (iov_t){in->base, len > 0 && in->base[len - 1] == '\r' ? len - 1 : len};
    in->base += len + 1;
    in->len -= len + 1;
    return true;
}

static iov_t header_name(iov_t line)
{
    const char *colon = memchr(line.base, ':', line.len);
    return (iov_t){line.base, colon != NULL ? (size_t)(colon - line.base) : line.len};
}

const char *serve_head_fault(iov_t bytes, bool http_1_0)
{
    unsigned lengths = 0, encodings = 0, hosts = 0;
    iov_t line;
    do { /* the request line; h2o lets an empty one precede it */
        if (!next_line(&bytes, &line))
            return "the request has no head";
    } while (line.len == 0);
    while (next_line(&bytes, &line) && line.len != 0) {
        if (line.base[0] == ' ' || line.base[0] == '\t')
            return "header lines must not be folded";
        iov_t name = header_name(line);
        lengths += iov_ieq(name, IOV("content-length"));
        encodings += iov_ieq(name, IOV("transfer-encoding"));
        hosts += iov_ieq(name, IOV("host"));
    }
    if (lengths + encodings > 1)
        return "the length of the body must be given once: one Content-Length, or Transfer-Encoding: chunked";
    if (encodings != 0 && http_1_0)
        return "HTTP/1.0 has no Transfer-Encoding";
    if (hosts > 1 || (hosts == 0 && !http_1_0))
        return "exactly one Host header is needed";
    return NULL;
}

static bool skip(iov_t *s, iov_t prefix)
{
    if (s->len < prefix.len || !iov_ieq((iov_t){s->base, prefix.len}, prefix))
        return false;
    s->base += prefix.len;
    s->len -= prefix.len;
    return true;
}

bool serve_head_target(iov_t target, iov_t *authority_out, iov_t *path_out)
{
    *authority_out = IOV_NULL;
    *path_out = target;
    if (target.len != 0 && target.base[0] == '/')
        return true;
    if (!skip(&target, IOV("http://")) && !skip(&target, IOV("https://")))
        return false;
    size_t len = 0;
    while (len < target.len && target.base[len] != '/' && target.base[len] != '?')
        len++;
    *authority_out = (iov_t){target.base, len};
    *path_out = (iov_t){target.base + len, target.len - len};
    return len != 0 && memchr(target.base, '@', len) == NULL;
}
