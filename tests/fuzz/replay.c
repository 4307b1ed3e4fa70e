/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over every file of the directories given; without arguments over its own corpus,
 * $srcdir/tests/fuzz/corpus/NAME for a program called fuzz_NAME. An empty input is always tried too. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void die(const char *path)
{
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    exit(1);
}

static void replay_file(const char *path)
{
    struct stat st;
    FILE *f = fopen(path, "rb");
    if (f == NULL || fstat(fileno(f), &st) != 0)
        die(path);
    if (S_ISREG(st.st_mode)) {
        size_t size = (size_t)st.st_size;
        uint8_t *data = malloc(size); /* exact, so that a sanitizer sees a read beyond the end */
        if ((data == NULL && size > 0) || fread(data, 1, size, f) != size)
            die(path);
        fprintf(stderr, "%s: %zu bytes\n", path, size); /* the last line names the culprit of a crash */
        LLVMFuzzerTestOneInput(data, size);
        free(data);
    }
    fclose(f);
}

static unsigned replay_dir(const char *path)
{
    unsigned n = 0;
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0)
        die(path);
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.') {
            char *file;
            if (asprintf(&file, "%s/%s", path, entries[i]->d_name) < 0)
                die(path);
            replay_file(file);
            free(file);
            n++;
        }
        free(entries[i]);
    }
    free(entries);
    return n;
}

static unsigned replay_own(const char *program)
{
    const char *srcdir = getenv("srcdir"), *name = strstr(program, "fuzz_");
    for (const char *next; name != NULL && (next = strstr(name + 1, "fuzz_")) != NULL;)
        name = next;
    if (name == NULL) {
        fprintf(stderr, "usage: %s CORPUS-DIRECTORY...\n", program);
        exit(2);
    }
    char *dir;
    if (asprintf(&dir, "%s/tests/fuzz/corpus/%s", srcdir ? srcdir : ".", name + strlen("fuzz_")) < 0)
        die(program);
    unsigned n = replay_dir(dir);
    free(dir);
    return n;
}

int main(int argc, char **argv)
{
    unsigned n = 0;
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++)
        n += replay_dir(argv[i]);
    if (argc == 1)
        n = replay_own(argv[0]);
    if (n == 0) {
        fprintf(stderr, "%s: the corpus is empty\n", argv[0]);
        return 1;
    }
    return 0;
}
