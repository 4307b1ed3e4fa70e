/* SPDX-License-Identifier: Apache-2.0 */
/* A name server for tests on 127.0.0.1, UDP and TCP: a table of records that a test changes while it runs. */
#ifndef PORTICO_STUB_DNS_H
#define PORTICO_STUB_DNS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STUB_DNS_RECORDS 64

struct stub_dns_record {
    char name[256];
    unsigned type;
    uint8_t rdata[4096];
    size_t len;
};

struct stub_dns {
    int udp, tcp;
    unsigned port;
    char address[32];               /* "127.0.0.1:PORT" */
    pthread_t threads[2];
    pthread_mutex_t lock;
    struct stub_dns_record *records;
    size_t n_records;
    struct {
        char name[256];
        int rcode; /* -1: no answer at all; -2: UDP answers are truncated */
    } faults[16];
    size_t n_faults;
    atomic_uint udp_queries, tcp_queries;
    atomic_bool stopping;
};

void stub_dns_start(struct stub_dns *s);
void stub_dns_stop(struct stub_dns *s);
void stub_dns_raw(struct stub_dns *s, const char *name, unsigned type, const void *rdata, size_t len);
void stub_dns_a(struct stub_dns *s, const char *name, const char *address); /* A or AAAA */
void stub_dns_txt(struct stub_dns *s, const char *name, const char *text);  /* strings of up to 255 bytes */
void stub_dns_cname(struct stub_dns *s, const char *name, const char *target);
void stub_dns_fault(struct stub_dns *s, const char *name, int rcode);
/* A name in wire form; its length. */
size_t stub_dns_wire_name(uint8_t *out, const char *name);
/* Forgets every record and fault of a name. */
void stub_dns_clear(struct stub_dns *s, const char *name);

#endif
