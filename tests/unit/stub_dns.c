/* SPDX-License-Identifier: Apache-2.0 */
#include "stub_dns.h"
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TYPE_A = 1, TYPE_CNAME = 5, TYPE_TXT = 16, TYPE_AAAA = 28, TYPE_RRSIG = 46 };

size_t stub_dns_wire_name(uint8_t *out, const char *name)
{
    size_t n = 0;
    while (*name != '\0') {
        size_t len = strcspn(name, ".");
        out[n++] = (uint8_t)len;
        memcpy(out + n, name, len);
        n += len;
        name += len + (name[len] == '.');
    }
    out[n++] = 0;
    return n;
}

static size_t get_name(const uint8_t *msg, size_t len, size_t at, char out[256])
{
    size_t n = 0;
    while (at < len && msg[at] != 0 && n + msg[at] + 1 < 255) {
        if (n > 0)
            out[n++] = '.';
        memcpy(out + n, msg + at + 1, msg[at]);
        n += msg[at];
        at += msg[at] + 1u;
    }
    out[n] = '\0';
    return at + 1;
}

static void put16(uint8_t *out, unsigned v)
{
    out[0] = (uint8_t)(v >> 8);
    out[1] = (uint8_t)v;
}

static size_t put_record(uint8_t *out, const struct stub_dns_record *r)
{
    size_t n = stub_dns_wire_name(out, r->name);
    put16(out + n, r->type);
    put16(out + n + 2, 1);
    memcpy(out + n + 4, "\0\0\x0e\x10", 4); /* an hour: whoever caches is found out */
    put16(out + n + 8, (unsigned)r->len);
    memcpy(out + n + 10, r->rdata, r->len);
    return n + 10 + r->len;
}

static int fault_of(const struct stub_dns *s, const char *name)
{
    for (size_t i = 0; i < s->n_faults; i++) {
        if (strcasecmp(s->faults[i].name, name) == 0)
            return s->faults[i].rcode;
    }
    return 0;
}

/* Length of the answer in out; 0: none. */
static size_t answer(struct stub_dns *s, const uint8_t *q, size_t len, uint8_t *out, bool tcp)
{
    char name[256];
    if (len < 17)
        return 0;
    size_t end = get_name(q, len, 12, name) + 4, n = end;
    unsigned type = (unsigned)q[end - 4] << 8 | q[end - 3], answers = 0;
    memcpy(out, q, end);
    memset(out + 4, 0, 8);
    out[2] = 0x84 | (q[2] & 1);
    out[3] = 0x80;
    put16(out + 4, 1);
    pthread_mutex_lock(&s->lock);
    int rcode = fault_of(s, name);
    bool exists = false, cut = rcode == -2 && !tcp;
    for (size_t i = 0; i < s->n_records && !cut; i++) {
        const struct stub_dns_record *r = &s->records[i];
        if (strcasecmp(r->name, name) != 0)
            continue;
        exists = true;
        bool covers = r->type == TYPE_RRSIG && ((unsigned)r->rdata[0] << 8 | r->rdata[1]) == type;
        if (r->type == type || r->type == TYPE_CNAME || covers) {
            n += put_record(out + n, r);
            answers++;
        }
    }
    pthread_mutex_unlock(&s->lock);
    put16(out + 6, answers);
    if (cut)
        out[2] |= 2;
    else if (rcode > 0)
        out[3] |= (uint8_t)rcode;
    else if (!exists)
        out[3] |= 3;
    return rcode == -1 ? 0 : n;
}

static void *udp_main(void *arg)
{
    struct stub_dns *s = arg;
    uint8_t in[4096], *out = malloc(1 << 17);
    for (;;) {
        struct sockaddr_in from;
        socklen_t flen = sizeof(from);
        ssize_t n = recvfrom(s->udp, in, sizeof(in), 0, (struct sockaddr *)&from, &flen);
        if (atomic_load(&s->stopping))
            break;
        if (n <= 0)
            continue;
        atomic_fetch_add(&s->udp_queries, 1);
        size_t len = answer(s, in, (size_t)n, out, false);
        if (len > 0)
            sendto(s->udp, out, len, 0, (struct sockaddr *)&from, flen);
    }
    free(out);
    return NULL;
}

static void *tcp_main(void *arg)
{
    struct stub_dns *s = arg;
    uint8_t in[4096], *out = malloc(1 << 17);
    for (;;) {
        int fd = accept(s->tcp, NULL, NULL);
        if (fd < 0 || atomic_load(&s->stopping)) {
            if (fd >= 0)
                close(fd);
            break;
        }
        ssize_t n = recv(fd, in, 2, MSG_WAITALL);
        size_t want = n == 2 ? (size_t)in[0] << 8 | in[1] : 0;
        if (want > 0 && want <= sizeof(in) && recv(fd, in, want, MSG_WAITALL) == (ssize_t)want) {
            atomic_fetch_add(&s->tcp_queries, 1);
            size_t len = answer(s, in, want, out + 2, true);
            put16(out, (unsigned)len);
            if (len > 0 && send(fd, out, len + 2, MSG_NOSIGNAL) < 0)
                perror("stub_dns");
        }
        close(fd);
    }
    free(out);
    return NULL;
}

void stub_dns_start(struct stub_dns *s)
{
    memset(s, 0, sizeof(*s));
    pthread_mutex_init(&s->lock, NULL);
    s->records = calloc(STUB_DNS_RECORDS, sizeof(*s->records));
    for (;;) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(a);
        s->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        s->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(s->udp, (struct sockaddr *)&a, sizeof(a)) == 0 &&
            getsockname(s->udp, (struct sockaddr *)&a, &len) == 0 &&
            bind(s->tcp, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(s->tcp, 16) == 0) {
            s->port = ntohs(a.sin_port);
            break;
        }
        close(s->udp);
        close(s->tcp);
    }
    snprintf(s->address, sizeof(s->address), "127.0.0.1:%u", s->port);
    pthread_create(&s->threads[0], NULL, udp_main, s);
    pthread_create(&s->threads[1], NULL, tcp_main, s);
}

void stub_dns_stop(struct stub_dns *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)s->port)};
    atomic_store(&s->stopping, true);
    shutdown(s->tcp, SHUT_RDWR);
    sendto(s->udp, "", 1, 0, (struct sockaddr *)&a, sizeof(a));
    pthread_join(s->threads[0], NULL);
    pthread_join(s->threads[1], NULL);
    close(s->udp);
    close(s->tcp);
    free(s->records);
    pthread_mutex_destroy(&s->lock);
}

void stub_dns_raw(struct stub_dns *s, const char *name, unsigned type, const void *rdata, size_t len)
{
    pthread_mutex_lock(&s->lock);
    assert(s->n_records < STUB_DNS_RECORDS);
    struct stub_dns_record *r = &s->records[s->n_records++];
    snprintf(r->name, sizeof(r->name), "%s", name);
    r->type = type;
    assert(len <= sizeof(r->rdata));
    memcpy(r->rdata, rdata, len);
    r->len = len;
    pthread_mutex_unlock(&s->lock);
}

void stub_dns_a(struct stub_dns *s, const char *name, const char *address)
{
    uint8_t bytes[16];
    if (inet_pton(AF_INET, address, bytes) == 1) {
        stub_dns_raw(s, name, TYPE_A, bytes, 4);
        return;
    }
    assert(inet_pton(AF_INET6, address, bytes) == 1);
    stub_dns_raw(s, name, TYPE_AAAA, bytes, 16);
}

void stub_dns_txt(struct stub_dns *s, const char *name, const char *text)
{
    uint8_t rdata[4096];
    size_t n = 0, left = strlen(text);
    do {
        size_t len = left > 255 ? 255 : left;
        assert(n + len < sizeof(rdata));
        rdata[n++] = (uint8_t)len;
        memcpy(rdata + n, text, len);
        n += len;
        text += len;
        left -= len;
    } while (left > 0);
    stub_dns_raw(s, name, TYPE_TXT, rdata, n);
}

void stub_dns_cname(struct stub_dns *s, const char *name, const char *target)
{
    uint8_t rdata[300];
    stub_dns_raw(s, name, TYPE_CNAME, rdata, stub_dns_wire_name(rdata, target));
}

void stub_dns_fault(struct stub_dns *s, const char *name, int rcode)
{
    pthread_mutex_lock(&s->lock);
    assert(s->n_faults < sizeof(s->faults) / sizeof(*s->faults));
    snprintf(s->faults[s->n_faults].name, sizeof(s->faults[0].name), "%s", name);
    s->faults[s->n_faults++].rcode = rcode;
    pthread_mutex_unlock(&s->lock);
}

void stub_dns_clear(struct stub_dns *s, const char *name)
{
    pthread_mutex_lock(&s->lock);
    size_t kept = 0;
    for (size_t i = 0; i < s->n_records; i++) {
        if (strcasecmp(s->records[i].name, name) != 0)
            s->records[kept++] = s->records[i];
    }
    s->n_records = kept;
    for (size_t i = 0; i < s->n_faults; i++) {
        if (strcasecmp(s->faults[i].name, name) == 0)
            s->faults[i].name[0] = '\1';
    }
    pthread_mutex_unlock(&s->lock);
}
