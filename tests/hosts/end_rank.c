/*
 * Makes a process that is not ours end by itself, as if it had called _exit(CODE) wherever it is just now.
 *
 *     end_rank PID CODE                      at once
 *     end_rank --first INIT ATTEMPT CODE     the first muster-worker with a rank of that attempt that appears in the
 *                                            process namespace of INIT, as soon as its guard has forked it; prints the
 *                                            time, seconds since 1970
 *     end_rank --signal SIGNAL PID           sends a signal instead; prints when, and how many seconds later the
 *                                            process had ended: what waitpid() takes for it here and now
 *
 * It stops the process, lets it run exit_group() in place of its next instruction, and lets go.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int fail(const char *what)
{
    fprintf(stderr, "end_rank: %s: %s\n", what, strerror(errno));
    return 1;
}

#if defined __x86_64__
typedef struct user_regs_struct regs_t;
enum { NT_PRSTATUS_ = 1 };
static const long instruction = 0x050f; /* syscall */
static unsigned long at(const regs_t *r)
{
    return r->rip;
}
static void set_call(regs_t *r, long code)
{
    r->orig_rax = (unsigned long)-1; /* an interrupted system call is not begun again */
    r->rax = SYS_exit_group;
    r->rdi = (unsigned long)code;
}
#elif defined __aarch64__
typedef struct user_regs_struct regs_t;
enum { NT_PRSTATUS_ = 1 };
static const long instruction = 0xd4000001; /* svc #0 */
static unsigned long at(const regs_t *r)
{
    return r->pc;
}
static void set_call(regs_t *r, long code)
{
    r->regs[8] = SYS_exit_group;
    r->regs[0] = (unsigned long)code;
}
#endif

static int end_process(pid_t pid, int code)
{
    regs_t regs;
    struct iovec io = {&regs, sizeof regs};
    int status;
    if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) != 0 || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) != 0)
        return fail("cannot stop the process");
    if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
        return fail("it did not stop");
    if (ptrace(PTRACE_GETREGSET, pid, (void *)(long)NT_PRSTATUS_, &io) != 0)
        return fail("cannot read its registers");
    set_call(&regs, code);
    if (ptrace(PTRACE_POKETEXT, pid, (void *)at(&regs), (void *)instruction) != 0 ||
        ptrace(PTRACE_SETREGSET, pid, (void *)(long)NT_PRSTATUS_, &io) != 0)
        return fail("cannot change it");
    if (ptrace(PTRACE_DETACH, pid, NULL, NULL) != 0)
        return fail("cannot let go of it");
    return 0;
}

static size_t read_file(const char *pid, const char *name, char *out, size_t size)
{
    char path[300];
    snprintf(path, sizeof path, "/proc/%s/%s", pid, name);
    FILE *file = fopen(path, "r");
    size_t n = file ? fread(out, 1, size - 1, file) : 0;
    if (file)
        fclose(file);
    out[n] = '\0';
    return n;
}

/* Whether the environment of a process has MUSTER_ATTEMPT=N: those of the attempt before may not have ended yet. */
static int is_of_attempt(const char *pid, const char *attempt)
{
    static char text[1 << 16];
    char wanted[64];
    size_t n = read_file(pid, "environ", text, sizeof text);
    snprintf(wanted, sizeof wanted, "MUSTER_ATTEMPT=%s", attempt);
    for (size_t i = 0; i < n; i += strlen(text + i) + 1)
        if (strcmp(text + i, wanted) == 0)
            return 1;
    return 0;
}

/* The fork: a muster-worker whose parent has become a muster-guard, or is about to. The probe has no rank. */
static pid_t first_rank(ino_t space, const char *attempt)
{
    static char text[1 << 16];
    DIR *proc = opendir("/proc");
    pid_t found = 0;
    for (struct dirent *e; proc && !found && (e = readdir(proc));) {
        char path[300], parent[32];
        struct stat st;
        int ppid;
        snprintf(path, sizeof path, "/proc/%s/ns/pid", e->d_name);
        if (e->d_name[0] < '0' || e->d_name[0] > '9' || stat(path, &st) != 0 || st.st_ino != space)
            continue;
        if (read_file(e->d_name, "comm", text, sizeof text) == 0 || strcmp(text, "muster-worker\n") != 0)
            continue;
        if (read_file(e->d_name, "stat", text, sizeof text) == 0 ||
            sscanf(strrchr(text, ')') + 1, " %*c %d", &ppid) != 1)
            continue;
        snprintf(parent, sizeof parent, "%d", ppid);
        if (!is_of_attempt(e->d_name, attempt))
            continue;
        if (read_file(parent, "comm", text, sizeof text) > 0 && strcmp(text, "muster-guard\n") == 0)
            found = (pid_t)atoi(e->d_name);
    }
    if (proc)
        closedir(proc);
    return found;
}

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int send_signal(int number, pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return fail("no such process");
    double wall = seconds(CLOCK_REALTIME), begin = seconds(CLOCK_MONOTONIC);
    if (kill(pid, number) != 0)
        return fail("kill");
    if (poll(&(struct pollfd){fd, POLLIN, 0}, 1, 30000) != 1)
        return fail("it lives on");
    printf("%.6f %.6f\n", wall, seconds(CLOCK_MONOTONIC) - begin);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--signal") == 0)
        return send_signal(atoi(argv[2]), (pid_t)atoi(argv[3]));
    if (argc == 3)
        return end_process((pid_t)atoi(argv[1]), atoi(argv[2]));
    if (argc != 5 || strcmp(argv[1], "--first") != 0)
        return 2;
    char path[64];
    struct stat st;
    pid_t pid = 0;
    snprintf(path, sizeof path, "/proc/%s/ns/pid", argv[2]);
    if (stat(path, &st) != 0)
        return fail(path);
    for (int i = 0; i < 60000 && pid == 0; i++) {
        pid = first_rank(st.st_ino, argv[3]);
        if (pid == 0)
            nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    if (pid == 0)
        return fail("no rank appeared");
    printf("%.6f\n", seconds(CLOCK_REALTIME));
    fflush(stdout);
    return end_process(pid, atoi(argv[4]));
}
