/* The time of day of a simulated server: the number of microseconds in the file SIMULATED_CLOCK, which the simulation sets.
 * Random numbers depend on that time alone.
 *
 * Loaded before the server (LD_PRELOAD). Only the time of day is replaced: the server's own timers run on the monotonic clock.
 * Valkey derives the time of day from the processor's counter if it finds one in /proc/cpuinfo, so that file is hidden.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile int64_t *shown;

static int64_t now_us(void) {
  if (!shown) {
    int file = open(getenv("SIMULATED_CLOCK"), O_RDONLY);
    shown = mmap(NULL, sizeof(*shown), PROT_READ, MAP_SHARED, file, 0);
    if (shown == MAP_FAILED) abort();
  }
  return *shown;
}

int gettimeofday(struct timeval *time, void *zone) {
  (void)zone;
  int64_t now = now_us();
  time->tv_sec = now / 1000000;
  time->tv_usec = now % 1000000;
  return 0;
}

time_t time(time_t *time) {
  time_t now = now_us() / 1000000;
  if (time) *time = now;
  return now;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  static int (*real)(clockid_t, struct timespec *);
  if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) {
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return real(clock, time);
  }
  int64_t now = now_us();
  time->tv_sec = now / 1000000;
  time->tv_nsec = now % 1000000 * 1000;
  return 0;
}

int rand(void) {
  static int64_t last;
  static uint64_t state;
  if (last != now_us()) state = last = now_us();
  state = state * 6364136223846793005u + 1442695040888963407u;
  return state >> 33;
}

long random(void) { return rand(); }

static FILE *open_visible(const char *name, const char *path, const char *mode) {
  if (strcmp(path, "/proc/cpuinfo") == 0) return NULL;
  return ((FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, name))(path, mode);
}

FILE *fopen(const char *path, const char *mode) { return open_visible("fopen", path, mode); }

FILE *fopen64(const char *path, const char *mode) { return open_visible("fopen64", path, mode); }
