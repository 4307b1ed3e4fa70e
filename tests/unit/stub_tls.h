/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates and TLS servers for tests. */
#ifndef PORTICO_STUB_TLS_H
#define PORTICO_STUB_TLS_H

#include <openssl/ssl.h>

struct stub_tls {
    EVP_PKEY *key;
    X509 *cert;
    char *cert_pem, *key_pem;
};
/* san: "DNS:localhost,IP:127.0.0.1" or NULL. issuer NULL: a self-signed CA. */
void stub_tls_make(struct stub_tls *t, const char *cn, const char *san, const struct stub_tls *issuer);
void stub_tls_free(struct stub_tls *t);
/* client_ca NULL: no client certificate is asked for, else one from it is required. */
SSL_CTX *stub_tls_server(const struct stub_tls *id, const struct stub_tls *client_ca);

#endif
