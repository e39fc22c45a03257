/* Faults of a disk, by file name: preloaded into a process, ruled by a small file that a test rewrites while it runs.

   SHIM_RULES names the file; each line is "CALL ERRNO PART": CALL is write, fsync or time; PART of the file's name.
   A negative ERRNO is a delay in milliseconds before the call goes through; "time SECONDS -" shifts the wall clock. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long rule(const char *call, int fd) {
    char line[256], name[64], part[128], link[64], path[1024] = "-";
    long value, found = 0;
    const char *rules = getenv("SHIM_RULES");
    FILE *file = rules ? fopen(rules, "re") : NULL;
    if (!file) return 0;
    if (fd >= 0) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 2);
        path[n > 0 ? n : 0] = 0;
        if (n > 0) strcat(path, "$"); /* so that a rule can mean the end of a name */
    }
    while (!found && fgets(line, sizeof line, file))
        if (sscanf(line, "%63s %ld %127s", name, &value, part) == 3 && !strcmp(name, call) && strstr(path, part))
            found = value;
    fclose(file);
    return found;
}

static int strike(const char *call, int fd) {
    long value = rule(call, fd);
    if (value < 0) { usleep((useconds_t)(-value * 1000)); return 0; }
    if (value > 0) { errno = (int)value; return 1; }
    return 0;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    return strike("write", fd) ? -1 : real(fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    return strike("fsync", fd) ? -1 : real(fd);
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    return strike("fsync", fd) ? -1 : real(fd);
}

int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(id, at);
    if (id == CLOCK_REALTIME) at->tv_sec += rule("time", -1);
    return done;
}
