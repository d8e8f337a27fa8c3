/* A library to preload: it counts the calls that write below one folder, and lets the N-th fail or end the process.
 *
 * fault_arm(folder, at, mode) begins a count. Modes: 0 count alone, 1 SIGKILL before the call, 2 ENOSPC, 3 EIO,
 * 4 a write of half the bytes. fault_count() is the number of calls so far.
 *
 * fault_record(file) also writes down every call that changes something, with its data: what power_loss.py replays.
 * An entry is a letter, a number, the lengths of two texts, and the texts (path, and new path or data). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long at = 0, seen = 0;
static int mode = 0, journal = -1;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

void fault_arm(const char *below, long number, int how) {
    snprintf(folder, sizeof folder, "%s", below);
    at = number, mode = how, __atomic_store_n(&seen, 0, __ATOMIC_SEQ_CST);
}
void fault_record(const char *file) { journal = open(file, O_WRONLY | O_CREAT | O_APPEND, 0644); }
long fault_count(void) { return __atomic_load_n(&seen, __ATOMIC_SEQ_CST); }

static int below(const char *path) { return folder[0] && path && strncmp(path, folder, strlen(folder)) == 0; }
static int named(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    path[size < 0 ? 0 : size] = 0;
    return size >= 0;
}
static int held(int descriptor) {
    char path[PATH_MAX];
    return folder[0] && named(descriptor, path) && below(path);
}
static void note(char letter, const char *path, long number, const void *data, long size) {
    if (journal < 0 || !below(path)) return;
    long head[3] = {number, (long)strlen(path), size};
    pthread_mutex_lock(&turn);
    syscall(SYS_write, journal, &letter, 1);
    syscall(SYS_write, journal, head, sizeof head);
    syscall(SYS_write, journal, path, head[1]);
    if (size) syscall(SYS_write, journal, data, size);
    pthread_mutex_unlock(&turn);
}
static void note_fd(char letter, int fd, long number, const void *data, long size) {
    char path[PATH_MAX];
    if (journal < 0 || !named(fd, path)) return;
    note(letter, path, number, data, size);
    if (letter == 'w' && fcntl(fd, F_GETFL) & O_DSYNC) note('s', path, 0, 0, 0);
}
static long end_of(int fd) {
    struct stat found;
    if (fcntl(fd, F_GETFL) & O_APPEND) return fstat(fd, &found) ? 0 : found.st_size;
    return lseek(fd, 0, SEEK_CUR);
}
/* 0: go on; 1: fail, errno is set; 2: write half. */
static int hit(int counts, int writes) {
    if (!counts || __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST) != at) return 0;
    switch (mode) {
        case 1: kill(getpid(), SIGKILL); pause(); return 0;
        case 2: errno = ENOSPC; return 1;
        case 3: errno = EIO; return 1;
        case 4: return writes ? 2 : 0;
    }
    return 0;
}
#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    int how = hit(held(fd), 1);
    if (how == 1) return -1;
    long place = journal < 0 ? 0 : end_of(fd);
    ssize_t done = real(fd, data, how ? (size + 1) / 2 : size);
    if (done > 0) note_fd('w', fd, place, data, done);
    return done;
}
#define PWRITE(name, type)                                                 \
    ssize_t name(int fd, const void *data, size_t size, type place) {      \
        REAL(name);                                                        \
        int how = hit(held(fd), 1);                                        \
        if (how == 1) return -1;                                           \
        ssize_t done = real(fd, data, how ? (size + 1) / 2 : size, place); \
        if (done > 0) note_fd('w', fd, place, data, done);                 \
        return done;                                                       \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
static void note_parts(int fd, const struct iovec *parts, int count, long place) {
    for (int at = 0; at < count && journal >= 0; place += parts[at++].iov_len)
        note_fd('w', fd, place, parts[at].iov_base, parts[at].iov_len);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    if (hit(held(fd), 0) == 1) return -1;
    long place = journal < 0 ? 0 : end_of(fd);
    ssize_t done = real(fd, parts, count);
    if (done > 0) note_parts(fd, parts, count, place);
    return done;
}
#define PWRITEV(name, type)                                              \
    ssize_t name(int fd, const struct iovec *parts, int count, type at) { \
        REAL(name);                                                      \
        if (hit(held(fd), 0) == 1) return -1;                            \
        ssize_t done = real(fd, parts, count, at);                       \
        if (done > 0) note_parts(fd, parts, count, at);                  \
        return done;                                                     \
    }
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)
#define SYNC(name)                            \
    int name(int fd) {                        \
        REAL(name);                           \
        if (hit(held(fd), 0) == 1) return -1; \
        int done = real(fd);                  \
        note_fd('s', fd, 0, 0, 0);            \
        return done;                          \
    }
SYNC(fsync)
SYNC(fdatasync)
#define CUT(name, type)                       \
    int name(int fd, type size) {             \
        REAL(name);                           \
        if (hit(held(fd), 0) == 1) return -1; \
        int done = real(fd, size);            \
        note_fd('t', fd, size, 0, 0);         \
        return done;                          \
    }
CUT(ftruncate, off_t)
CUT(ftruncate64, off64_t)
#define CUT_PATH(name, type)                     \
    int name(const char *path, type size) {      \
        REAL(name);                              \
        if (hit(below(path), 0) == 1) return -1; \
        int done = real(path, size);             \
        note('t', path, size, 0, 0);             \
        return done;                             \
    }
CUT_PATH(truncate, off_t)
CUT_PATH(truncate64, off64_t)
#define RESERVE(name, type)                        \
    int name(int fd, type place, type size) {      \
        REAL(name);                                \
        if (hit(held(fd), 0) == 1) return errno;   \
        int done = real(fd, place, size);          \
        note_fd('g', fd, place + size, 0, 0);      \
        return done;                               \
    }
RESERVE(posix_fallocate, off_t)
RESERVE(posix_fallocate64, off64_t)
int rename(const char *old, const char *new) {
    REAL(rename);
    if (hit(below(new), 0) == 1) return -1;
    int done = real(old, new);
    if (!done) note('r', old, 0, new, strlen(new));
    return done;
}
int link(const char *old, const char *new) {
    REAL(link);
    if (hit(below(new), 0) == 1) return -1;
    int done = real(old, new);
    if (!done) note('l', old, 0, new, strlen(new));
    return done;
}
int unlink(const char *path) {
    REAL(unlink);
    if (hit(below(path), 0) == 1) return -1;
    int done = real(path);
    if (!done) note('u', path, 0, 0, 0);
    return done;
}
/* Names in a folder that is open: how Python's shutil.rmtree removes them. */
int unlinkat(int at, const char *name, int flags) {
    REAL(unlinkat);
    char path[2 * PATH_MAX] = "";
    if (name[0] != '/' && at != AT_FDCWD && named(at, path)) strcat(path, "/");
    strncat(path, name, PATH_MAX - 1);
    if (hit(below(path), 0) == 1) return -1;
    int done = real(at, name, flags);
    if (!done) note('u', path, 0, 0, 0);
    return done;
}
int mkdir(const char *path, mode_t rights) {
    REAL(mkdir);
    if (hit(below(path), 0) == 1) return -1;
    int done = real(path, rights);
    if (!done) note('d', path, 0, 0, 0);
    return done;
}
int rmdir(const char *path) {
    REAL(rmdir);
    if (hit(below(path), 0) == 1) return -1;
    int done = real(path);
    if (!done) note('u', path, 0, 0, 0);
    return done;
}
#define OPEN(name)                                                            \
    int name(const char *path, int flags, ...) {                              \
        REAL(name);                                                           \
        mode_t rights = 0;                                                    \
        if (flags & O_CREAT) {                                                \
            va_list rest;                                                     \
            va_start(rest, flags), rights = va_arg(rest, mode_t), va_end(rest); \
        }                                                                     \
        int fd = real(path, flags, rights);                                   \
        if (fd >= 0 && flags & O_CREAT) note_fd('c', fd, 0, 0, 0);            \
        if (fd >= 0 && flags & O_TRUNC) note_fd('t', fd, 0, 0, 0);            \
        return fd;                                                            \
    }
OPEN(open)
OPEN(open64)
/* What a copy inside the kernel has written is read back. */
#define COPY(name, parameters, arguments, out)                          \
    ssize_t name parameters {                                           \
        REAL(name);                                                     \
        if (hit(held(out), 0) == 1) return -1;                          \
        long place = journal < 0 ? 0 : lseek(out, 0, SEEK_CUR);         \
        ssize_t done = real arguments;                                  \
        if (done > 0 && journal >= 0) note_copied(out, place, done);    \
        return done;                                                    \
    }
static void note_copied(int fd, long place, ssize_t size) {
    char path[PATH_MAX], *data = malloc(size);
    int again = named(fd, path) ? open(path, O_RDONLY) : -1;
    if (data && again >= 0 && syscall(SYS_pread64, again, data, size, place) == size)
        note_fd('w', fd, place, data, size);
    if (again >= 0) close(again);
    free(data);
}
COPY(sendfile, (int out, int in, off_t *from, size_t size), (out, in, from, size), out)
COPY(sendfile64, (int out, int in, off64_t *from, size_t size), (out, in, from, size), out)
COPY(copy_file_range, (int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags),
     (in, from, out, to, size, flags), out)
