/* SPDX-License-Identifier: Apache-2.0 */
/* "Did you mean ...?" by edit distance: insertions, deletions, replacements and swaps of neighbours. */
#include "base/conf_tree.h"

#define WORD_MAX 48 /* longer ones are nobody's typing errors */

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Optimal string alignment; both words are shorter than WORD_MAX. */
static unsigned distance(iov_t a, iov_t b)
{
    unsigned rows[3][WORD_MAX + 1]; /* the last two rows and the one being made */
    for (size_t j = 0; j <= b.len; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a.len; i++) {
        unsigned *now = rows[i % 3], *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= b.len; j++) {
            unsigned differs = a.base[i - 1] != b.base[j - 1];
            now[j] = least(least(up[j], now[j - 1]) + 1, up[j - 1] + differs);
            if (i > 1 && j > 1 && a.base[i - 1] == b.base[j - 2] && a.base[i - 2] == b.base[j - 1])
                now[j] = least(now[j], up2[j - 2] + 1);
        }
    }
    return rows[a.len % 3][b.len];
}

const char *conf_suggest(const char *word, const char *const *words, size_t n)
{
    iov_t meant = iov_of(word);
    const char *best = NULL;
    if (meant.len > WORD_MAX)
        return NULL;
    unsigned most = meant.len < 3 ? 1 : meant.len < 7 ? 2 : 3, best_distance = most + 1;
    for (size_t i = 0; i < n; i++) {
        iov_t w = iov_of(words[i]);
        unsigned d = w.len > WORD_MAX ? most + 1 : distance(meant, w);
        if (d < best_distance && d < w.len) {
            best = words[i];
            best_distance = d;
        }
    }
    return best;
}
