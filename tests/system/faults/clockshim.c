/* Moves the wall clock of one process by an offset that stands in a file, while it runs; the monotonic clock and every
 * length of time stay as they are. Preloaded (LD_PRELOAD); the file has one 64-bit number of nanoseconds and is named by
 * CLOCKSHIM_FILE. Files keep their real times: stat() asks no clock of ours.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define S 1000000000LL

static volatile int64_t *shared;

__attribute__((constructor)) static void map_the_offset(void) {
    const char *path = getenv("CLOCKSHIM_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) shared = page;
}

static int64_t offset(void) { return shared ? *shared : 0; }

static void move(struct timespec *at, int64_t by) {
    int64_t s = at->tv_sec + by / S, ns = at->tv_nsec + by % S;
    if (ns < 0) { ns += S; s--; }
    if (ns >= S) { ns -= S; s++; }
    at->tv_sec = s;
    at->tv_nsec = ns;
}

/* The kernel, not the library's clock_gettime: looked up by name it would be this one. */
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real ? real(id, at) : (int)syscall(SYS_clock_gettime, id, at);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE || id == CLOCK_TAI)) move(at, offset());
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *at, int base) {
    if (base != TIME_UTC) return 0;
    return clock_gettime(CLOCK_REALTIME, at) ? 0 : base;
}

/* Who waits until an instant of the wall clock has reckoned it from the moved one. */
int sem_timedwait(sem_t *restrict sem, const struct timespec *restrict until) {
    static int (*real)(sem_t *, const struct timespec *);
    if (!real) real = (int (*)(sem_t *, const struct timespec *))dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec at = *until;
    move(&at, -offset());
    return real(sem, &at);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until) {
    static int (*real)(pthread_mutex_t *, const struct timespec *);
    if (!real) real = (int (*)(pthread_mutex_t *, const struct timespec *))dlsym(RTLD_NEXT, "pthread_mutex_timedlock");
    struct timespec at = *until;
    move(&at, -offset());
    return real(mutex, &at);
}
