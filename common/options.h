/*
 * The command line of a verb as one table: it is parsed by it, and `--help`, the man page and the shell's completion
 * are printed from it.
 *
 *     static const mu_option_t options[] = {
 *         MU_OPT("CONFIG", NULL, MU_OPTION_OPERANDS, offsetof(args_t, files), "GPT-NeoX YAML files", .required = true),
 *         MU_OPT("--workers", "N", MU_OPTION_INT, offsetof(args_t, workers), "default: one a host", .min = 1, .max =
 *         99), MU_OPT("--json", NULL, MU_OPTION_FLAG, offsetof(args_t, json), "one JSON object", ),
 *         MU_OPT_END};
 *     const mu_command_t mu_x_command = {.name = "x", .summary = ..., .options = options, ...};
 *
 *     MU_TRY(mu_options_parse(&mu_x_command, argc, argv, &args, NULL, &help));     argv[0] is the verb
 *
 * A value follows its option as the next word or after `=`. "--" ends the options. The last one wins where an option
 * that holds one value is given twice. Values point into argv.
 */
#ifndef MU_COMMON_OPTIONS_H
#define MU_COMMON_OPTIONS_H

#include "common/args.h"
#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Words in the order of the command line; mu_words_free() frees the list, not the words. */
typedef struct mu_words {
    char **item;
    int count;
} mu_words_t;

void mu_words_add(mu_words_t *words, char *word);
void mu_words_free(mu_words_t *words);

typedef enum mu_option_type {                  /* what lies at `offset` */
                              MU_OPTION_FLAG,  /* bool */
                              MU_OPTION_TEXT,  /* const char * */
                              MU_OPTION_INT,   /* int64_t from min to max */
                              MU_OPTION_F64,   /* double from min to max */
                              MU_OPTION_SIZE,  /* uint64_t from min to max: "24GiB" */
                              MU_OPTION_WORDS, /* mu_words_t: may be given several times */
                              MU_OPTION_MANY,  /* mu_words_t: as well the operands right after it */
                              MU_OPTION_OPERANDS, /* mu_words_t: words that are no options; at most one such row */
                              MU_OPTION_OVERRIDES, /* mu_words_t: of these, key=value; at most one such row */
                              MU_OPTION_NOTE /* nothing: a paragraph among the options of --help, in `help` */
} mu_option_type_t;

typedef struct mu_option {
    const char *name;  /* "--workers"; of operands what stands for them: "CONFIG" */
    const char *value; /* what stands for its value: "N"; NULL: it has none */
    mu_option_type_t type;
    size_t offset;
    const char *help;    /* NULL: for muster's own calls, not shown */
    double min, max;     /* of a number */
    const char *choices; /* the only values: "blank|line|file"; or, for completion, "FILE", "DIR" */
    bool required;
    bool launcher;                               /* not for muster-worker: it is not among `forward` */
    int most;                                    /* of operands; 0: any number */
    mu_status_t (*take)(void *out, char *value); /* takes the value in place of `type`; NULL: none */
} mu_option_t;

/* A row; after `help` what else it has: .required = true. */
#define MU_OPT(NAME, VALUE, TYPE, AT, HELP, ...)                                                             \
    {                                                                                                        \
        .name = NAME, .value = VALUE, .type = TYPE, .offset = AT, .help = HELP, __VA_ARGS__                  \
    }
#define MU_OPT_END                                                                                           \
    {                                                                                                        \
        .name = NULL                                                                                         \
    }

typedef struct mu_command {
    const char *name;                      /* "plan", "tokenizer train" */
    const char *summary;                   /* one line without a full stop */
    const char *about;                     /* paragraphs with an empty line between; lines of any length */
    const mu_option_t *options;            /* a row without a name ends them */
    const char *notes;                     /* after the options; NULL: nothing */
    void (*more)(mu_buf_t *out);           /* text after them that is computed; NULL: none */
    const char *exits;                     /* "0 done; 66 no run there" */
    bool (*is_override)(const char *word); /* with a row of overrides */
    bool (*is_operand)(
        const char *word); /* right after a MANY option: it is an operand all the same; NULL: none is */
} mu_command_t;

/* Fills `out`, the structure that the offsets belong to, which holds the defaults. forward: NULL, or gets each option
 * that muster-worker is to see as one word. With --help or -h anywhere the help is printed, *help is true, and `out` is
 * not to be used. Errors: MU_USAGE, which names the option that is not there and the nearest one that is. */
mu_status_t mu_options_parse(const mu_command_t *command, int argc, char **argv, void *out,
                             mu_args_t *forward, bool *help);
/* The same in muster-worker, for a table that `muster` has as well: what is the launcher's is not there. */
mu_status_t mu_options_parse_worker(const mu_command_t *command, int argc, char **argv, void *out,
                                    bool *help);
/* Frees the lists of words in `out`. */
void mu_options_release(const mu_command_t *command, void *out);

void mu_options_help(const mu_command_t *command, mu_buf_t *out);
/* A page of section 1 in troff's man macros. */
void mu_options_man(const mu_command_t *command, mu_buf_t *out);
/* A script that completes `muster` in bash or zsh; the commands end with NULL. */
void mu_options_bash(const mu_command_t *const *commands, mu_buf_t *out);
void mu_options_zsh(const mu_command_t *const *commands, mu_buf_t *out);

#endif
