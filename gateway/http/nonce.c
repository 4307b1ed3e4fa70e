/* SPDX-License-Identifier: Apache-2.0 */
/* Layout: 8 bytes time (seconds, big-endian), 8 random bytes, 16 bytes of HMAC-SHA256 over both. */
#include "http/nonce.h"
#include "base/b64.h"
#include "io/pki.h"

#define BODY 16
#define MAC 16
#define SLOTS 4
#define SKEW_S 300 /* another gateway's clock may run ahead of ours */

static uint8_t mac_key[32];

void nonce_set_key(iov_t key)
{
    pki_sha256(key, mac_key);
}

static void mac(const uint8_t *body, uint8_t *out)
{
    uint8_t full[64];
    pki_hmac(256, (iov_t){(char *)mac_key, sizeof(mac_key)}, (iov_t){(char *)body, BODY}, full);
    memcpy(out, full, MAC);
}

iov_t nonce_make(pool_t *pool, int64_t now_s)
{
    uint8_t raw[BODY + MAC];
    for (int i = 0; i < 8; i++)
        raw[i] = (uint8_t)((uint64_t)now_s >> (8 * (7 - i)));
    pki_random(raw + 8, 8);
    mac(raw, raw + BODY);
    return b64_encode(pool, (iov_t){(char *)raw, sizeof(raw)});
}

bool nonce_check(pool_t *pool, iov_t nonce, int64_t now_s, int64_t ttl_s, int64_t *slot_out)
{
    iov_t raw;
    uint8_t want[MAC];
    if (!b64_decode(pool, nonce, &raw) || raw.len != BODY + MAC)
        return false;
    mac((const uint8_t *)raw.base, want);
    if (!pki_equal((iov_t){raw.base + BODY, MAC}, (iov_t){(char *)want, MAC}))
        return false;
    uint64_t at = 0;
    for (int i = 0; i < 8; i++)
        at = at << 8 | (uint8_t)raw.base[i];
    *slot_out = (int64_t)(at / 3600 % SLOTS);
    return (int64_t)at <= now_s + SKEW_S && now_s - (int64_t)at <= ttl_s;
}
