/*
 * A login: a child process with three pipes that speaks in lines. It is ssh to a host, or the probe itself on
 * this machine. Nothing here blocks; the caller polls the descriptors.
 *
 * The child leads a session of its own, so a Ctrl-C reaches only the launcher and ssh has no terminal to ask
 * on. Closing its stdin ends the probe, and with it the login.
 */
#ifndef MU_LAUNCHER_SSH_LOGIN_H
#define MU_LAUNCHER_SSH_LOGIN_H

#include "common/buf.h"
#include <stdbool.h>
#include <sys/types.h>

typedef struct mu_login {
    pid_t pid; /* 0: none */
    int in, out, err;
    bool ended;
    int exit_code;    /* when ended; 128 + signal when one killed it */
    mu_buf_t pending; /* bytes of stdout after the last line taken */
    mu_buf_t noise;   /* lines of stdout that were not for us; the first 4 KiB */
    mu_buf_t said;    /* stderr; the first 16 KiB */
} mu_login_t;

/* Starts argv (found in PATH); argv stays the caller's. False with errno set. */
bool mu_login_start(mu_login_t *login, char *const *argv);
/* Takes in what there is to read, and the end of the process. */
void mu_login_read(mu_login_t *login);
/* Takes the next line that begins with `word`; *out (cleared first) gets what follows it, without the
 * newline. Lines before it are noise. False: not there yet. A line over MU_PROBE_LINE is noise. */
bool mu_login_line(mu_login_t *login, const char *word, mu_buf_t *out);
/* Writes it all or fails: at most 64 KiB (a pipe's size) between two answers. */
bool mu_login_write(mu_login_t *login, const char *bytes, size_t n);
/* Ends n logins together: closes their stdin and gives them patience_ms to go, then SIGHUP and 100 ms, then
 * SIGKILL. */
void mu_login_end(mu_login_t *const *login, int n, int patience_ms);

#endif
