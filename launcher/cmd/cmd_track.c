#include "launcher/cmd/cmd_track.h"
#include "common/listen.h"
#include "common/log.h"
#include "common/num.h"
#include "launcher/track/mlflow_address.h"
#include "launcher/track/track.h"

#include <getopt.h>
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
    if (o.mlflow ||
        !(o.track.tensorboard || o.track.listen)) /* the environment's when no destination is named */
        MU_TRY_GOTO(status, mu_mlflow_address("track", o.mlflow, secrets, &base), end);
    o.track.mlflow = base.len > 0 ? base.data : NULL;
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
