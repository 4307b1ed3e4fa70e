/* SPDX-License-Identifier: Apache-2.0 */
/* http-01 and dns-01 against real web and name servers on loopback: what passes, and what a failure tells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "io/dns.h"
#include "jobs/validate.h"
#include "stub_dns.h"
#include "stub_http.h"
#include "stub_tls.h"

#define TOKEN "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
#define THUMBPRINT "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
#define KEYAUTH TOKEN "." THUMBPRINT
#define PATH "/.well-known/acme-challenge/" TOKEN

struct site {
    struct stub_http four, six;
    bool has_six;
    char redirect[2048]; /* Location of /redirect and, when set, of the challenge itself */
    unsigned redirect_status;
    char body[70000]; /* of the challenge; status 200 unless set */
    unsigned status;
    bool hang_six;
};

struct attempt {
    struct validation v;
    bool done, ok, gone;
    struct err err;
};

static struct loop *loop;
static struct stub_dns names;
static struct site site;
static struct settings settings;

/* ---- the other side ---- */

static bool serve(struct stub_conn *c, void *arg)
{
    struct site *s = arg;
    if (c->server == &s->six && s->hang_six) {
        stub_http_hang(c);
        return false;
    }
    if (strncmp(c->path, "/hop/", 5) == 0)
        return stub_http_printf(c, "HTTP/1.1 302 Found\r\nLocation: /hop/%d\r\nContent-Length: 0\r\n\r\n",
                                atoi(c->path + 5) + 1);
    if (strcmp(c->path, PATH) == 0 && s->redirect[0] != '\0')
        return stub_http_printf(c, "HTTP/1.1 %u Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n",
                                s->redirect_status, s->redirect);
    if (strcmp(c->path, PATH) != 0 && strcmp(c->path, "/moved") != 0)
        return stub_http_printf(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n<nothing>");
    return stub_http_printf(c, "HTTP/1.1 %u Whatever\r\nContent-Length: %zu\r\n\r\n", s->status,
                            strlen(s->body)) &&
           stub_http_write(c, s->body, strlen(s->body));
}

static int setup(void **state)
{
    (void)state;
    memset(&site, 0, sizeof(site));
    site.status = 200;
    site.redirect_status = 302;
    snprintf(site.body, sizeof(site.body), "%s\n", KEYAUTH);
    assert_true(stub_http_start(&site.four, "127.0.0.1", 0, NULL, serve, &site));
    site.has_six = stub_http_start(&site.six, "::1", site.four.port, NULL, serve, &site);
    stub_dns_start(&names);
    memset(&settings, 0, sizeof(settings));
    settings.validation = (struct settings_validation){
        .http_port = site.four.port, .tls_port = 443, .timeout_ms = 8000, .connect_timeout_ms = 3000};
    loop = loop_new(0);
    fetch_start(loop);
    const char *resolver = names.address;
    struct err e;
    struct dns_config cfg = {.resolvers = &resolver, .n_resolvers = 1, .timeout_ms = 1000};
    assert_true(dns_start(loop, &cfg, &e));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fetch_stop(loop);
    dns_stop(loop);
    loop_turn(loop, 0);
    loop_free(loop);
    stub_dns_stop(&names);
    stub_http_stop(&site.four);
    if (site.has_six)
        stub_http_stop(&site.six);
    return 0;
}

/* ---- one try ---- */

static void on_fail(struct task *t, const struct err *e)
{
    (void)t;
    fail_msg("the task failed: %s", e->detail);
}

static void on_free(struct task *t)
{
    CONTAINER_OF(t, struct attempt, v.task)->gone = true;
}

static void on_answered(struct validation *v, bool ok, const struct err *e)
{
    struct attempt *y = CONTAINER_OF(v, struct attempt, v);
    assert_false(y->done);
    y->done = true;
    y->ok = ok;
    y->err = *e;
}

static void begin(struct attempt *y, enum ident_type type, const char *name)
{
    memset(y, 0, sizeof(*y));
    task_init(&y->v.task, loop, "try", on_fail, on_free);
    y->v.settings = &settings;
    y->v.ident = (struct ident){type, iov_of(name)};
    y->v.token = IOV(TOKEN);
    y->v.key_authorization = IOV(KEYAUTH);
    y->v.tried = json_array();
    y->v.answered = on_answered;
}

static void finish(struct attempt *y, enum challenge_type method)
{
    validate_methods[method].run(&y->v);
    assert_false(y->done); /* on a later turn */
    uint64_t end = clock_mono_ms() + 30000;
    while (!y->done) {
        assert_true(clock_mono_ms() < end);
        loop_turn(loop, 100);
    }
}

static void drop(struct attempt *y)
{
    json_decref(y->v.tried);
    task_unref(&y->v.task);
    uint64_t end = clock_mono_ms() + 20000;
    while (!y->gone && clock_mono_ms() < end) /* look-ups that are not needed any more end quietly */
        loop_turn(loop, 100);
    assert_true(y->gone);
    task_dispose(&y->v.task);
}

static void passes_as(enum challenge_type method, enum ident_type type, const char *name)
{
    struct attempt y;
    begin(&y, type, name);
    finish(&y, method);
    if (!y.ok)
        fail_msg("%s: %s", name, y.err.detail);
    assert_true(json_array_size(y.v.tried) > 0);
    drop(&y);
}

/* texts: NULL-terminated, all of them in the detail. */
struct want {
    int code;
    bool transient;
    const char *texts[8];
};

static void check_failure(struct attempt *y, const struct want *w)
{
    if (y->ok)
        fail_msg("it passed");
    if (y->err.code != w->code || y->v.transient != w->transient)
        fail_msg("code %s, transient %d: %s", problem_name(y->err.code), y->v.transient, y->err.detail);
    for (const char *const *t = w->texts; *t != NULL; t++) {
        if (strstr(y->err.detail, *t) == NULL)
            fail_msg("\"%s\" is not in: %s", *t, y->err.detail);
    }
    assert_null(strstr(y->err.detail, THUMBPRINT)); /* what is expected is not given away */
}

static void fails_as(enum challenge_type method, enum ident_type type, const char *name, const struct want *w)
{
    struct attempt y;
    begin(&y, type, name);
    finish(&y, method);
    check_failure(&y, w);
    drop(&y);
}

static const char *tried_text(const struct attempt *y, size_t i, const char *key)
{
    return json_string_value(json_object_get(json_array_get(y->v.tried, i), key));
}

#define HTTP CHALLENGE_HTTP01
#define DNS CHALLENGE_DNS01

/* ---- http-01 ---- */

static void test_http01_passes(void **state)
{
    (void)state;
    stub_dns_a(&names, "www.test", "127.0.0.1");
    passes_as(HTTP, IDENT_DNS, "www.test");
    passes_as(HTTP, IDENT_DNS, "a.localhost");
    passes_as(HTTP, IDENT_IP, "127.0.0.1");
    if (site.has_six)
        passes_as(HTTP, IDENT_IP, "::1");
    stub_dns_cname(&names, "alias.test", "www.test");
    passes_as(HTTP, IDENT_DNS, "alias.test");
}

static void test_http01_tried(void **state)
{
    (void)state;
    struct attempt y;
    stub_dns_a(&names, "www.test", "127.0.0.1");
    begin(&y, IDENT_DNS, "www.test");
    finish(&y, HTTP);
    char url[256];
    snprintf(url, sizeof(url), "http://www.test:%u%s", site.four.port, PATH);
    assert_int_equal(json_array_size(y.v.tried), 1);
    assert_string_equal(tried_text(&y, 0, "url"), url);
    assert_string_equal(tried_text(&y, 0, "address"), "127.0.0.1");
    assert_string_equal(tried_text(&y, 0, "resolver"), names.address);
    assert_null(tried_text(&y, 0, "error"));
    assert_int_equal(json_integer_value(json_object_get(json_array_get(y.v.tried, 0), "port")),
                     site.four.port);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(y.v.tried, 0), "status")), 200);
    drop(&y);
}

static void test_http01_wrong_answers(void **state)
{
    (void)state;
    stub_dns_a(&names, "www.test", "127.0.0.1");
    char port[32];
    snprintf(port, sizeof(port), "127.0.0.1 port %u", site.four.port);
    const struct {
        unsigned status;
        const char *body, *text;
    } cases[] = {
        {404, "<nothing>", "status 404 and a body that starts \"<nothing>\""},
        {500, "", "status 500 and an empty body"},
        {204, KEYAUTH, "status 204"},
        {200, "", "status 200 and an empty body"},
        {200, "hello\x01\x1b[2J", "\"hello??[2J\""},
        {200, " " KEYAUTH, "the token, a dot and the thumbprint"},
        {200, TOKEN, "wanted is the key authorization"},
        {200, TOKEN ".another-thumbprint", "the token is right"},
        {302, "", "status 302"}, /* without Location */
        {304, "", "status 304"},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct want w = {
            ACME_INCORRECT_RESPONSE,
            false,
            {"http-01 for www.test: http://www.test:", PATH, port, names.address, cases[i].text}};
        site.status = cases[i].status;
        if (cases[i].status == 204 || cases[i].status == 304)
            w.texts[4] = cases[i].text;
        if (strstr(cases[i].body, THUMBPRINT) != NULL) { /* the body shown is the client's own then */
            site.body[0] = '\0';
            snprintf(site.body, sizeof(site.body), "%.40s", cases[i].body);
        } else {
            snprintf(site.body, sizeof(site.body), "%s", cases[i].body);
        }
        fails_as(HTTP, IDENT_DNS, "www.test", &w);
    }
}

static void test_http01_white_space_and_size(void **state)
{
    (void)state;
    static const char *const tails[] = {"", "\n", "\r\n", " \t\r\n\v\f\n"};
    for (size_t i = 0; i < COUNTOF(tails); i++) {
        snprintf(site.body, sizeof(site.body), "%s%s", KEYAUTH, tails[i]);
        passes_as(HTTP, IDENT_IP, "127.0.0.1");
    }
    struct want w = {ACME_INCORRECT_RESPONSE, false, {"65536 bytes or more"}};
    memset(site.body, '\n', sizeof(site.body) - 1);
    memcpy(site.body, TOKEN, strlen(TOKEN));
    fails_as(HTTP, IDENT_IP, "127.0.0.1", &w);
}

static void test_http01_dns_failures(void **state)
{
    (void)state;
    stub_dns_fault(&names, "servfail.test", 2);
    stub_dns_fault(&names, "silent.test", -1);
    stub_dns_txt(&names, "empty.test", "x");
    const struct {
        const char *name;
        struct want w;
    } cases[] = {
        {"no.test",
         {ACME_DNS, false, {"http-01 for no.test", "AAAA: NXDOMAIN", "; A: NXDOMAIN", names.address}}},
        {"empty.test", {ACME_DNS, false, {"AAAA: no such record", "A: no such record"}}},
        {"servfail.test", {ACME_DNS, true, {"SERVFAIL", names.address}}},
        {"silent.test", {ACME_DNS, true, {"no answer within 1000 ms", names.address}}},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++)
        fails_as(HTTP, IDENT_DNS, cases[i].name, &cases[i].w);
    struct attempt y;
    begin(&y, IDENT_DNS, "no.test");
    finish(&y, HTTP);
    assert_int_equal(json_array_size(y.v.tried), 2);
    assert_string_equal(tried_text(&y, 0, "record"), "no.test AAAA");
    assert_string_equal(tried_text(&y, 1, "record"), "no.test A");
    drop(&y);
}

/* A name server that fails for one family does not hide the other. */
static void test_http01_half_dns(void **state)
{
    (void)state;
    stub_dns_a(&names, "www.test", "127.0.0.1");
    stub_dns_raw(&names, "www.test", DNS_AAAA, "short", 5);
    passes_as(HTTP, IDENT_DNS, "www.test");
}

static void test_http01_no_connection(void **state)
{
    (void)state;
    struct stub_http gone;
    assert_true(stub_http_start(&gone, "127.0.0.1", 0, NULL, serve, &site));
    stub_http_stop(&gone);
    settings.validation.http_port = gone.port;
    stub_dns_a(&names, "www.test", "127.0.0.1");
    char where[64];
    snprintf(where, sizeof(where), "127.0.0.1 port %u: Connection refused", gone.port);
    struct want w = {
        ACME_CONNECTION, true, {"http-01 for www.test: http://www.test:", PATH, where, names.address}};
    fails_as(HTTP, IDENT_DNS, "www.test", &w);
    stub_dns_a(&names, "www.test", "127.0.0.2"); /* every address is named */
    w.texts[2] = "Connection refused; 127.0.0.";
    w.texts[3] = "127.0.0.2 port";
    fails_as(HTTP, IDENT_DNS, "www.test", &w);
}

static void test_http01_v6_first_then_v4(void **state)
{
    (void)state;
    if (!site.has_six)
        skip();
    struct attempt y;
    stub_dns_a(&names, "both.test", "127.0.0.1");
    stub_dns_a(&names, "both.test", "::1");
    begin(&y, IDENT_DNS, "both.test");
    finish(&y, HTTP);
    assert_true(y.ok);
    assert_int_equal(json_array_size(y.v.tried), 1);
    assert_string_equal(tried_text(&y, 0, "address"), "::1");
    drop(&y);
    /* A server that takes the connection and says nothing leaves time for the other family. */
    site.hang_six = true;
    settings.validation.timeout_ms = 1000;
    begin(&y, IDENT_DNS, "both.test");
    finish(&y, HTTP);
    if (!y.ok)
        fail_msg("%s", y.err.detail);
    assert_int_equal(json_array_size(y.v.tried), 2);
    assert_string_equal(tried_text(&y, 0, "address"), "::1");
    assert_non_null(tried_text(&y, 0, "error"));
    assert_string_equal(tried_text(&y, 1, "address"), "127.0.0.1");
    assert_null(tried_text(&y, 1, "error"));
    drop(&y);
    /* Nothing listens on the other family's address. */
    stub_dns_a(&names, "dead6.test", "127.0.0.1");
    stub_dns_a(&names, "dead6.test", "::2");
    passes_as(HTTP, IDENT_DNS, "dead6.test");
}

static void test_http01_wrong_answer_is_final(void **state)
{
    (void)state;
    if (!site.has_six)
        skip();
    stub_dns_a(&names, "both.test", "127.0.0.1");
    stub_dns_a(&names, "both.test", "::1");
    site.status = 404;
    struct attempt y;
    begin(&y, IDENT_DNS, "both.test");
    finish(&y, HTTP);
    assert_false(y.ok);
    assert_int_equal(json_array_size(y.v.tried), 1);
    drop(&y);
}

static void test_http01_timeout(void **state)
{
    (void)state;
    if (!site.has_six)
        skip();
    site.hang_six = true;
    settings.validation.timeout_ms = 500;
    struct want w = {ACME_CONNECTION, true, {"[::1]", "connected, but no whole answer in"}};
    uint64_t before = clock_mono_ms();
    fails_as(HTTP, IDENT_IP, "::1", &w);
    assert_true(clock_mono_ms() - before < 5000);
}

static void test_http01_redirects(void **state)
{
    (void)state;
    stub_dns_a(&names, "www.test", "127.0.0.1");
    stub_dns_a(&names, "other.test", "127.0.0.1");
    static const char *const good[] = {"/moved", "//other.test:%u/moved", "http://other.test:%u/moved",
                                       "http://127.0.0.1:%u/moved", "http://x.localhost:%u/moved#fragment"};
    static const unsigned statuses[] = {301, 302, 303, 307, 308};
    for (size_t i = 0; i < COUNTOF(good); i++) {
        char *at = site.redirect;
        const char *mark = strstr(good[i], "%u");
        if (mark != NULL)
            snprintf(at, sizeof(site.redirect), "%.*s%u%s", (int)(mark - good[i]), good[i], site.four.port,
                     mark + 2);
        else
            snprintf(at, sizeof(site.redirect), "%s", good[i]);
        site.redirect_status = statuses[i];
        passes_as(HTTP, IDENT_DNS, "www.test");
    }
    const struct {
        const char *location;
        struct want w;
    } bad[] = {
        {"ftp://other.test/",
         {ACME_INCORRECT_RESPONSE, false, {"status", "ftp://other.test/", "neither http nor https"}}},
        {"file:///etc/passwd", {ACME_INCORRECT_RESPONSE, false, {"file:///etc/passwd"}}},
        {"http://u:p@other.test/moved", {ACME_INCORRECT_RESPONSE, false, {"not followed"}}},
        {"http://other.test:22/moved",
         {ACME_INCORRECT_RESPONSE, false, {"its port 22", names.address, "www.test"}}},
        {"http://gone.test/moved", {ACME_DNS, false, {"gone.test", "NXDOMAIN", "after 1 redirect"}}},
        {"/elsewhere", {ACME_INCORRECT_RESPONSE, false, {"/elsewhere (after 1 redirect)", "status 404"}}},
        {"/hop/1",
         {ACME_INCORRECT_RESPONSE, false, {"one redirect more than the 10", "/hop/10 (after 10 redirects)"}}},
    };
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        struct want w = bad[i].w;
        if (i < 2)
            w.texts[0] = "redirect to";
        snprintf(site.redirect, sizeof(site.redirect), "%s", bad[i].location);
        fails_as(HTTP, IDENT_DNS, "www.test", &w);
    }
    settings.validation.tls_port = 1;
    struct want w = {ACME_CONNECTION, true, {"after 1 redirect", "127.0.0.1 port 1: Connection refused"}};
    snprintf(site.redirect, sizeof(site.redirect), "https://127.0.0.1:1/");
    fails_as(HTTP, IDENT_DNS, "www.test", &w);
}

static void test_http01_redirect_to_https(void **state)
{
    (void)state;
    struct stub_tls id;
    struct stub_http tls;
    stub_tls_make(&id, "nobody knows me", NULL, NULL);
    SSL_CTX *ctx = stub_tls_server(&id, NULL);
    assert_true(stub_http_start(&tls, "127.0.0.1", 0, ctx, serve, &site));
    settings.validation.tls_port = tls.port;
    stub_dns_a(&names, "www.test", "127.0.0.1");
    snprintf(site.redirect, sizeof(site.redirect), "https://www.test:%u/moved", tls.port);
    passes_as(HTTP, IDENT_DNS, "www.test");
    snprintf(site.redirect, sizeof(site.redirect), "https://www.test:%u/moved", site.four.port);
    settings.validation.http_port = site.four.port;
    settings.validation.connect_timeout_ms = 300;
    struct want w = {ACME_CONNECTION, true, {"after 1 redirect", "no TLS handshake within 300 ms"}};
    fails_as(HTTP, IDENT_DNS, "www.test", &w);
    settings.validation.connect_timeout_ms = 3000;
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(ctx, ""); /* a server that can agree on nothing */
    snprintf(site.redirect, sizeof(site.redirect), "https://www.test:%u/moved", tls.port);
    w = (struct want){ACME_TLS, false, {"after 1 redirect", "127.0.0.1 port", names.address}};
    fails_as(HTTP, IDENT_DNS, "www.test", &w);
    stub_http_stop(&tls);
    SSL_CTX_free(ctx);
    stub_tls_free(&id);
}

static void test_http01_denied(void **state)
{
    (void)state;
    static const char *const deny[] = {"127.0.0.0/8", "::1/128"}, *const allow[] = {"127.0.0.1"};
    struct err e;
    struct netset *all = netset_parse(deny, 2, &e), *some = netset_parse_except(deny, 2, allow, 1, &e);
    assert_true(all != NULL && some != NULL);
    stub_dns_a(&names, "www.test", "127.0.0.1");
    static const struct {
        enum ident_type type;
        const char *name;
    } targets[] = {
        {IDENT_DNS, "www.test"}, {IDENT_DNS, "a.localhost"}, {IDENT_IP, "127.0.0.1"}, {IDENT_IP, "::1"}};
    const struct want w = {ACME_CONNECTION, false, {"validation.deny has", "/", "validation.allow"}};
    struct attempt y;
    for (size_t i = 0; i < COUNTOF(targets); i++) {
        begin(&y, targets[i].type, targets[i].name);
        y.v.deny = all;
        finish(&y, HTTP);
        check_failure(&y, &w);
        drop(&y);
    }
    assert_int_equal(site.four.connections, 0);
    /* Taken out of the list it works, but not where a redirect leads beyond that. */
    begin(&y, IDENT_DNS, "www.test");
    y.v.deny = some;
    finish(&y, HTTP);
    assert_true(y.ok);
    drop(&y);
    stub_dns_a(&names, "inner.test", "127.0.0.2");
    snprintf(site.redirect, sizeof(site.redirect), "http://inner.test:%u/moved", site.four.port);
    const struct want inner = {
        ACME_CONNECTION, false, {"inner.test", "127.0.0.2", "validation.deny has 127.0.0.0/8"}};
    begin(&y, IDENT_DNS, "www.test");
    y.v.deny = some;
    finish(&y, HTTP);
    check_failure(&y, &inner);
    drop(&y);
    netset_free(all);
    netset_free(some);
}

/* An over-long answer of a name server makes a scanner of nobody. */
static void test_http01_many_addresses(void **state)
{
    (void)state;
    settings.validation.http_port = 1;
    for (unsigned i = 1; i <= 30; i++) {
        char address[32];
        snprintf(address, sizeof(address), "127.0.0.%u", i);
        stub_dns_a(&names, "many.test", address);
    }
    struct attempt y;
    begin(&y, IDENT_DNS, "many.test");
    finish(&y, HTTP);
    assert_false(y.ok);
    assert_int_equal(json_array_size(y.v.tried), 4);
    drop(&y);
}

/* ---- dns-01 ---- */

static void add_right_record(const char *name)
{
    pool_t pool;
    h2o_mem_init_pool(&pool);
    stub_dns_txt(&names, name, validate_dns01_value(&pool, IOV(KEYAUTH)).base);
    h2o_mem_clear_pool(&pool);
}

static void test_dns01_value(void **state)
{
    (void)state;
    pool_t pool;
    h2o_mem_init_pool(&pool);
    /* printf %s KEYAUTH | openssl dgst -sha256 -binary | basenc --base64url | tr -d = */
    assert_true(iov_is(validate_dns01_value(&pool, IOV("token.thumbprint")),
                       "61rBZ_4knHblO0MNoxFsXZ_eTFUHum0B6IVRbhvUn5I"));
    h2o_mem_clear_pool(&pool);
}

static void test_dns01_passes(void **state)
{
    (void)state;
    add_right_record("_acme-challenge.www.test");
    passes_as(DNS, IDENT_DNS, "www.test");
    stub_dns_txt(&names, "_acme-challenge.many.test", "something else");
    stub_dns_txt(&names, "_acme-challenge.many.test", "v=spf1 -all");
    add_right_record("_acme-challenge.many.test");
    passes_as(DNS, IDENT_DNS, "many.test");
    stub_dns_cname(&names, "_acme-challenge.alias.test", "_acme-challenge.www.test");
    passes_as(DNS, IDENT_DNS, "alias.test");
    add_right_record("_acme-challenge.a.localhost");
    passes_as(DNS, IDENT_DNS, "a.localhost");
    stub_dns_fault(&names, "_acme-challenge.www.test", -2); /* over TCP */
    passes_as(DNS, IDENT_DNS, "www.test");
}

static void test_dns01_failures(void **state)
{
    (void)state;
    stub_dns_txt(&names, "_acme-challenge.wrong.test", "hello\x01");
    stub_dns_txt(&names, "_acme-challenge.wrong.test", "two");
    stub_dns_cname(&names, "_acme-challenge.alias.test", "_acme-challenge.wrong.test");
    stub_dns_a(&names, "_acme-challenge.nodata.test", "192.0.2.1");
    stub_dns_fault(&names, "_acme-challenge.servfail.test", 2);
    stub_dns_fault(&names, "_acme-challenge.silent.test", -1);
    char longest[260] = "";
    for (unsigned i = 0; i < 4; i++)
        snprintf(longest + i * 62, 63, "%061u.", i);
    const struct {
        const char *name;
        struct want w;
    } cases[] = {
        {"wrong.test",
         {ACME_INCORRECT_RESPONSE,
          false,
          {"dns-01 for wrong.test: TXT _acme-challenge.wrong.test has 2 records", "the first is",
           names.address}}},
        {"alias.test", {ACME_INCORRECT_RESPONSE, false, {"through CNAME to _acme-challenge.wrong.test"}}},
        {"no.test",
         {ACME_DNS,
          false,
          {"_acme-challenge.no.test", "the name does not exist", "NXDOMAIN", names.address}}},
        {"nodata.test", {ACME_DNS, false, {"the name exists but has no TXT record", names.address}}},
        {"servfail.test", {ACME_DNS, true, {"the look-up failed", "SERVFAIL", names.address}}},
        {"silent.test", {ACME_DNS, true, {"the look-up failed", "no answer within 1000 ms", names.address}}},
        {longest, {ACME_DNS, false, {"253"}}},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++)
        fails_as(DNS, IDENT_DNS, cases[i].name, &cases[i].w);
    const struct want ip = {ACME_INCORRECT_RESPONSE, false, {"127.0.0.1", "RFC 8738"}};
    fails_as(DNS, IDENT_IP, "127.0.0.1", &ip);
}

/* ---- the table, and a task that goes away ---- */

static void test_table(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CHALLENGE_TYPES; i++)
        assert_non_null(validate_methods[i].name);
    assert_string_equal(validate_methods[CHALLENGE_HTTP01].name, "http-01");
    assert_true(validate_methods[CHALLENGE_HTTP01].ip && !validate_methods[CHALLENGE_HTTP01].wildcard);
    assert_string_equal(validate_methods[CHALLENGE_DNS01].name, "dns-01");
    assert_true(!validate_methods[CHALLENGE_DNS01].ip && validate_methods[CHALLENGE_DNS01].wildcard);
    assert_string_equal(validate_methods[CHALLENGE_TLSALPN01].name, "tls-alpn-01");
    assert_null(validate_methods[CHALLENGE_TLSALPN01].run);
}

static void test_cancelled(void **state)
{
    (void)state;
    struct attempt y;
    stub_dns_a(&names, "www.test", "127.0.0.1");
    static const enum challenge_type methods[] = {HTTP, DNS};
    for (size_t i = 0; i < COUNTOF(methods); i++) {
        begin(&y, IDENT_DNS, "www.test");
        validate_methods[methods[i]].run(&y.v);
        task_cancel(&y.v.task);
        drop(&y);
        assert_false(y.done);
    }
}

int main(void)
{
#define WITH_SITE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_SITE(test_http01_passes),
        WITH_SITE(test_http01_tried),
        WITH_SITE(test_http01_wrong_answers),
        WITH_SITE(test_http01_white_space_and_size),
        WITH_SITE(test_http01_dns_failures),
        WITH_SITE(test_http01_half_dns),
        WITH_SITE(test_http01_no_connection),
        WITH_SITE(test_http01_v6_first_then_v4),
        WITH_SITE(test_http01_wrong_answer_is_final),
        WITH_SITE(test_http01_timeout),
        WITH_SITE(test_http01_redirects),
        WITH_SITE(test_http01_redirect_to_https),
        WITH_SITE(test_http01_denied),
        WITH_SITE(test_http01_many_addresses),
        cmocka_unit_test(test_dns01_value),
        WITH_SITE(test_dns01_passes),
        WITH_SITE(test_dns01_failures),
        cmocka_unit_test(test_table),
        WITH_SITE(test_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
