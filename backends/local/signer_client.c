/* SPDX-License-Identifier: Apache-2.0 */
/* Spawning, asking and replacing the signer process. posix_spawn, because the gateway has threads by the time a signer
 * has to be replaced; the child gets the socket as descriptor 3 and nothing else of ours. */
#include "backends/local/signer_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backends/local/signer_wire.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/pack.h"
#include "io/pki.h"

#define REPLY_TIMEOUT_MS 5000
#define START_TIMEOUT_MS 10000 /* a passphrase may cost a second of PBKDF2 on purpose */
#define END_TIMEOUT_MS 1000
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MOST_MS 10000

struct signer {
    struct signer_setup setup;
    uid_t uid;
    gid_t gid;
    bool drop;            /* to uid and gid */
    pthread_mutex_t lock; /* of what follows, and of a request's duration */
    int fd;
    pid_t pid; /* -1: none */
    uint64_t backoff_ms, not_before_ms;
};

#define PROGRAM "/proc/self/exe" /* the one that runs, also after its file was replaced by a newer version */

static const char *default_user;

void signer_set_user(const char *user)
{
    default_user = user;
}

/* ---- the process ---- */

/* Nothing of the gateway's environment but what decides how OpenSSL and a sanitizer behave. */
static size_t environment(char **envp, size_t max)
{
    static const char *const keep[] = {"OPENSSL_CONF", "OPENSSL_MODULES", "LD_LIBRARY_PATH",
                                       "ASAN_OPTIONS", "UBSAN_OPTIONS",   "LSAN_OPTIONS"};
    size_t n = 0;
    for (char **v = environ; v != NULL && *v != NULL && n + 1 < max; v++) {
        size_t len = strcspn(*v, "=");
        for (size_t i = 0; i < COUNTOF(keep); i++) {
            if (strlen(keep[i]) == len && strncmp(*v, keep[i], len) == 0) {
                envp[n++] = *v;
                break;
            }
        }
    }
    envp[n] = NULL;
    return n;
}

static int spawn_with(pid_t *pid, posix_spawn_file_actions_t *fa, posix_spawnattr_t *attr, int fd)
{
    char *argv[] = {(char *)"porticod", (char *)"--signer", NULL}, *envp[32];
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    environment(envp, COUNTOF(envp));
    int err = posix_spawn_file_actions_adddup2(fa, fd, 3);
    if (err == 0)
        err = posix_spawn_file_actions_addopen(fa, 0, "/dev/null", O_RDONLY, 0);
    if (err == 0)
        err = posix_spawn_file_actions_addopen(fa, 1, "/dev/null", O_WRONLY, 0);
    if (err == 0)
        err = posix_spawn_file_actions_addclosefrom_np(fa, 4);
    if (err == 0)
        err = posix_spawnattr_setsigmask(attr, &none);
    if (err == 0)
        err = posix_spawnattr_setsigdefault(attr, &all);
    if (err == 0)
        err = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    return err != 0 ? err : posix_spawn(pid, PROGRAM, fa, attr, argv, envp);
}

static bool spawn(struct signer *s, struct err *e)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return err_set(e, 0, "the signer's socket: %s", strerror(errno));
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&attr);
    int err = spawn_with(&s->pid, &fa, &attr, pair[1]);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&fa);
    close(pair[1]);
    if (err != 0) {
        s->pid = -1;
        close(pair[0]);
        return err_set(e, 0, "the signer process cannot be started: %s", strerror(err));
    }
    s->fd = pair[0];
    return true;
}

/* Waits a moment for a process whose socket is closed, then ends it the hard way. Returns its wait status. */
static int reap(pid_t pid)
{
    int status = 0, fd = pidfd_open(pid, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (fd < 0 || poll(&p, 1, END_TIMEOUT_MS) != 1)
        kill(pid, SIGKILL);
    if (fd >= 0)
        close(fd);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

static int end_process(struct signer *s)
{
    if (s->pid < 0)
        return 0;
    close(s->fd);
    int status = reap(s->pid);
    s->fd = -1;
    s->pid = -1;
    return status;
}

/* ---- the conversation ---- */

static const char *wire_text(enum wire_result r)
{
    return r == WIRE_TIMEOUT ? "does not answer"
           : r == WIRE_END   ? "ended"
                             : "sent something that is no message";
}

struct reply {
    bool ok;
    iov_t signature; /* in pool; IOV_NULL: none */
    char error[512]; /* unless ok */
};

/* One message and its reply; false: the conversation is over. */
static bool ask(struct signer *s, iov_t request, int timeout_ms, pool_t *pool, struct reply *out,
                struct err *e)
{
    iov_t bytes;
    enum wire_result r = signer_wire_send(s->fd, request, timeout_ms);
    if (r == WIRE_OK)
        r = signer_wire_receive(s->fd, SIGNER_REPLY_MAX, timeout_ms, pool, &bytes);
    if (r != WIRE_OK)
        return err_set(e, 0, "the signer process %s", wire_text(r));
    struct unpack *u = unpack_new(bytes, e);
    if (u == NULL)
        return err_set(e, 0, "the signer process %s", wire_text(WIRE_BROKEN));
    iov_t signature = unpack_bytes(u, "signature"), error = unpack_bytes(u, "error");
    *out = (struct reply){.ok = unpack_bool(u, "ok")};
    out->signature = signature.base != NULL ? iov_dup(pool, signature) : IOV_NULL;
    snprintf(out->error, sizeof(out->error), "%s",
             error.base != NULL ? iov_printable(pool, error, sizeof(out->error) - 1).base
                                : "no reason given");
    unpack_free(u);
    return true;
}

static iov_t open_message(const struct signer *s, pool_t *pool)
{
    struct pack *p = pack_new(7);
    iov_t pass = {s->setup.passphrase.text, s->setup.passphrase.len};
    pack_str(p, "op", IOV("open"));
    pack_int(p, "version", SIGNER_VERSION);
    pack_bin(p, "certificate", s->setup.ca_der);
    pack_str(p, "key", iov_of(s->setup.key_path));
    pack_bin(p, "passphrase", pass.base != NULL ? pass : IOV(""));
    pack_int(p, "uid", s->drop ? (int64_t)s->uid : -1);
    pack_int(p, "gid", s->drop ? (int64_t)s->gid : -1);
    return pack_finish(p, pool);
}

static iov_t profile_message(const struct signer_profile *profile, pool_t *pool)
{
    struct pack *p = pack_new(4);
    pack_str(p, "op", IOV("profile"));
    pack_str(p, "name", iov_of(profile->name));
    pack_int(p, "max_lifetime", profile->max_lifetime_s);
    pack_strs(p, "extensions", &profile->extensions);
    return pack_finish(p, pool);
}

static bool hello(struct signer *s, pool_t *pool, struct err *e)
{
    iov_t opening = open_message(s, pool);
    bool ok = signer_wire_send(s->fd, opening, START_TIMEOUT_MS) == WIRE_OK;
    pki_wipe(opening.base, opening.len);
    for (size_t i = 0; ok && i < s->setup.n_profiles; i++)
        ok = signer_wire_send(s->fd, profile_message(&s->setup.profiles[i], pool), START_TIMEOUT_MS) ==
             WIRE_OK;
    if (!ok)
        return err_set(e, 0, "the signer process ended while it was told what to do");
    struct pack *start = pack_new(1);
    pack_str(start, "op", IOV("start"));
    struct reply reply;
    if (!ask(s, pack_finish(start, pool), START_TIMEOUT_MS, pool, &reply, e))
        return false;
    return reply.ok || err_set(e, 0, "%s", reply.error);
}

static bool start(struct signer *s, struct err *e)
{
    pool_t pool;
    h2o_mem_init_pool(&pool);
    bool ok = spawn(s, e);
    if (ok && !hello(s, &pool, e)) {
        end_process(s);
        ok = false;
    }
    h2o_mem_clear_pool(&pool);
    return ok;
}

/* ---- keeping one ---- */

static void back_off(struct signer *s)
{
    s->backoff_ms = s->backoff_ms == 0                    ? BACKOFF_FIRST_MS
                    : s->backoff_ms * 2 > BACKOFF_MOST_MS ? BACKOFF_MOST_MS
                                                          : s->backoff_ms * 2;
    s->not_before_ms = clock_mono_ms() + s->backoff_ms;
}

static void lost(struct signer *s, const char *reason)
{
    pid_t pid = s->pid;
    int status = end_process(s);
    log_error("signer.lost", KV_STR("backend", s->setup.backend), KV_INT("pid", pid),
              KV_STR("reason", reason), KV_STR("ended_by", WIFSIGNALED(status) ? "signal" : "exit"),
              KV_INT("status", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)));
    back_off(s);
}

/* True with a process to ask. */
static bool ensure(struct signer *s, struct err *e)
{
    if (s->pid >= 0)
        return true;
    if (clock_mono_ms() < s->not_before_ms)
        return err_set(e, 0, "the signer process of backend %s is being replaced", s->setup.backend);
    struct err why = ERR_INIT;
    if (!start(s, &why)) {
        back_off(s);
        log_error("signer.start_failed", KV_STR("backend", s->setup.backend), KV_STR("reason", why.detail),
                  KV_INT("next_ms", s->backoff_ms));
        return err_set(e, 0, "the signer process of backend %s does not start", s->setup.backend);
    }
    log_warn("signer.replaced", KV_STR("backend", s->setup.backend), KV_INT("pid", s->pid));
    return true;
}

static iov_t request_message(const char *profile, iov_t tbs, pool_t *pool)
{
    struct pack *p = pack_new(profile != NULL ? 3 : 2);
    pack_str(p, "op", profile != NULL ? IOV("cert") : IOV("crl"));
    if (profile != NULL)
        pack_str(p, "profile", iov_of(profile));
    pack_bin(p, "tbs", tbs);
    return pack_finish(p, pool);
}

static enum signer_result sign(struct signer *s, iov_t request, pool_t *pool, iov_t *signature_out,
                               struct err *e)
{
    struct reply reply;
    if (!ensure(s, e))
        return SIGNER_AWAY;
    bool whole = ask(s, request, REPLY_TIMEOUT_MS, pool, &reply, e);
    if (whole && reply.ok && reply.signature.base == NULL)
        whole = err_set(e, 0, "the signer process %s", wire_text(WIRE_BROKEN));
    if (!whole) {
        lost(s, e->detail);
        err_set(e, 0, "the signer process of backend %s was lost", s->setup.backend);
        return SIGNER_AWAY;
    }
    s->backoff_ms = 0;
    if (!reply.ok) {
        err_set(e, 0, "%s", reply.error);
        return SIGNER_REFUSED;
    }
    *signature_out = reply.signature;
    return SIGNER_SIGNED;
}

enum signer_result signer_sign(struct signer *s, const char *profile, iov_t tbs, pool_t *pool,
                               iov_t *signature_out, struct err *e)
{
    iov_t request = request_message(profile, tbs, pool);
    *signature_out = IOV_NULL;
    if (request.len > SIGNER_FRAME_MAX || (profile != NULL && tbs.len > SIGNER_TBS_MAX)) {
        err_set(e, 0, "%zu bytes are more than the signer takes", tbs.len);
        return SIGNER_REFUSED;
    }
    pthread_mutex_lock(&s->lock);
    enum signer_result r = sign(s, request, pool, signature_out, e);
    pthread_mutex_unlock(&s->lock);
    return r;
}

int signer_pid(struct signer *s)
{
    pthread_mutex_lock(&s->lock);
    int pid = s->pid;
    pthread_mutex_unlock(&s->lock);
    return pid;
}

/* ---- open and close ---- */

static bool find_user(struct signer *s, struct err *e)
{
    const char *user = s->setup.user != NULL ? s->setup.user : default_user;
    bool root = geteuid() == 0;
    if (user == NULL && !root)
        return true;
    if (user == NULL)
        user = "nobody";
    struct passwd *pw = getpwnam(user);
    if (pw == NULL)
        return err_set(e, 0, "this system has no user \"%s\" to run the signer as; create it or name another",
                       user);
    if (!root && pw->pw_uid != geteuid())
        return err_set(e, 0, "only root can run the signer as user \"%s\"", user);
    s->uid = pw->pw_uid;
    s->gid = pw->pw_gid;
    s->drop = root;
    return true;
}

struct signer *signer_open(const struct signer_setup *setup, struct err *e)
{
    struct signer *s = base_zalloc(sizeof(*s));
    s->setup = *setup;
    s->fd = -1;
    s->pid = -1;
    pthread_mutex_init(&s->lock, NULL);
    if (find_user(s, e) && start(s, e)) {
        log_info("signer.started", KV_STR("backend", setup->backend), KV_INT("pid", s->pid));
        return s;
    }
    signer_close(s);
    return NULL;
}

void signer_close(struct signer *s)
{
    if (s == NULL)
        return;
    end_process(s);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
