/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates in use. A replacement is a new SSL_CTX: connections keep the one they began with, new ones
 * take the current one under a lock. TLS 1.2 and 1.3, forward secrecy and AEAD only. */
#include "io/serve_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

struct serve_tls {
    pthread_mutex_t lock;
    SSL_CTX *ctx;
    bool http2;
};

/* In the order of preference, as ALPN writes them. */
static const unsigned char offer_h1[] = "\x08http/1.1";
static const unsigned char offer_h2[] = "\x02h2\x08http/1.1";

static int on_alpn(SSL *ssl UNUSED, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *http2)
{
    unsigned char *chosen;
    const unsigned char *offer = http2 != NULL ? offer_h2 : offer_h1;
    unsigned len = (unsigned)(http2 != NULL ? sizeof(offer_h2) : sizeof(offer_h1)) - 1;
    /* RFC 7301 3.2: a client that speaks none of ours must learn it, or it would take our HTTP for its
     * protocol. */
    if (SSL_select_next_proto(&chosen, out_len, offer, len, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* A key with a passphrase must fail, not ask on the terminal. */
static int no_passphrase(char *buf UNUSED, int size UNUSED, int rw UNUSED, void *arg UNUSED)
{
    return 0;
}

/* The newest entry of OpenSSL's queue as the cause. Returns false. */
static bool fail_ossl(struct err *e, const char *detail)
{
    char reason[256];
    unsigned long code = ERR_peek_last_error();
    ERR_error_string_n(code, reason, sizeof(reason));
    ERR_clear_error();
    err_set(e, 0, "%s", detail);
    return code != 0 ? err_cause(e, "%s", reason) : false;
}

static bool use_chain(SSL_CTX *ctx, iov_t pem, struct err *e)
{
    BIO *bio = BIO_new_mem_buf(pem.base, (int)pem.len);
    X509 *cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
    bool ok = cert != NULL && SSL_CTX_use_certificate(ctx, cert) == 1;
    if (cert == NULL)
        fail_ossl(e, "the TLS certificate is not PEM: it must begin with -----BEGIN CERTIFICATE-----");
    else if (!ok)
        fail_ossl(e, "the TLS certificate cannot be used (a key of this type or size is not allowed)");
    X509_free(cert);
    while (ok && (cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL) {
        ok = SSL_CTX_add0_chain_cert(ctx, cert) == 1;
        if (ok)
            continue;
        X509_free(cert);
        fail_ossl(
            e, "a certificate of the TLS chain cannot be used (a key of this type or size is not allowed)");
    }
    if (ok && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        ok = fail_ossl(e, "the TLS certificate file has a broken certificate after the first");
    BIO_free(bio);
    ERR_clear_error();
    return ok;
}

static bool use_key(SSL_CTX *ctx, iov_t pem, struct err *e)
{
    BIO *bio = BIO_new_mem_buf(pem.base, (int)pem.len);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    bool ok = false;
    if (key == NULL)
        fail_ossl(e, "the TLS key is not an unencrypted PEM private key");
    else if (SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1)
        fail_ossl(e, "the TLS certificate and the key do not fit together");
    else
        ok = true;
    EVP_PKEY_free(key);
    BIO_free(bio);
    return ok;
}

static SSL_CTX *ctx_new(iov_t chain_pem, iov_t key_pem, bool http2, struct err *e)
{
    static const unsigned char session_context[] = "portico";
    if (chain_pem.len > INT32_MAX || key_pem.len > INT32_MAX) {
        err_set(e, 0, "the TLS certificate or key is too large");
        return NULL;
    }
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    bool ok = ctx != NULL && SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
              SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1 &&
              SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") == 1 &&
              SSL_CTX_set_session_id_context(ctx, session_context, sizeof(session_context) - 1) == 1 &&
              SSL_CTX_set_num_tickets(ctx, 1) == 1;
    if (!ok) {
        fail_ossl(e, "TLS cannot be set up");
    } else {
        SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE);
        SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
        /* Tickets need no memory here; a cache of sessions would. */
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_alpn_select_cb(ctx, on_alpn, http2 ? (void *)offer_h2 : NULL);
        ok = use_chain(ctx, chain_pem, e) && use_key(ctx, key_pem, e);
    }
    if (ok)
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

struct serve_tls *serve_tls_new(iov_t chain_pem, iov_t key_pem, struct err *e)
{
    SSL_CTX *ctx = ctx_new(chain_pem, key_pem, false, e);
    if (ctx == NULL)
        return NULL;
    struct serve_tls *t = base_zalloc(sizeof(*t));
    pthread_mutex_init(&t->lock, NULL);
    t->ctx = ctx;
    return t;
}

bool serve_tls_replace(struct serve_tls *t, iov_t chain_pem, iov_t key_pem, struct err *e)
{
    SSL_CTX *ctx = ctx_new(chain_pem, key_pem, t->http2, e);
    if (ctx == NULL)
        return false;
    pthread_mutex_lock(&t->lock);
    SSL_CTX *old = t->ctx;
    t->ctx = ctx;
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(old);
    return true;
}

void serve_tls_offer_http2(struct serve_tls *t)
{
    t->http2 = true;
    SSL_CTX_set_alpn_select_cb(t->ctx, on_alpn, (void *)offer_h2);
}

SSL_CTX *serve_tls_ctx(struct serve_tls *t)
{
    pthread_mutex_lock(&t->lock);
    SSL_CTX *ctx = t->ctx;
    SSL_CTX_up_ref(ctx);
    pthread_mutex_unlock(&t->lock);
    return ctx;
}

void serve_tls_free(struct serve_tls *t)
{
    if (t == NULL)
        return;
    SSL_CTX_free(t->ctx);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
