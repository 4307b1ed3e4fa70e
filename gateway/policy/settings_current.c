/* SPDX-License-Identifier: Apache-2.0 */
/* The snapshot in force: one pointer that a reload exchanges. */
#include <pthread.h>
#include "policy/settings.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct settings *current;

void settings_publish(struct settings *s)
{
    pthread_mutex_lock(&lock);
    struct settings *old = current;
    current = s;
    pthread_mutex_unlock(&lock);
    settings_unref(old);
}

struct settings *settings_current(void)
{
    pthread_mutex_lock(&lock);
    struct settings *s = settings_ref(current);
    pthread_mutex_unlock(&lock);
    return s;
}
