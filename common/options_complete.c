/* Completion of `muster` in bash and zsh, from the tables of all verbs. A verb of two words ("tokenizer train") is
 * completed word by word. */
#include "common/options.h"

#include <string.h>

static bool shown(const mu_option_t *o)
{
    return o->name[0] == '-' && o->help;
}

static bool is_kind(const mu_option_t *o, const char *kind)
{
    return o->choices && strcmp(o->choices, kind) == 0;
}

/* The first words of the commands, or the second words of those that begin with `first`; each once. */
static void words_of(const mu_command_t *const *commands, const char *first, mu_buf_t *out)
{
    const char *last = "";
    size_t last_n = 0;
    for (; *commands; commands++) {
        const char *name = (*commands)->name;
        size_t n = strcspn(name, " ");
        if (first) {
            if (!name[n] || strlen(first) != n || memcmp(first, name, n) != 0)
                continue;
            mu_buf_addf(out, "%s%s", out->len ? " " : "", name + n + 1);
        } else if (n != last_n || memcmp(name, last, n) != 0) {
            mu_buf_addf(out, "%s%.*s", out->len ? " " : "", (int)n, name);
        }
        last = name;
        last_n = n;
    }
}

/* Whether command i is the first of those of two words that share their first one, which is put into `first`. */
static bool begins_group(const mu_command_t *const *commands, int i, char *first, size_t size)
{
    const char *name = commands[i]->name;
    size_t n = strcspn(name, " ");
    snprintf(first, size, "%.*s", (int)n, name);
    return name[n] && (i == 0 || strncmp(commands[i - 1]->name, name, n + 1) != 0);
}

static void choices(const char *list, mu_buf_t *out)
{
    for (; *list; list++)
        mu_buf_addc(out, *list == '|' ? ' ' : *list);
}

/* What the first operand can be, where its row lists it ("slurm|mpijob CONFIG") or is a verb; "" : files. */
static void first_operands(const mu_command_t *command, const mu_buf_t *verbs, mu_buf_t *out)
{
    mu_buf_clear(out);
    for (const mu_option_t *o = command->options; o->name; o++) {
        size_t n = strcspn(o->name, " ");
        if (o->type != MU_OPTION_OPERANDS)
            continue;
        if (strcmp(o->name, "VERB") == 0)
            mu_buf_adds(out, verbs->data);
        for (size_t i = 0; memchr(o->name, '|', n) && i < n; i++)
            mu_buf_addc(out, o->name[i] == '|' ? ' ' : o->name[i]);
    }
}

/* ---- bash ---- */

static void bash_command(const mu_command_t *command, const mu_buf_t *verbs, mu_buf_t *out)
{
    mu_buf_t first = MU_BUF_INIT;
    mu_buf_addf(out, "    '%s')\n        case $prev in\n", command->name);
    for (const mu_option_t *o = command->options; o->name; o++) {
        if (!shown(o) || o->type == MU_OPTION_FLAG)
            continue;
        mu_buf_addf(out, "        %s) ", o->name);
        if (is_kind(o, "DIR")) {
            mu_buf_adds(out, "COMPREPLY=($(compgen -d -- \"$cur\"))");
        } else if (is_kind(o, "FILE")) {
            mu_buf_adds(out, "COMPREPLY=($(compgen -f -- \"$cur\"))");
        } else if (o->choices) {
            mu_buf_adds(out, "COMPREPLY=($(compgen -W '");
            choices(o->choices, out);
            mu_buf_adds(out, "' -- \"$cur\"))");
        } else {
            mu_buf_adds(out, "COMPREPLY=()");
        }
        mu_buf_adds(out, "; return ;;\n");
    }
    mu_buf_adds(out, "        esac\n        options='--help");
    for (const mu_option_t *o = command->options; o->name; o++)
        if (shown(o))
            mu_buf_addf(out, " %s", o->name);
    first_operands(command, verbs, &first);
    if (first.len > 0)
        mu_buf_addf(out, "'\n        first='%s", first.data);
    mu_buf_adds(out, "' ;;\n");
    mu_buf_release(&first);
}

void mu_options_bash(const mu_command_t *const *commands, mu_buf_t *out)
{
    mu_buf_t words = MU_BUF_INIT, verbs = MU_BUF_INIT;
    words_of(commands, NULL, &verbs);
    mu_buf_adds(out, "# bash completion of muster; made by `muster completion bash`\n_muster()\n{\n"
                     "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} "
                     "verb=${COMP_WORDS[1]} options='' first='' at=2\n"
                     "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n");
    mu_buf_addf(out,
                "        COMPREPLY=($(compgen -W '%s --help --version' -- \"$cur\"))\n        return\n    "
                "fi\n    case $verb in\n",
                verbs.data);
    for (int i = 0; commands[i]; i++) {
        char first[32];
        if (!begins_group(commands, i, first, sizeof first))
            continue;
        mu_buf_clear(&words);
        words_of(commands, first, &words);
        mu_buf_addf(
            out,
            "    %s)\n        if [ \"$COMP_CWORD\" -eq 2 ]; then\n"
            "            COMPREPLY=($(compgen -W '%s --help' -- \"$cur\"))\n            return\n        fi\n"
            "        verb=\"$verb ${COMP_WORDS[2]}\" at=3 ;;\n",
            first, words.data);
    }
    mu_buf_adds(out, "    esac\n    case $verb in\n");
    for (; *commands; commands++)
        bash_command(*commands, &verbs, out);
    mu_buf_adds(out, "    esac\n    if [[ $cur == -* ]]; then\n        COMPREPLY=($(compgen -W \"$options\" "
                     "-- \"$cur\"))\n"
                     "    elif [ -n \"$first\" ] && [ \"$COMP_CWORD\" -eq $at ]; then\n"
                     "        COMPREPLY=($(compgen -W \"$first\" -- \"$cur\"))\n"
                     "    else\n        COMPREPLY=($(compgen -f -- \"$cur\"))\n    fi\n}\n"
                     "complete -o filenames -F _muster muster\n");
    mu_buf_release(&words);
    mu_buf_release(&verbs);
}

/* ---- zsh ---- */

/* The first sentence of a help text, without what zsh's _arguments would take for its own. */
static void brief(const char *help, mu_buf_t *out)
{
    for (const char *p = help; *p && *p != '\n' && *p != ';' && !(*p == '.' && p[1] == ' ') && p - help < 60;
         p++)
        if (!strchr("[]:'\\\"`$", *p))
            mu_buf_addc(out, *p);
}

static void zsh_command(const mu_command_t *command, const mu_buf_t *verbs, mu_buf_t *out)
{
    mu_buf_t first = MU_BUF_INIT;
    mu_buf_addf(out, "    '%s')\n        _arguments -s '--help[all options]'", command->name);
    for (const mu_option_t *o = command->options; o->name; o++) {
        if (!shown(o))
            continue;
        mu_buf_addf(out, " \\\n            '%s%s%s[", o->type == MU_OPTION_WORDS ? "*" : "", o->name,
                    o->type == MU_OPTION_FLAG ? "" : "=");
        brief(o->help, out);
        mu_buf_adds(out, "]");
        if (o->type != MU_OPTION_FLAG) {
            mu_buf_adds(out, ":value:");
            if (is_kind(o, "FILE"))
                mu_buf_adds(out, "_files");
            else if (is_kind(o, "DIR"))
                mu_buf_adds(out, "_files -/");
            else if (o->choices) {
                mu_buf_addc(out, '(');
                choices(o->choices, out);
                mu_buf_addc(out, ')');
            }
        }
        mu_buf_addc(out, '\'');
    }
    first_operands(command, verbs, &first);
    if (first.len > 0)
        mu_buf_addf(out, " \\\n            '1: :(%s)'", first.data);
    mu_buf_adds(out, " \\\n            '*: :_files' ;;\n");
    mu_buf_release(&first);
}

void mu_options_zsh(const mu_command_t *const *commands, mu_buf_t *out)
{
    mu_buf_t words = MU_BUF_INIT, verbs = MU_BUF_INIT;
    words_of(commands, NULL, &verbs);
    mu_buf_addf(
        out,
        "#compdef muster\n# zsh completion of muster; made by `muster completion zsh`\n_muster() {\n"
        "    local verb=$words[2]\n    if (( CURRENT == 2 )); then\n        compadd -- %s --help --version\n"
        "        return\n    fi\n",
        verbs.data);
    for (int i = 0; commands[i]; i++) {
        char first[32];
        if (!begins_group(commands, i, first, sizeof first))
            continue;
        mu_buf_clear(&words);
        words_of(commands, first, &words);
        mu_buf_addf(
            out,
            "    if [[ $verb == %s ]]; then\n        if (( CURRENT == 3 )); then\n            compadd -- %s\n"
            "            return\n        fi\n        verb=\"$verb $words[3]\"\n        shift words\n"
            "        (( CURRENT-- ))\n    fi\n",
            first, words.data);
    }
    mu_buf_adds(out, "    shift words\n    (( CURRENT-- ))\n    case $verb in\n");
    for (; *commands; commands++)
        zsh_command(*commands, &verbs, out);
    mu_buf_adds(out, "    *) _files ;;\n    esac\n}\n_muster \"$@\"\n");
    mu_buf_release(&words);
    mu_buf_release(&verbs);
}
