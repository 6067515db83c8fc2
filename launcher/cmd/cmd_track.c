#include "launcher/cmd/cmd_track.h"
#include "common/listen.h"
#include "common/log.h"
#include "common/num.h"
#include "launcher/http/http_client.h"
#include "launcher/track/track.h"

#include <getopt.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: muster track RUN [--mlflow URI] [--tensorboard DIR] [--listen [ADDRESS:]PORT] [--once]\n"
    "\n"
    "Takes the points of a run to where people look at them, each point once. It goes on until the run has\n"
    "ended. On a finished run it delivers what is missing; RUN/track.json says how far each destination is.\n"
    "It is a process of its own and cannot disturb the run. `muster run` starts one by itself.\n"
    "\n"
    "  --mlflow URI       an MLflow server (http or https); MLFLOW_TRACKING_URI when no destination is "
    "given\n"
    "  --tensorboard DIR  an event file in DIR, for tensorboard --logdir DIR\n"
    "  --listen ADDR:PORT metrics for Prometheus at http://ADDR:PORT/metrics; ADDR is 127.0.0.1 when not "
    "given\n"
    "  --once             delivers what is there and ends; not with --listen\n"
    "  --wait SECONDS     tries this long after the run's end when a server does not answer (0)\n"
    "\n"
    "Credentials come from the environment only: MLFLOW_TRACKING_TOKEN (or a file that\n"
    "MLFLOW_TRACKING_TOKEN_FILE names), MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD.\n"
    "MLFLOW_EXPERIMENT_NAME names the experiment (muster).\n"
    "\n"
    "exit codes: 0; 65 run.json, metrics.jsonl or track.json is damaged, or a server refused a point; 66 no "
    "run\n"
    "there; 69 a server does not answer, or the port is taken; 73 another tracker works on this run, or DIR\n"
    "cannot be made; 74 DIR or RUN cannot be written; 75 ended by a signal; 77 credentials refused\n";

static volatile sig_atomic_t stopped;

static void count_signal(int number)
{
    (void)number;
    stopped = 1;
}

/* A launcher's tracker ends when the run does, or when the launcher goes; a signal to everything of the run, which asks the
 * launcher to save and stop, does not end it. */
static void catch_signals(bool own_launcher)
{
    static const int asking[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = count_signal};
    for (size_t i = 0; i < sizeof asking / sizeof *asking; i++) {
        if (own_launcher || signal(asking[i], SIG_IGN) == SIG_IGN)
            signal(asking[i], SIG_IGN);
        else
            sigaction(asking[i], &action, NULL);
    }
    if (own_launcher) {
        signal(SIGUSR1, SIG_IGN);
        signal(SIGQUIT, SIG_IGN);
        sigaction(MU_TRACK_END_SIGNAL, &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
}

typedef struct options {
    mu_track_t track;
    const char *mlflow; /* as given */
    bool help;
} options_t;

static mu_status_t take_option(int option, const char *value, options_t *out)
{
    switch (option) {
    case 't':
        out->track.tensorboard = value;
        break;
    case 'm':
        out->mlflow = value;
        break;
    case 'l':
        out->track.listen = value;
        break;
    case 'o':
        out->track.once = true;
        break;
    case 'h':
        out->help = true;
        break;
    case 'w':
        if (!mu_parse_f64(value, &out->track.wait) || out->track.wait < 0 || out->track.wait > 1e6)
            return mu_fail(MU_USAGE, "track: --wait '%s': wanted seconds", value);
        break;
    case 'p':
        if (!mu_parse_i64(value, &out->track.launcher) || out->track.launcher < 1)
            return mu_fail(MU_USAGE, "track: --launcher '%s': wanted a pid", value);
        break;
    default:
        return mu_fail(MU_USAGE, "see muster track --help");
    }
    return MU_OK;
}

static bool is_listen(const char *text)
{
    mu_buf_t host = MU_BUF_INIT;
    int port;
    bool good = mu_listen_split(text, &host, &port);
    mu_buf_release(&host);
    return good;
}

static mu_status_t parse(int argc, char **argv, options_t *out)
{
    static const struct option longs[] = {{"mlflow", required_argument, 0, 'm'},
                                          {"tensorboard", required_argument, 0, 't'},
                                          {"listen", required_argument, 0, 'l'},
                                          {"once", no_argument, 0, 'o'},
                                          {"wait", required_argument, 0, 'w'},
                                          {"launcher", required_argument, 0, 'p'}, /* of `muster run` alone */
                                          {"help", no_argument, 0, 'h'},
                                          {0, 0, 0, 0}};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "h", longs, NULL)) != -1;)
        MU_TRY(take_option(option, optarg, out));
    if (out->help)
        return MU_OK;
    if (optind + 1 != argc)
        return mu_fail(MU_USAGE, "track: one RUN is wanted: see muster track --help");
    out->track.run_dir = argv[optind];
    if (out->track.tensorboard && !*out->track.tensorboard)
        return mu_fail(MU_USAGE, "track: --tensorboard needs a folder");
    if (out->track.listen && !is_listen(out->track.listen))
        return mu_fail(MU_USAGE, "track: --listen '%s': wanted " MU_LISTEN_WORDS, out->track.listen);
    if (out->track.listen && out->track.once)
        return mu_fail(MU_USAGE, "track: --listen answers until the run has ended: leave --once away");
    return MU_OK;
}

/* The server's address without credentials. Those of the environment's URI go where they belong; in argv everybody would
 * see them. */
static mu_status_t find_mlflow(options_t *o, mu_secrets_t *secrets, mu_buf_t *base)
{
    bool named = o->mlflow != NULL;
    const char *uri = named ? o->mlflow : mu_secrets_get(secrets, "MLFLOW_TRACKING_URI"), *why;
    const char *from = named ? "--mlflow" : "MLFLOW_TRACKING_URI";
    mu_buf_t user = MU_BUF_INIT, password = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    if (!named && (!uri || o->track.tensorboard || o->track.listen))
        return MU_OK;
    if (!mu_http_split_url(uri, base, &user, &password, &why))
        status = mu_fail(MU_USAGE, "track: %s: %s: wanted http[s]://HOST[:PORT][/PATH]", from, why);
    else if (named && (user.len > 0 || password.len > 0))
        status = mu_fail(MU_USAGE,
                         "track: --mlflow with a user or password, which ps shows to everybody: put them "
                         "into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD");
    else if (user.len > 0)
        status = mu_secrets_set_login(secrets, user.data, password.data ? password.data : "");
    if (status == MU_OK)
        o->track.mlflow = base->data;
    if (password.data)
        sodium_memzero(password.data, password.len);
    mu_buf_release(&user);
    mu_buf_release(&password);
    return status;
}

mu_status_t mu_cmd_track(int argc, char **argv)
{
    options_t o = {.track = {.stop = &stopped}};
    mu_secrets_t *secrets = NULL;
    mu_buf_t base = MU_BUF_INIT;
    mu_status_t status;
    MU_TRY(parse(argc, argv, &o));
    if (o.help) {
        fputs(usage, stdout);
        return MU_OK;
    }
    MU_TRY(mu_secrets_take(&secrets));
    MU_TRY_GOTO(status, mu_secrets_read_token(secrets), end);
    MU_TRY_GOTO(status, find_mlflow(&o, secrets, &base), end);
    if (!o.track.tensorboard && !o.track.mlflow && !o.track.listen) {
        status = mu_fail(MU_USAGE, "track: no destination given: --mlflow URI (or MLFLOW_TRACKING_URI), "
                                   "--tensorboard DIR or --listen PORT");
        goto end;
    }
    catch_signals(o.track.launcher > 0);
    o.track.secrets = secrets;
    status = mu_track(&o.track);
end:
    mu_secrets_free(secrets);
    mu_buf_release(&base);
    return status;
}
