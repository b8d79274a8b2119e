/* A machine that can fail, for the program under test (LD_PRELOAD): its clock jumps, fsync fails, and what was synced is remembered, so that a
 * power cut can be imitated by building a directory of that alone. A file's content is durable as of its last fsync; a name is durable as of the
 * last fsync of its directory, as POSIX has it and no more.
 *
 * MACHINE names a directory of the test, MACHINE_ROOT the program's. In the former: `control` (see below), `ino/N` content of inode N, `dir/N` names
 * of a directory, `keep/N` a link that keeps N from being used again, `bad/N` an inode whose fsync failed: as in Linux, its pages count as clean
 * afterwards, so that later calls succeed and write nothing; cutting it to nothing mends it. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct control {
    volatile int64_t clock;     /* nanoseconds on top of the real time */
    volatile int64_t fail;      /* calls that are still to fail; -1: all */
    volatile int64_t failed;    /* calls that did */
    volatile int64_t synced;    /* calls that were remembered */
    volatile char part[96];     /* only for paths with this in them; with a $ behind it: that end so */
};

static struct control *control;
static char place[PATH_MAX], root[PATH_MAX];
static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    const char *dir = getenv("MACHINE"), *top = getenv("MACHINE_ROOT");
    char path[PATH_MAX + 16];
    if (!dir || !top) return;
    snprintf(place, sizeof place, "%s", dir);
    snprintf(root, sizeof root, "%s", top);
    snprintf(path, sizeof path, "%s/control", dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *there = mmap(0, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (there != MAP_FAILED) control = there;
}

int clock_gettime(clockid_t id, struct timespec *ts) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int r = real ? real(id, ts) : (int)syscall(SYS_clock_gettime, id, ts);
    if (r == 0 && id == CLOCK_REALTIME && control && control->clock) {
        int64_t ns = (int64_t)ts->tv_sec * 1000000000 + ts->tv_nsec + control->clock;
        ts->tv_sec = ns / 1000000000;
        ts->tv_nsec = ns % 1000000000;
    }
    return r;
}

static void name_of(char *out, const char *kind, uint64_t ino) { snprintf(out, PATH_MAX + 64, "%s/%s/%llu", place, kind, (unsigned long long)ino); }

/* A file under another name first, so that it is never half there. */
static void put_file(int fd, const char *to) {
    char own[64], half[PATH_MAX + 80], buffer[65536];
    snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
    snprintf(half, sizeof half, "%s.half", to);
    int in = open(own, O_RDONLY | O_CLOEXEC), out = open(half, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n = 0;
    while (in >= 0 && out >= 0 && (n = read(in, buffer, sizeof buffer)) > 0)
        if (write(out, buffer, (size_t)n) != n) abort();
    if (in < 0 || out < 0 || n < 0 || rename(half, to)) abort();
    close(in);
    close(out);
}

static void put_names(int fd, const char *to) {
    char own[64], half[PATH_MAX + 80];
    snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
    snprintf(half, sizeof half, "%s.half", to);
    DIR *names = opendir(own);
    FILE *out = fopen(half, "we");
    if (!names || !out) abort();
    for (struct dirent *e; (e = readdir(names));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            fprintf(out, "%llu %c %s\n", (unsigned long long)e->d_ino, e->d_type == DT_DIR ? 'd' : e->d_type == DT_REG ? 'f' : 'o', e->d_name);
    closedir(names);
    if (fclose(out) || rename(half, to)) abort();
}

static int meant(const char *path) {
    char part[sizeof control->part];
    size_t i = 0, length = strlen(path);
    while (i + 1 < sizeof part && control->part[i]) part[i] = control->part[i], i++;
    part[i] = 0;
    if (i == 0 || part[i - 1] != '$') return strstr(path, part) != 0;
    part[--i] = 0;
    return length >= i && !strcmp(path + length - i, part);
}

static int synced(int fd) {
    char own[64], path[PATH_MAX], to[PATH_MAX + 64], bad[PATH_MAX + 64];
    struct stat st;
    snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(own, path, sizeof path - 1);
    if (!control || n <= 0 || fstat(fd, &st)) return 0;
    path[n] = 0;
    if (strncmp(path, root, strlen(root))) return 0;
    pthread_mutex_lock(&one);
    name_of(bad, "bad", st.st_ino);
    if (control->fail && meant(path)) {
        if (control->fail > 0) control->fail--;
        control->failed++;
        if (S_ISREG(st.st_mode)) {
            name_of(to, "keep", st.st_ino);
            if (linkat(AT_FDCWD, own, AT_FDCWD, to, AT_SYMLINK_FOLLOW) && errno != EEXIST && errno != ENOENT) abort();
            close(open(bad, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        }
        pthread_mutex_unlock(&one);
        errno = EIO;
        return -1;
    }
    if (S_ISDIR(st.st_mode)) {
        name_of(to, "dir", st.st_ino);
        put_names(fd, to);
    } else if (S_ISREG(st.st_mode) && access(bad, F_OK)) {
        struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {0}};
        /* files are as old as the clock that jumped says */
        if (control->clock && (clock_gettime(CLOCK_REALTIME, &times[1]) || futimens(fd, times))) abort();
        name_of(to, "keep", st.st_ino);
        if (linkat(AT_FDCWD, own, AT_FDCWD, to, AT_SYMLINK_FOLLOW) && errno != EEXIST && errno != ENOENT) abort();
        name_of(to, "ino", st.st_ino);
        put_file(fd, to);
    }
    control->synced++;
    pthread_mutex_unlock(&one);
    return 0;
}

int fsync(int fd) { return synced(fd); }
int fdatasync(int fd) { return synced(fd); }

int ftruncate(int fd, off_t length) {
    struct stat st;
    char bad[PATH_MAX + 64];
    if (control && length == 0 && fstat(fd, &st) == 0) {
        name_of(bad, "bad", st.st_ino);
        unlink(bad);
    }
    return (int)syscall(SYS_ftruncate, fd, length);
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }
