#include "launcher/ready/ssh.h"
#include "common/ready_text.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"

#include <ctype.h>
#include <strings.h>
#include <sys/stat.h>

#define TMP_DIR_MAX 45 /* + "/" + 40 hex digits + ssh's own 17 + NUL < 108 */

struct mu_ssh {
    const mu_hosts_t *hosts;
    char **option; /* without ControlMaster; NULL-terminated */
    int options;
    int port; /* of the user's options; 0: none */
};

static void add(mu_ssh_t *ssh, const char *word)
{
    ssh->option = mu_realloc(ssh->option, (size_t)(ssh->options + 2) * sizeof *ssh->option);
    ssh->option[ssh->options++] = mu_strdup(word);
    ssh->option[ssh->options] = NULL;
}

static void add_setting(mu_ssh_t *ssh, const char *setting)
{
    add(ssh, "-o");
    add(ssh, setting);
}

static mu_status_t bad_args(const char *word, const char *why)
{
    mu_buf_t shown = MU_BUF_INIT;
    mu_text_escape(word, strlen(word), 80, &shown);
    mu_status_t status = mu_fail(MU_CONFIG, "muster.ssh_args: \"%s\" %s", shown.data, why);
    mu_buf_release(&shown);
    return status;
}

/* ssh takes the first that it is given. */
static void note_port(mu_ssh_t *ssh, char option, const char *value)
{
    static const char word[] = "port";
    int64_t port = 0;
    if (option == 'o' && strncasecmp(value, word, sizeof word - 1) == 0 && value[sizeof word - 1] == '=')
        value += sizeof word;
    else if (option != 'p')
        return;
    if (ssh->port == 0 && mu_parse_i64(value, &port) && port > 0 && port < 65536)
        ssh->port = (int)port;
}

/* Options of ssh(1) with a value, and those that would make a login something else. */
#define WITH_VALUE "BbcDEeFIiJLlmopR"
#define REFUSED    "fNntMOSWVGQswyTg"

/* Splits the user's arguments; a file given by -F goes to *config instead. */
static mu_status_t add_user_args(mu_ssh_t *ssh, char *args, char **config)
{
    char *save = NULL;
    for (char *word = strtok_r(args, " \t", &save); word; word = strtok_r(NULL, " \t", &save)) {
        if (strpbrk(word, "\"'\\\n\r"))
            return bad_args(word, "has a quote, backslash or line end: arguments are split at blanks only");
        if (word[0] != '-' || !isalnum((unsigned char)word[1]))
            return bad_args(word, "is not an option of ssh");
        if (strchr(REFUSED, word[1]))
            return bad_args(word, "cannot be used here: muster needs a plain login");
        const char *value = NULL;
        if (strchr(WITH_VALUE, word[1])) {
            value = word[2] ? word + 2 : strtok_r(NULL, " \t", &save);
            if (!value)
                return bad_args(word, "lacks its value");
        }
        if (word[1] == 'F') {
            free(*config);
            *config = mu_strdup(value);
            continue;
        }
        char option[] = {'-', word[1], '\0'};
        add(ssh, value ? option : word);
        if (value) {
            add(ssh, value);
            note_port(ssh, word[1], value);
        }
    }
    return MU_OK;
}

/* Ports and users of single hosts go into a configuration, since mpirun gives every host the same options. */
static mu_status_t write_config(const mu_hosts_t *hosts, const char *user_config, const char *path)
{
    mu_buf_t text = MU_BUF_INIT;
    for (int i = 0; i < hosts->count; i++) {
        const mu_host_t *host = &hosts->host[i];
        if (!host->port && !host->user)
            continue;
        mu_buf_addf(&text, "Host %s\n", host->name);
        if (host->port)
            mu_buf_addf(&text, "    Port %d\n", host->port);
        if (host->user)
            mu_buf_addf(&text, "    User %s\n", host->user);
    }
    mu_buf_adds(&text, "Host *\n");
    if (user_config)
        mu_buf_addf(&text, "Include %s\n", user_config);
    else
        mu_buf_adds(&text, "Include ~/.ssh/config\nInclude /etc/ssh/ssh_config\n");
    mu_status_t status = mu_file_replace(path, text.data, text.len, 0600);
    mu_buf_release(&text);
    return status;
}

static bool needs_config(const mu_hosts_t *hosts)
{
    for (int i = 0; i < hosts->count; i++)
        if (hosts->host[i].port || hosts->host[i].user)
            return true;
    return false;
}

mu_status_t mu_ssh_new(const mu_hosts_t *hosts, const char *user_args, const char *tmp_dir, mu_ssh_t **out)
{
    char *args = mu_strdup(user_args ? user_args : ""), *config = NULL;
    char *path = mu_format("ControlPath=%s/%%C", tmp_dir), *own = mu_path_join(tmp_dir, "ssh_config");
    mu_ssh_t *ssh = mu_calloc(1, sizeof *ssh);
    mu_status_t status = MU_OK;
    ssh->hosts = hosts;
    if (strlen(tmp_dir) > TMP_DIR_MAX || strpbrk(tmp_dir, " \t\n\"'\\%:")) {
        status = mu_fail(MU_USAGE,
                         "temporary folder %s: ssh's sockets need a path of at most %d bytes without blanks, "
                         "quotes, backslashes, %% or colons; set TMPDIR to another folder",
                         tmp_dir, TMP_DIR_MAX);
        goto done;
    }
    /* ssh takes the first value that it meets: what a login must be, the user's, our defaults */
    add_setting(ssh, "BatchMode=yes");
    add_setting(ssh, path);
    add_setting(ssh, "ControlPersist=no");
    add_setting(ssh, "ForwardAgent=no");
    add_setting(ssh, "ForwardX11=no");
    add_setting(ssh, "ClearAllForwardings=yes");
    add_setting(ssh, "RemoteCommand=none");
    add_setting(ssh, "RequestTTY=no");
    MU_TRY_GOTO(status, add_user_args(ssh, args, &config), done);
    add_setting(ssh, "ConnectTimeout=5");
    add_setting(ssh, "LogLevel=INFO"); /* a refusal by PAM is no error to ssh, but the reason to us */
    if (needs_config(hosts)) {
        MU_TRY_GOTO(status, write_config(hosts, config, own), done);
        add(ssh, "-F");
        add(ssh, own);
    } else if (config) {
        add(ssh, "-F");
        add(ssh, config);
    }
done:
    free(args);
    free(config);
    free(path);
    free(own);
    if (status != MU_OK) {
        mu_ssh_free(ssh);
        return status;
    }
    *out = ssh;
    return MU_OK;
}

int mu_ssh_port(const mu_ssh_t *ssh, int index)
{
    return ssh && ssh->port ? ssh->port : ssh ? ssh->hosts->host[index].port : 0;
}

void mu_ssh_free(mu_ssh_t *ssh)
{
    if (!ssh)
        return;
    if (ssh->option)
        mu_ssh_argv_free(ssh->option);
    free(ssh);
}

void mu_ssh_argv_free(char **argv)
{
    for (char **word = argv; *word; word++)
        free(*word);
    free(argv);
}

/* ssh FIRST... options -- host [remote] */
static char **command_line(const mu_ssh_t *ssh, int index, const char *const *first, const char *family,
                           const char *remote)
{
    char **argv = mu_calloc((size_t)ssh->options + 16, sizeof *argv), **p = argv;
    *p++ = mu_strdup("ssh");
    while (*first)
        *p++ = mu_strdup(*first++);
    for (int i = 0; i < ssh->options; i++)
        *p++ = mu_strdup(ssh->option[i]);
    if (family) { /* after the user's options: ssh takes the first */
        *p++ = mu_strdup("-o");
        *p++ = mu_format("AddressFamily=%s", family);
    }
    *p++ = mu_strdup("--");
    *p++ = mu_strdup(ssh->hosts->host[index].name);
    if (remote)
        *p++ = mu_strdup(remote);
    return argv;
}

void mu_ssh_argv(const mu_ssh_t *ssh, int index, const char *address, const char *remote, char ***out)
{
    const char *family = !*address ? NULL : strchr(address, ':') ? "inet6" : "inet";
    *out = command_line(ssh, index, (const char *const[]){"-T", "-o", "ControlMaster=yes", NULL}, family,
                        remote);
}

void mu_ssh_argv_ask(const mu_ssh_t *ssh, int index, char ***out)
{
    *out = command_line(ssh, index, (const char *const[]){"-T", "-G", NULL}, NULL, NULL);
}

void mu_ssh_mpirun_args(const mu_ssh_t *ssh, mu_buf_t *out)
{
    for (int i = 0; i < ssh->options; i++)
        mu_buf_addf(out, "%s%s", i ? " " : "", ssh->option[i]);
}
