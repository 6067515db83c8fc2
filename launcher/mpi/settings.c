#include "launcher/mpi/settings.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TEXT_MAX = 16 << 20, PATIENCE_MS = 10000 };

/* Into a file in memory: the text is larger than a pipe, and nobody reads while it is written. */
void mu_settings_start(mu_settings_t *settings)
{
    *settings = (mu_settings_t){.fd = memfd_create("ompi_info", MFD_CLOEXEC)};
    if (settings->fd < 0)
        return;
    fflush(NULL);
    settings->pid = fork();
    if (settings->pid != 0)
        return;
    int null = open("/dev/null", O_RDWR);
    dup2(null, STDIN_FILENO);
    dup2(null, STDERR_FILENO);
    dup2(settings->fd, STDOUT_FILENO);
    execlp("ompi_info", "ompi_info", "--param", "all", "all", "--level", "9", "--parsable", (char *)NULL);
    _exit(127);
}

static mu_setting_t *find(const mu_settings_t *settings, const char *name, size_t n)
{
    for (int i = 0; i < settings->count; i++)
        if (strlen(settings->at[i].name) == n && memcmp(settings->at[i].name, name, n) == 0)
            return &settings->at[i];
    return NULL;
}

static void add(mu_settings_t *settings, const char *name, size_t n, const char *value, const char *from)
{
    if (find(settings, name, n))
        return;
    settings->at = mu_realloc(settings->at, (size_t)(settings->count + 1) * sizeof *settings->at);
    settings->at[settings->count++] = (mu_setting_t){.name = mu_format("%.*s", (int)n, name),
                                                     .value = mu_strdup(value),
                                                     .from = from ? mu_strdup(from) : NULL};
}

/* "environment", "file (/etc/x.conf:12)", "default". */
static void take_source(mu_settings_t *settings, const char *name, size_t n, const char *value, char *source)
{
    static const char file[] = "file (";
    char *end = strrchr(source, ')');
    if (strcmp(source, "environment") == 0) {
        add(settings, name, n, value, NULL);
    } else if (strncmp(source, file, sizeof file - 1) == 0 && end) {
        *end = '\0';
        add(settings, name, n, value, source + sizeof file - 1);
    }
}

/* "mca:plm:rsh:version:"component:4.1.4"" */
static void take_component(mu_settings_t *settings, const char *line)
{
    const char *end = strstr(line, ":version:\"component:");
    if (end && strncmp(line, "mca:", 4) == 0)
        mu_args_addf(&settings->components, "%.*s", (int)(end - line - 4), line + 4);
}

/* Lines "mca:TYPE:COMPONENT:param:NAME:value:TEXT", each followed by one with "source". */
void mu_settings_parse(mu_settings_t *settings, const char *text, size_t n)
{
    char *copy = mu_format("%.*s", (int)n, text), *save = NULL, *value = NULL;
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *name = strstr(line, ":param:");
        if (!name) {
            take_component(settings, line);
            continue;
        }
        name += strlen(":param:");
        size_t length = strcspn(name, ":");
        char *rest = name + length;
        if (strncmp(rest, ":value:", 7) == 0)
            value = rest + 7;
        else if (strncmp(rest, ":source:", 8) == 0 && value)
            take_source(settings, name, length, value, rest + 8);
    }
    free(copy);
}

static bool has_ended(pid_t pid, int *status)
{
    for (int ms = 0; ms < PATIENCE_MS; ms += 2) {
        if (waitpid(pid, status, WNOHANG) != 0)
            return true;
        mu_sleep_ms(2);
    }
    kill(pid, SIGKILL);
    waitpid(pid, status, 0);
    return false;
}

void mu_settings_read(mu_settings_t *settings)
{
    mu_buf_t text = MU_BUF_INIT;
    int status = -1;
    if (settings->pid <= 0)
        return;
    bool good = has_ended(settings->pid, &status) && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    settings->pid = 0;
    if (good && lseek(settings->fd, 0, SEEK_SET) == 0)
        mu_fd_drain(settings->fd, TEXT_MAX, &text);
    if (text.len > 0)
        mu_settings_parse(settings, text.data, text.len);
    else
        mu_warn("ompi_info does not say which parameters of Open MPI are set in files: only the environment "
                "is looked at");
    close(settings->fd);
    settings->fd = -1;
    mu_buf_release(&text);
}

void mu_settings_free(mu_settings_t *settings)
{
    int status;
    if (settings->pid > 0) {
        kill(settings->pid, SIGKILL);
        waitpid(settings->pid, &status, 0);
    }
    if (settings->fd > 0)
        close(settings->fd);
    for (int i = 0; i < settings->count; i++) {
        free(settings->at[i].name);
        free(settings->at[i].value);
        free(settings->at[i].from);
    }
    free(settings->at);
    mu_args_free(&settings->components);
    *settings = (mu_settings_t){.fd = -1};
}

const mu_setting_t *mu_settings_get(const mu_settings_t *settings, const char *name)
{
    const mu_setting_t *setting = settings ? find(settings, name, strlen(name)) : NULL;
    bool lists_components = strcmp(name, "pml") == 0 || strcmp(name, "btl") == 0;
    return setting && setting->from && lists_components ? NULL : setting;
}

/* With these in effect ranks were seen on other hosts than those that they were meant for, twice on one, or nowhere.
 * Those left out are overruled by mpirun's command line, or only print. */
bool mu_setting_places(const char *name)
{
    static const char *const fine[] = {"rmaps_base_mapping_policy", "rmaps_base_schedule_policy",
                                       "rmaps_base_oversubscribe", "rmaps_base_inherit", NULL};
    if (strcmp(name, "orte_do_not_launch") == 0 || strcmp(name, "orte_rankfile") == 0)
        return true;
    for (int i = 0; fine[i]; i++)
        if (strcmp(name, fine[i]) == 0)
            return false;
    return strncmp(name, "rmaps", 5) == 0 && !strstr(name, "display") && !strstr(name, "verbose");
}

static const char *place(const mu_setting_t *setting)
{
    return setting->from ? setting->from : "the environment";
}

static mu_status_t check_places(const mu_settings_t *settings)
{
    for (int i = 0; i < settings->count; i++) {
        const mu_setting_t *s = &settings->at[i];
        if (!mu_setting_places(s->name))
            continue;
        if (s->from)
            return mu_fail(MU_CONFIG,
                           "%s: %s = %s decides which ranks Open MPI starts where, and muster does that: "
                           "remove the line",
                           s->from, s->name, s->value);
        mu_warn("OMPI_MCA_%s=%s is not passed to mpirun: which ranks run where is decided by muster", s->name,
                s->value);
    }
    return MU_OK;
}

/* Open MPI takes one list or the other. */
static mu_status_t check_pair(const mu_settings_t *settings, const char *include, const char *exclude)
{
    const mu_setting_t *in = mu_settings_get(settings, include), *out = mu_settings_get(settings, exclude);
    if (!in || !out || !*in->value || !*out->value)
        return MU_OK;
    return mu_fail(MU_CONFIG,
                   "%s sets %s = %s, and %s sets %s = %s: Open MPI takes one of them: remove the other",
                   place(in), include, in->value, place(out), exclude, out->value);
}

/* The components of a framework, ", " between them; "": it is none. */
static void list_components(const mu_settings_t *settings, const char *framework, mu_buf_t *out)
{
    size_t n = strlen(framework);
    for (int i = 0; i < settings->components.n; i++) {
        const char *name = settings->components.v[i];
        if (strncmp(name, framework, n) == 0 && name[n] == ':')
            mu_buf_addf(out, "%s%s", out->len ? ", " : "", name + n + 1);
    }
}

static bool has_component(const mu_settings_t *settings, const char *framework, const char *name, size_t n)
{
    char *wanted = mu_format("%s:%.*s", framework, (int)n, name);
    bool has = false;
    for (int i = 0; i < settings->components.n && !has; i++)
        has = strcmp(settings->components.v[i], wanted) == 0;
    free(wanted);
    return has;
}

/* A framework's list of components ("tcp,self"; "^openib" leaves one out): a rank or mpirun ends at the first that is
 * not there. */
static mu_status_t check_components(const mu_settings_t *settings, const mu_setting_t *setting)
{
    mu_buf_t has = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    list_components(settings, setting->name, &has);
    size_t n;
    for (const char *p = setting->value; has.len && *p && *p != '^' && status == MU_OK;
         p += n + (p[n] == ',')) {
        n = strcspn(p, ",");
        if (n > 0 && !has_component(settings, setting->name, p, n))
            status =
                mu_fail(MU_CONFIG, "%s: %s = %s: Open MPI has no component %.*s on this machine: it has %s",
                        place(setting), setting->name, setting->value, (int)n, p, has.data);
    }
    mu_buf_release(&has);
    return status;
}

static bool is_set(const mu_setting_t *setting, const char *word)
{
    return setting && strcmp(setting->value, word) == 0;
}

/* The hosts were reached over one family, which Open MPI must not leave out. */
static mu_status_t check_family(const mu_settings_t *settings, int family)
{
    const char *oob = family == 4 ? "oob_tcp_disable_ipv4_family" : "oob_tcp_disable_ipv6_family";
    const mu_setting_t *daemons = mu_settings_get(settings, oob),
                       *ranks = mu_settings_get(settings, "btl_tcp_disable_family");
    const mu_setting_t *bad = is_set(daemons, "true") || is_set(daemons, "1") ? daemons : NULL;
    if (!bad && is_set(ranks, family == 4 ? "4" : "6"))
        bad = ranks;
    if (!bad || family == 0)
        return MU_OK;
    return mu_fail(MU_CONFIG, "%s: %s = %s leaves out IPv%d, over which the hosts were reached: remove it",
                   place(bad), bad->name, bad->value, family);
}

mu_status_t mu_settings_check(const mu_settings_t *settings, int family)
{
    MU_TRY(check_places(settings));
    for (int i = 0; settings && i < settings->count; i++)
        if (mu_settings_get(settings, settings->at[i].name) == &settings->at[i])
            MU_TRY(check_components(settings, &settings->at[i]));
    MU_TRY(check_pair(settings, "btl_tcp_if_include", "btl_tcp_if_exclude"));
    MU_TRY(check_pair(settings, "oob_tcp_if_include", "oob_tcp_if_exclude"));
    return check_family(settings, family);
}
