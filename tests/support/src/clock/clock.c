/* clock_gettime(2) of a machine whose clocks jump: the file named by CLOCK_FILE holds two numbers of seconds, for
   the time of day and for the time since the boot, in the machine's own form. Only comfyd sees the second one: Python
   sleeps until a moment, and the kernel would take that for one of its own clock. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *ahead;
static int is_daemon;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("CLOCK_FILE");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *map = mmap(NULL, 2 * sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    ahead = map == MAP_FAILED ? NULL : map;
    close(file);
    is_daemon = strcmp(program_invocation_short_name, "comfyd") == 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = syscall(SYS_clock_gettime, clock, time);
    if (!failed && ahead && clock == CLOCK_REALTIME)
        time->tv_sec += ahead[0];
    else if (!failed && ahead && is_daemon && (clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME))
        time->tv_sec += ahead[1];
    return failed;
}
