/* Pieces of YAML that the objects for Kubernetes have in common. */
#include "launcher/mpi/ports.h"
#include "launcher/render/render_impl.h"

#include <ctype.h>
#include <strings.h>

/* A name as YAML reads it as a string: some words are booleans or null to one parser or another. */
const char *mu_yaml_scalar(const char *word, char *room, size_t size)
{
    static const char *const others[] = {"y", "yes", "n", "no", "on", "off", "true", "false", "null"};
    bool quoted = !isalpha((unsigned char)word[0]) || strpbrk(word, "@,%") || word[strlen(word) - 1] == ':';
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        quoted = quoted || strcasecmp(word, others[i]) == 0;
    snprintf(room, size, quoted ? "\"%s\"" : "%s", word);
    return room;
}

mu_buf_t *mu_render_file(mu_render_files_t *files, const char *name)
{
    int i = files->apart ? files->count : 0;
    if (i == files->count)
        files->name[files->count++] = name;
    return &files->text[i];
}

void mu_render_files_release(mu_render_files_t *files)
{
    for (int i = 0; i < files->count; i++)
        mu_buf_release(&files->text[i]);
    files->count = 0;
}

void mu_render_meta(const mu_params_t *p, const char *suffix, mu_buf_t *out)
{
    const char *space = mu_params_text(p, "namespace");
    char *whole = mu_format("%s%s", mu_params_text(p, "name"), suffix);
    mu_buf_addf(out, "metadata:\n  name: %s\n", MU_YAML_NAME(whole));
    free(whole);
    if (space)
        mu_buf_addf(out, "  namespace: %s\n", MU_YAML_NAME(space));
    mu_buf_addf(out, "  labels:\n    app.kubernetes.io/name: muster\n    app.kubernetes.io/instance: %s\n",
                MU_YAML_NAME(mu_params_text(p, "name")));
}

void mu_yaml_indent(const char *text, int spaces, mu_buf_t *out)
{
    for (const char *line = text; line && *line;) {
        size_t n = strcspn(line, "\n");
        mu_buf_addf(out, "%*s%.*s\n", n ? spaces : 0, "", (int)n, line);
        line += n + (line[n] != '\0');
    }
}

void mu_yaml_item(const char *text, int spaces, mu_buf_t *out)
{
    size_t at = out->len;
    mu_yaml_indent(text, spaces + 2, out);
    if (out->len > at)
        out->data[at + (size_t)spaces] = '-';
}

/* The ports of docs/kubernetes.md, among the pods of this job only. */
void mu_render_policy_spec(const char *label, const char *value, mu_buf_t *out)
{
    const char *name = MU_YAML_NAME(value);
    mu_buf_addf(out,
                "spec:\n"
                "  podSelector:\n"
                "    matchLabels: {%s: %s}\n"
                "  policyTypes: [Ingress]\n"
                "  ingress:\n"
                "    - from:\n"
                "        - podSelector:\n"
                "            matchLabels: {%s: %s}\n"
                "      ports:\n"
                "        - {protocol: TCP, port: %d}\n"
                "        - {protocol: TCP, port: %d, endPort: %d}\n",
                label, name, label, name, MU_RENDER_SSH_PORT, MU_PORT_CONTROL,
                MU_PORT_RANK + MU_PORT_RANK_COUNT - 1);
}
