#include "launcher/mpi/agent.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"
#include "common/ready_text.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { NODES_MAX = 16 << 20 };

mu_status_t mu_shell_word(const char *text, mu_buf_t *out)
{
    if (strchr(text, '\n')) { /* csh and tcsh have no word for it */
        mu_buf_t shown = MU_BUF_INIT;
        mu_text_escape(text, strlen(text), 400, &shown);
        mu_status_t status = mu_fail(
            MU_CONFIG, "\"%s\" has a line end, which not every login shell passes on: rename the path",
            shown.data);
        mu_buf_release(&shown);
        return status;
    }
    if (!*text)
        mu_buf_adds(out, "''");
    for (const char *p = text; *p; p++) {
        /* bytes of UTF-8 mean nothing to a shell, and fish takes a backslash before one for a part of the text */
        if (!isalnum((unsigned char)*p) && !strchr("/_.,:@+-", *p) && (unsigned char)*p < 0x80)
            mu_buf_addc(out, '\\');
        mu_buf_addc(out, *p);
    }
    return MU_OK;
}

static char *path_in(const char *dir, const char *name)
{
    return mu_path_join(dir, name);
}

/* A link: the folder may be on a volume from which nothing may be executed. */
static mu_status_t make_link(const char *dir)
{
    mu_buf_t program = MU_BUF_INIT;
    char *path = path_in(dir, MU_AGENT_NAME);
    mu_status_t status = mu_program_dir(&program);
    if (status == MU_OK) {
        mu_buf_adds(&program, "/" MU_AGENT_NAME);
        if (access(program.data, X_OK) != 0)
            status = mu_fail(MU_PREFLIGHT, "%s: cannot be started: %s: it belongs beside muster",
                             program.data, strerror(errno));
        else if (symlink(program.data, path) != 0 && errno != EEXIST)
            status = mu_fail(MU_IO, "%s: cannot link: %s", path, strerror(errno));
    }
    mu_buf_release(&program);
    free(path);
    return status;
}

mu_status_t mu_agent_install(const char *dir, const mu_node_t *nodes, const int *family, int count)
{
    mu_buf_t text = MU_BUF_INIT;
    char *path = path_in(dir, "nodes");
    for (int i = 0; i < count; i++)
        mu_buf_addf(&text, "%s %d %s\n", nodes[i].name, family[i], nodes[i].host);
    mu_status_t status = mu_file_replace(path, text.data ? text.data : "", text.len, 0600);
    mu_buf_release(&text);
    free(path);
    return status == MU_OK ? make_link(dir) : status;
}

/* The host and family of a node; a node that is not listed is its own host. */
static char *host_of(const char *nodes, const char *node, int *family)
{
    size_t n = strlen(node);
    *family = 0;
    for (const char *line = nodes; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (strncmp(line, node, n) == 0 && line[n] == ' ' && line[n + 1] && line[n + 2] == ' ') {
            *family = line[n + 1] - '0';
            const char *host = line + n + 3;
            return mu_format("%.*s", (int)strcspn(host, "\n"), host);
        }
    return mu_strdup(node);
}

mu_status_t mu_agent_line(int argc, char *const *argv, const char *nodes, mu_args_t *out)
{
    int dashes = 1, family;
    while (dashes < argc && strcmp(argv[dashes], "--") != 0)
        dashes++;
    if (dashes + 2 >= argc)
        return mu_fail(MU_USAGE, "%s: wants ssh's options, --, a node and a command", argv[0]);
    char *host = host_of(nodes, argv[dashes + 1], &family);
    mu_buf_t command = MU_BUF_INIT, remote = MU_BUF_INIT;
    mu_args_add(out, "ssh");
    for (int i = 1; i < dashes; i++)
        mu_args_add(out, argv[i]);
    if (family == 4 || family == 6) { /* after the user's options, of which ssh takes the first */
        mu_args_add(out, "-o");
        mu_args_addf(out, "AddressFamily=%s", family == 4 ? "inet" : "inet6");
    }
    mu_args_add(out, "--");
    mu_args_add(out, host);
    for (int i = dashes + 2; i < argc; i++) /* as ssh joins them */
        mu_buf_addf(&command, "%s%s", i > dashes + 2 ? " " : "", argv[i]);
    /* so Open MPI writes for csh, whose login shell here the host then has to have */
    mu_buf_adds(&remote, strstr(command.data, "set path = (") ? "exec csh -f -c " : "exec sh -c ");
    mu_status_t status = mu_shell_word(command.data, &remote);
    if (status == MU_OK)
        mu_args_add(out, remote.data);
    mu_buf_release(&remote);
    mu_buf_release(&command);
    free(host);
    return status;
}

mu_status_t mu_agent(int argc, char **argv)
{
    mu_buf_t nodes = MU_BUF_INIT;
    mu_args_t line = {0};
    char *dir = mu_format("%.*s", (int)(strrchr(argv[0], '/') - argv[0]), argv[0]),
         *path = path_in(dir, "nodes");
    mu_status_t status = mu_file_read(path, NODES_MAX, &nodes);
    if (status == MU_OK)
        status = mu_agent_line(argc, argv, nodes.data ? nodes.data : "", &line);
    if (status == MU_OK) {
        execvp("ssh", line.v);
        status = mu_fail(MU_PREFLIGHT, "ssh does not start on this machine: %s", strerror(errno));
    }
    mu_args_free(&line);
    mu_buf_release(&nodes);
    free(path);
    free(dir);
    return status;
}
