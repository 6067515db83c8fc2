#include "launcher/cmd/cmd.h"
#include "common/listen.h"
#include "common/log.h"
#include "launcher/track/mlflow_address.h"
#include "launcher/track/track.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t stopped;

static void count_signal(int number)
{
    (void)number;
    stopped = 1;
}

/* A launcher's tracker ends when the run does, or when the launcher goes; a signal to everything of the run, which
 * asks the launcher to save and stop, does not end it. */
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

typedef struct request {
    mu_words_t run;
    mu_track_t track;
    const char *mlflow; /* as given */
} request_t;

static const mu_option_t options[] = {
    MU_OPT("RUN", NULL, MU_OPTION_OPERANDS, offsetof(request_t, run), "the run's directory", .required = true,
           .most = 1),
    MU_OPT("--mlflow", "URI", MU_OPTION_TEXT, offsetof(request_t, mlflow),
           "an MLflow server (http or https); MLFLOW_TRACKING_URI when no destination is given", ),
    MU_OPT("--tensorboard", "DIR", MU_OPTION_TEXT, offsetof(request_t, track.tensorboard),
           "an event file in DIR, for tensorboard --logdir DIR", .choices = "DIR"),
    MU_OPT("--listen", "[ADDRESS:]PORT", MU_OPTION_TEXT, offsetof(request_t, track.listen),
           "metrics for Prometheus at http://ADDRESS:PORT/metrics; ADDRESS is 127.0.0.1 when not given", ),
    MU_OPT("--once", NULL, MU_OPTION_FLAG, offsetof(request_t, track.once),
           "delivers what is there and ends; not with --listen", ),
    MU_OPT("--wait", "SECONDS", MU_OPTION_F64, offsetof(request_t, track.wait),
           "tries this long after the run's end when a server does not answer (0)", .min = 0, .max = 1e6),
    MU_OPT("--launcher", "PID", MU_OPTION_INT, offsetof(request_t, track.launcher), NULL, .min = 1,
           .max = INT32_MAX), /* of `muster run` alone */
    MU_OPT_END};

const mu_command_t mu_track_command = {
    .name = "track",
    .summary = "the points of a run to MLflow, TensorBoard, Prometheus",
    .about =
        "Takes the points of a run to where people look at them, each point once. It goes on until the run "
        "has "
        "ended. On a finished run it delivers what is missing; RUN/track.json says how far each destination "
        "is. It is a process of its own and cannot disturb the run. `muster run` starts one by itself.",
    .options = options,
    .notes = "Credentials come from the environment only: MLFLOW_TRACKING_TOKEN (or a file that "
             "MLFLOW_TRACKING_TOKEN_FILE names), MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD. "
             "MLFLOW_EXPERIMENT_NAME names the experiment (muster).",
    .exits =
        "0; 2 bad command line; 65 run.json, metrics.jsonl or track.json is damaged, or a server refused "
        "a point; 66 no run there; 69 a server does not answer, or the port is taken; 73 another tracker "
        "works on this run, or DIR cannot be made; 74 DIR or RUN cannot be written; 75 ended by a signal; "
        "77 credentials refused"};

static bool is_listen(const char *text)
{
    mu_buf_t host = MU_BUF_INIT;
    int port;
    bool good = mu_listen_split(text, &host, &port);
    mu_buf_release(&host);
    return good;
}

static mu_status_t check_destinations(const mu_track_t *t)
{
    if (t->tensorboard && !*t->tensorboard)
        return mu_fail(MU_USAGE, "track: --tensorboard needs a folder");
    if (t->listen && !is_listen(t->listen))
        return mu_fail(MU_USAGE, "track: --listen '%s': wanted " MU_LISTEN_WORDS, t->listen);
    if (t->listen && t->once)
        return mu_fail(MU_USAGE, "track: --listen answers until the run has ended: leave --once away");
    return MU_OK;
}

static mu_status_t track(request_t *r)
{
    mu_secrets_t *secrets = NULL;
    mu_buf_t base = MU_BUF_INIT;
    mu_track_t *t = &r->track;
    mu_status_t status;
    MU_TRY(check_destinations(t));
    MU_TRY(mu_secrets_take(&secrets));
    MU_TRY_GOTO(status, mu_secrets_read_token(secrets), end);
    if (r->mlflow || !(t->tensorboard || t->listen)) /* the environment's when no destination is named */
        MU_TRY_GOTO(status, mu_mlflow_address("track", r->mlflow, secrets, &base), end);
    t->mlflow = base.len > 0 ? base.data : NULL;
    if (!t->tensorboard && !t->mlflow && !t->listen) {
        status = mu_fail(MU_USAGE, "track: no destination given: --mlflow URI (or MLFLOW_TRACKING_URI), "
                                   "--tensorboard DIR or --listen PORT");
        goto end;
    }
    catch_signals(t->launcher > 0);
    t->run_dir = r->run.item[0];
    t->secrets = secrets;
    status = mu_track(t);
end:
    mu_secrets_free(secrets);
    mu_buf_release(&base);
    return status;
}

mu_status_t mu_cmd_track(int argc, char **argv)
{
    request_t r = {.track = {.stop = &stopped}};
    bool help;
    mu_status_t status = mu_options_parse(&mu_track_command, argc, argv, &r, NULL, &help);
    if (status == MU_OK && !help)
        status = track(&r);
    mu_options_release(&mu_track_command, &r);
    return status;
}
