/* muster render: what is refused, and what is written. Validation against the operator's own schema is
 * tests/k8s. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/file.h"
#include "common/log.h"
#include "launcher/cmd/cmd.h"
#include "launcher/render/render.h"

#include <fcntl.h>
#include <unistd.h>

static mu_buf_t said = MU_BUF_INIT;

static void keep(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    mu_buf_addf(&said, "%s\n", line);
}

static mu_status_t take(mu_render_target_t target, const char *argument, bool *taken)
{
    mu_params_t p;
    mu_params_init(&p, target);
    mu_status_t status = mu_params_take(&p, argument, taken);
    mu_params_release(&p);
    return status;
}

static void parameters_have_types(void **state)
{
    static const struct {
        mu_render_target_t target;
        const char *argument;
        bool good;
    } cases[] = {
        {MU_RENDER_MPIJOB, "launcher_creation=WaitForWorkersReady", true},
        {MU_RENDER_MPIJOB, "launcher_creation=WaitForWorkerReady", false}, /* the operator would wait */
        {MU_RENDER_MPIJOB, "launcher_creation=atStartup", false},
        {MU_RENDER_MPIJOB, "launcher_creation=", false},
        {MU_RENDER_MPIJOB, "launcher_creation=AtStartup|", false},
        {MU_RENDER_MPIJOB, "worker_restart=Always", false}, /* Kubernetes' own, the operator's not */
        {MU_RENDER_MPIJOB, "launcher_restart=ExitCode", false},
        {MU_RENDER_MPIJOB, "clean_pods=running", false},
        {MU_RENDER_MPIJOB, "workers=0", false},
        {MU_RENDER_MPIJOB, "workers=1e3", false},
        {MU_RENDER_MPIJOB, "slots=-1", false},
        {MU_RENDER_MPIJOB, "name=Big", false},
        {MU_RENDER_MPIJOB, "name=1st", false},
        {MU_RENDER_MPIJOB, "name=a-", false},
        {MU_RENDER_MPIJOB, "name=ok-1", true},
        {MU_RENDER_MPIJOB, "memory=64Gi", true},
        {MU_RENDER_MPIJOB, "memory=64GiB", false},
        {MU_RENDER_MPIJOB, "memory=0", false},
        {MU_RENDER_MPIJOB, "memory=500m", false}, /* half a byte */
        {MU_RENDER_MPIJOB, "memory=127Mi", false},
        {MU_RENDER_MPIJOB, "memory=128Mi", true},
        {MU_RENDER_MPIJOB, "memory=16", false},
        {MU_RENDER_MPIJOB, "memory=135M", true},
        {MU_RENDER_MPIJOB, "launcher_memory=1k", false},
        {MU_RENDER_MPIJOB, "launcher_memory=8Gi", true},
        {MU_RENDER_MPIJOB, "launcher_cpu=0", false},
        {MU_RENDER_MPIJOB, "launcher_cpu=1", true},
        {MU_RENDER_MPIJOB, "cpu=500m", true},
        {MU_RENDER_MPIJOB, "cpu=5m", false},
        {MU_RENDER_MPIJOB, "cpu=4Gi", false},
        {MU_RENDER_MPIJOB, "cpu=99999999999999999999", false},
        {MU_RENDER_MPIJOB, "home=/home/a", true},
        {MU_RENDER_MPIJOB, "home=a", false},
        {MU_RENDER_MPIJOB, "home=/a,b", false},
        {MU_RENDER_MPIJOB, "cpu=Gi", false},
        {MU_RENDER_MPIJOB, "volumes=a:/a,b:/b/c", true},
        {MU_RENDER_MPIJOB, "volumes=a:/a,", false},
        {MU_RENDER_MPIJOB, "volumes=a", false},
        {MU_RENDER_MPIJOB, "volumes=a:b", false},
        {MU_RENDER_MPIJOB, "volumes=a:/", false},
        {MU_RENDER_MPIJOB, "volumes=", false},
        {MU_RENDER_MPIJOB, "volumes=a:/a}", false},
        {MU_RENDER_MPIJOB, "gpus=0", false},
        {MU_RENDER_MPIJOB, "gpu_label=nvidia.com/gpu.product", true},
        {MU_RENDER_MPIJOB, "gpu_label=nvidia.com/", false},
        {MU_RENDER_MPIJOB, "gpu_label=a b", false},
        {MU_RENDER_MPIJOB, "gpu_model=A100_NVLINK_80GB", true},
        {MU_RENDER_MPIJOB, "gpu_model=A100]", false},
        {MU_RENDER_MPIJOB, "region=LAS1", true},
        {MU_RENDER_MPIJOB, "region=-x", false},
        {MU_RENDER_MPIJOB, "image=reg.io:5000/muster:1.0", true},
        {MU_RENDER_MPIJOB, "image=a b", false},
        {MU_RENDER_MPIJOB, "image=a\nb", false},
        {MU_RENDER_SLURM, "nodes=0", false},
        {MU_RENDER_SLURM, "nodes=16", true},
        {MU_RENDER_SLURM, "time=90", true},
        {MU_RENDER_SLURM, "time=1-12:00:00", true},
        {MU_RENDER_SLURM, "time=0:00", false}, /* Slurm: no limit */
        {MU_RENDER_SLURM, "time=1h", false},
        {MU_RENDER_SLURM, "time=1:2:3:4", false},
        {MU_RENDER_SLURM, "time=", false},
        {MU_RENDER_SLURM, "partition=a;b", false},
        {MU_RENDER_SLURM, "partition=--help", false},
        {MU_RENDER_SLURM, "signal_seconds=5", false},
        {MU_RENDER_SLURM, "chain=prepare,train,gate,export", true},
        {MU_RENDER_SLURM, "chain=import,train", true},
        {MU_RENDER_SLURM, "chain=train,prepare", false}, /* the order of the steps is theirs */
        {MU_RENDER_SLURM, "chain=train,train", false},
        {MU_RENDER_SLURM, "chain=train,", false},
        {MU_RENDER_SLURM, "chain=trains", false},
        {MU_RENDER_SLURM, "chain=", false},
        {MU_RENDER_SLURM, "gate=ppl<=16.53,tokens>=100", true},
        {MU_RENDER_SLURM, "gate=ppl=16.53", false},
        {MU_RENDER_SLURM, "gate=pplx<=16.53", false},
        {MU_RENDER_SLURM, "gate=ppl<=16.53,", false},
        {MU_RENDER_SLURM, "gate_split=train", false},
        {MU_RENDER_SLURM, "export=here", false},
        {MU_RENDER_STORAGE, "class=fast", true},
        {MU_RENDER_STORAGE, "class=a:fast,b:slow", true},
        {MU_RENDER_STORAGE, "class=a:fast,b", false},
        {MU_RENDER_STORAGE, "sizes=a:512Gi,b:1Ti", true},
        {MU_RENDER_STORAGE, "sizes=a:512", false},
        {MU_RENDER_STORAGE, "sizes=a:", false},
        {MU_RENDER_STORAGE, "sizes=a:512Gi,", false},
        {MU_RENDER_STORAGE, "wandb_secret_name=", true},
        {MU_RENDER_STORAGE, "wandb_secret_name=hf_abcdefgh", false},
        {MU_RENDER_STORAGE, "wandb_secret_name=abcdef0123456789abcdef0123456789",
         false}, /* a key, not its name */
        {MU_RENDER_MPIJOB, "secret=abcdef0123456789abcdef0123456789", false},
        {MU_RENDER_ARGO, "model_weights_url=https://host/dir/", true},
        {MU_RENDER_ARGO, "model_weights_url=https://me@host/dir/", false},
        {MU_RENDER_ARGO, "model_weights_url=https://host/a b", false},
        {MU_RENDER_ARGO, "model_weights_url=ftp://host/a", false},
        {MU_RENDER_ARGO, "model_weights_url=https://host/$(id)", false},
        {MU_RENDER_ARGO, "dataset_sha256=", true},
        {MU_RENDER_ARGO, "dataset_sha256=00", false},
        {MU_RENDER_ARGO, "dataset_path=a/b", true},
        {MU_RENDER_ARGO, "dataset_path=/a", false},
        {MU_RENDER_ARGO, "dataset_path=a/../b", false},
        {MU_RENDER_ARGO, "dataset_path=", false},
        {MU_RENDER_ARGO, "use_ib=True", false},
        {MU_RENDER_TRAINJOB, "launcher_as_node=yes", false},
        {MU_RENDER_SERVE, "model=best", true},
        {MU_RENDER_SERVE, "model=2000", true},
        {MU_RENDER_SERVE, "model=0", false},
        {MU_RENDER_SERVE, "model=2000m", false},
        {MU_RENDER_SERVE, "model=", false},
        {MU_RENDER_SERVE, "engine=triton", false},
        {MU_RENDER_SERVE, "port=80", false}, /* of root's */
        {MU_RENDER_SERVE, "token_secret=abcdef0123456789abcdef0123456789", false},
        {MU_RENDER_ARGO, "serve=kserve", false},
        {MU_RENDER_ARGO, "wandb_project=", true},
        {MU_RENDER_ARGO, "retrain_below=0.8", true},
        {MU_RENDER_ARGO, "retrain_below=low", false},
        {MU_RENDER_ARGO, "retrain_window=5m", true},
        {MU_RENDER_ARGO, "retrain_window=5", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool taken = false;
        mu_status_t status = take(cases[i].target, cases[i].argument, &taken);
        if ((status == MU_OK) != cases[i].good || (status == MU_OK && !taken))
            fail_msg("%s: %s", cases[i].argument, mu_status_name(status));
    }
    bool taken = true;
    assert_int_equal(take(MU_RENDER_SLURM, "train_iters=5", &taken), MU_OK);
    assert_false(taken); /* the config's */
}

/* ---- whole files ---- */

static char dir[] = "/tmp/muster-render-XXXXXX", config[64];

static int set_up(void **state)
{
    static const char text[] =
        "{num-layers: 2, hidden-size: 64, num-attention-heads: 4, seq-length: 32, max-position-embeddings: "
        "32,\n"
        " optimizer: {type: Adam, params: {lr: 1.0e-3}}, train_micro_batch_size_per_gpu: 2, train-iters: "
        "10,\n"
        " checkpoint-factor: 5, save: /runs/one, data_path: /data/set, padded_vocab_size: 512}\n";
    (void)state;
    unsetenv("DATA_PATH");
    unsetenv("MODEL_PATH");
    if (!mkdtemp(dir))
        return -1;
    snprintf(config, sizeof config, "%s/tiny_model.yml", dir);
    mu_log_sink_set(keep, NULL);
    return mu_file_replace(config, text, strlen(text), 0600) == MU_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    mu_log_sink_set(NULL, NULL);
    mu_buf_release(&said);
    return mu_remove_tree(dir) == MU_OK ? 0 : -1;
}

/* Runs the verb with `arguments` (NULL after the last); its stdout goes to `out`. */
static mu_status_t verb(mu_buf_t *out, const char *target, ...)
{
    char *argv[16] = {mu_strdup("render"), mu_strdup(target), mu_strdup(config)},
         *path = mu_path_join(dir, "out");
    int argc = 3;
    va_list args;
    va_start(args, target);
    for (const char *a; (a = va_arg(args, const char *));)
        argv[argc++] = mu_strdup(a);
    va_end(args);
    mu_buf_clear(&said);
    mu_buf_clear(out);
    fflush(stdout);
    int saved = dup(STDOUT_FILENO), fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDOUT_FILENO);
    mu_status_t status = mu_cmd_render(argc, argv);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(fd);
    mu_file_read(path, 1 << 20, out);
    mu_buf_adds(out, "");
    mu_buf_adds(&said, "");
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    free(path);
    return status;
}

static void has(const mu_buf_t *text, const char *word)
{
    if (!strstr(text->data, word))
        fail_msg("no '%s' in:\n%s", word, text->data);
}

static void slurm_script(void **state)
{
    mu_buf_t out = MU_BUF_INIT, script = MU_BUF_INIT;
    (void)state;
    assert_int_equal(verb(&out, "slurm", "nodes=3", "time=30", "partition=cpu", "lr_decay_style=it's", NULL),
                     MU_CONFIG);
    assert_int_equal(verb(&out, "slurm", "nodes=3", "time=30", "partition=cpu", "save=/runs/it's", NULL),
                     MU_OK);
    has(&out, "#SBATCH --job-name=tiny-model\n");
    has(&out, "#SBATCH --nodes=3\n");
    has(&out, "#SBATCH --partition=cpu\n");
    has(&out, "#SBATCH --signal=B:USR1@120\n");
    has(&out, "tiny_model.yml 'save=/runs/it'\\''s'\n");
    assert_null(strstr(out.data, "gpus"));
    assert_int_equal(verb(&out, "slurm", "nodes=2", "gpus=8", NULL), MU_OK);
    has(&out, "#SBATCH --ntasks-per-node=8\n#SBATCH --gpus-per-node=8\n");
    assert_int_equal(verb(&out, "slurm", "gpus=8", "tasks_per_node=4", NULL), MU_USAGE);
    has(&said, "a worker owns one GPU");
    assert_int_equal(verb(&out, "slurm", "nodes=3", NULL), MU_OK);
    /* the rest is the script of the tree */
    assert_int_equal(mu_file_read(MU_SOURCE_DIR "/slurm/muster.sbatch", 1 << 20, &script), MU_OK);
    const char *body = strstr(script.data, "set -u\n"), *ours = strstr(out.data, "set -u\n");
    assert_non_null(ours);
    assert_string_equal(ours, body);
    mu_buf_release(&out);
    mu_buf_release(&script);
}

static void slurm_chain(void **state)
{
    static const char chain[] = "chain=import,prepare,train,gate,export", base[] = "base=/models/hf",
                      input[] = "input=/text/a.txt,/text/b.txt", gate[] = "gate=ppl<=16.53",
                      to[] = "export=/models/out", load[] = "load=/models/start";
    mu_buf_t out = MU_BUF_INIT;
    (void)state;
    assert_int_equal(verb(&out, "slurm", chain, base, input, gate, to, load, NULL), MU_OK);
    has(&out, "chain=/runs/one.chain\n");
    has(&out, "muster import /models/hf --output /models/start\n");
    has(&out, " --input /text/a.txt /text/b.txt\n");
    has(&out, "muster eval /runs/one@latest --data /data/set --split=test '--gate=ppl<=16.53'\n");
    has(&out, "muster export /runs/one@latest --output /models/out\n");
    has(&out, "find -L \"${inputs[@]}\" -type f"); /* a directory's own time is not its files' */
    has(&out, "\n    fail \"inputs ${inputs[*]}: one is missing or cannot be read\" 66\n");
    has(&out, "--dependency=afterok:\"$previous\" --kill-on-invalid-dep=yes");
    /* what a step lacks is said by the step's name */
    assert_int_equal(verb(&out, "slurm", chain, input, gate, to, load, NULL), MU_USAGE);
    has(&said, "base");
    assert_int_equal(verb(&out, "slurm", chain, base, gate, to, load, NULL), MU_USAGE);
    has(&said, "input");
    assert_int_equal(verb(&out, "slurm", chain, base, input, to, load, NULL), MU_USAGE);
    has(&said, "gate");
    assert_int_equal(verb(&out, "slurm", chain, base, input, gate, load, NULL), MU_USAGE);
    has(&said, "export");
    assert_int_equal(verb(&out, "slurm", chain, base, input, gate, to, NULL), MU_CONFIG);
    has(&said, "load");
    assert_int_equal(verb(&out, "slurm", "chain=train", "save=runs/one", NULL), MU_CONFIG);
    has(&said, "relative");
    mu_buf_release(&out);
}

static void mpijob(void **state)
{
    mu_buf_t out = MU_BUF_INIT;
    (void)state;
    assert_int_equal(verb(&out, "mpijob", "image=r/m:1", "volumes=runs:/runs,data:/data", "workers=4",
                          "slots=2", "namespace=ml", "queue=lq", NULL),
                     MU_OK);
    has(&out, "name: tiny-model-muster\n");
    has(&out, "kueue.x-k8s.io/queue-name: lq\n");
    has(&out, "slotsPerWorker: 2\n");
    has(&out, "replicas: 4\n");
    has(&out, "{protocol: TCP, port: 29000, endPort: 29999}");
    has(&out, "persistentVolumeClaim: {claimName: data}");
    has(&out, "readinessProbe: {tcpSocket: {port: 2222}");
    has(&out, "num_layers: 2\n");
    assert_null(strstr(out.data, "name: tiny-model-config")); /* the operator's own */
    has(&out, "muster-worker --drain \"$0\" \"$1\" && : >/tmp/muster-drained', \"/runs/one\", \"110\"]}}");
    has(&out, "backoffLimit: 20\n");
    has(&out, "terminationMessagePolicy: FallbackToLogsOnError\n");
    has(&out, "requests: {cpu: \"2\", memory: 4Gi}\n                limits: {cpu: \"2\", memory: 4Gi}\n");
    assert_string_equal(said.data, "");         /* r/m:1 says which build */
    has(&out, "/etc/mpi/hostfile --workers 8"); /* else one a host */
    has(&out, "serviceAccountName: tiny-model-muster");
    assert_null(strstr(out.data, "nvidia.com/gpu:"));
    assert_null(strstr(out.data, "ffinity"));
    assert_int_equal(verb(&out, "mpijob", "image=r/m:1", "volumes=runs:/runs,data:/data", "gpus=2", "rdma=1",
                          "region=LAS1", "gpu_model=A40", "grace=600", NULL),
                     MU_OK);
    has(&out, "slotsPerWorker: 2\n");
    has(&out, "nvidia.com/gpu: \"2\", rdma/ib: \"1\"}");
    has(&out, "{key: nvidia.com/gpu.product, operator: In, values: [\"A40\"]}");
    has(&out, "{key: topology.kubernetes.io/region, operator: In, values: [\"LAS1\"]}");
    has(&out, "\"590\"]}}");
    assert_null(strstr(out.data, "--workers"));
    assert_null(strstr(out.data, "ownerReferences"));
    mu_buf_release(&out);
}

static void trainjob(void **state)
{
    mu_buf_t out = MU_BUF_INIT;
    (void)state;
    assert_int_equal(verb(&out, "trainjob", "image=r/m:1", "volumes=runs:/runs,data:/data", "workers=3",
                          "slots=2", "queue=lq", NULL),
                     MU_OK);
    has(&out, "kind: TrainingRuntime\n");
    has(&out, "numNodes: 3\n");
    has(&out, "numProcPerNode: 2\n");
    has(&out, "runLauncherAsNode: false\n");
    has(&out, "matchLabels: {jobset.sigs.k8s.io/jobset-name: tiny-model}");
    has(&out, "values: [2, 65, 66, 73, 77, 78, 85, 86, 87, 93]}}\n");
    has(&out, "kueue.x-k8s.io/queue-name: lq\n");
    has(&out, "--hostfile /etc/mpi/hostfile --workers 6");
    assert_null(strstr(out.data, "OMPI_MCA"));
    assert_null(strstr(out.data, "exit 0\n"));
    assert_int_equal(
        verb(&out, "trainjob", "image=r/m:1", "volumes=runs:/runs,data:/data", "launcher_as_node=true", NULL),
        MU_OK);
    has(&out, "runLauncherAsNode: true\n");
    /* what the launcher of a node needs: sshd too, and a probe */
    const char *sshd = strstr(out.data, "/usr/sbin/sshd"), *run = strstr(out.data, "exec muster run");
    assert_true(sshd && run && sshd < run);
    assert_int_equal(verb(&out, "trainjob", "image=r/m:1", "volumes=runs:/runs,data:/data",
                          "secret=s:k=OMPI_MCA_plm_rsh_args", NULL),
                     MU_USAGE);
    has(&said, "OMPI_MCA_plm_rsh_args");
    assert_int_equal(verb(&out, "trainjob", "image=r/m:1", "volumes=runs:/runs,data:/data",
                          "name=a23456789-123456789-123456789-123456789-1234567", NULL),
                     MU_USAGE);
    has(&said, "too long");
    assert_int_equal(verb(&out, "trainjob", "image=r/m:1", "volumes=runs:/runs", NULL), MU_CONFIG);
    has(&said, "/data/set");
    mu_buf_release(&out);
}

static void serve(void **state)
{
    mu_buf_t out = MU_BUF_INIT;
    (void)state;
    assert_int_equal(verb(&out, "serve", "image=r/m:1", "volumes=runs:/runs", NULL), MU_OK);
    has(&out, "kind: Job\n");
    has(&out, "kind: Service\n");
    has(&out, "kind: Deployment\n");
    has(&out, "\"/runs/one@best\"\n");
    has(&out, "\"--threads=4\"\n");
    has(&out, "maxUnavailable: 0");
    has(&out, "terminationGracePeriodSeconds: 50\n"); /* drain, hook and a rest */
    /* weights and cache twice, since a better model comes beside, and the programs */
    has(&out, "memory: 768Mi}");
    assert_null(strstr(out.data, "ServiceMonitor"));
    assert_int_equal(verb(&out, "serve", "image=r/m:1", "volumes=runs:/runs", "cpu=2500m", "slots=1000",
                          "slot_tokens=1048576", "model=5", NULL),
                     MU_OK);
    has(&out, "\"--threads=2\"\n");
    has(&out, "\"/runs/one@5\"\n");
    assert_null(strstr(out.data, "--follow"));
    /* 2^20 * 1000 tokens of 2 layers, key and value of 64 numbers of 4 bytes, and more: 1000 GiB */
    has(&out, "memory: 1024");
    mu_buf_release(&out);
}

/* Words that a parser of YAML takes for something else than a string. */
static void names_are_strings(void **state)
{
    static const char *const words[] = {"y", "yes", "n", "no", "on", "off", "true", "false", "null"};
    mu_buf_t out = MU_BUF_INIT;
    int all = 0;
    (void)state;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        char set[6][64], want[64];
        const char *const form[6] = {"name=%s",   "namespace=%s", "queue=%s",
                                     "secret=%s", "gpu_label=%s", "image=%s"};
        for (int k = 0; k < 6; k++)
            snprintf(set[k], sizeof set[k], form[k], words[i]);
        char volumes[64];
        snprintf(volumes, sizeof volumes, "volumes=%s:/runs,data:/data", words[i]);
        assert_int_equal(verb(&out, "mpijob", set[0], set[1], set[2], set[3], set[4], set[5], volumes,
                              "gpu_model=A40", "owner_uid=0a1b2c3d-4e5f-6789-abcd-ef0123456789", NULL),
                         MU_OK);
        snprintf(want, sizeof want, "\"%s\"", words[i]);
        int quoted = 0;
        for (const char *at = out.data; (at = strstr(at, want)); at++)
            quoted++;
        if (quoted < (all ? all : 15))
            fail_msg("%s is quoted %d times only, not %d", words[i], quoted, all);
        all = all ? all : quoted; /* of "y", which no key has as its value */
        /* the last three are values of other keys too */
        for (const char *end = "\n,}"; *end && i < 6; end++) {
            snprintf(want, sizeof want, ": %s%c", words[i], *end);
            if (strstr(out.data, want))
                fail_msg("a name is written as it was: %.40s", strstr(out.data, want));
        }
    }
    mu_buf_release(&out);
}

static void a_moving_image_is_warned_of(void **state)
{
    static const struct {
        const char *image;
        bool warned;
    } cases[] = {{"image=muster", true},
                 {"image=muster:latest", true},
                 {"image=r:5000/muster", true},
                 {"image=r:5000/muster:1", false},
                 {"image=r/m@sha256:00", false}};
    mu_buf_t out = MU_BUF_INIT;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(verb(&out, "mpijob", cases[i].image, "volumes=runs:/runs,data:/data", NULL), MU_OK);
        assert_int_equal(strstr(said.data, "pulls it at every start") != NULL, cases[i].warned);
    }
    mu_buf_release(&out);
}

/* Everything but the job itself belongs to the job, once its uid is known. */
static void owner(void **state)
{
    mu_buf_t out = MU_BUF_INIT;
    int owned = 0;
    (void)state;
    assert_int_equal(verb(&out, "mpijob", "image=i", "volumes=runs:/runs,data:/data",
                          "owner_uid=0a1b2c3d-4e5f-6789-abcd-ef0123456789", NULL),
                     MU_OK);
    for (const char *at = out.data; (at = strstr(at, "ownerReferences:\n")); at++)
        owned++;
    assert_int_equal(owned, 3);
    has(&out, "kind: MPIJob, name: tiny-model, uid: \"0a1b2c3d-4e5f-6789-abcd-ef0123456789\"}");
    assert_null(strstr(strstr(out.data, "\nkind: MPIJob\n"), "ownerReferences"));
    static const char *const bad[] = {"owner_uid=", "owner_uid=muster",
                                      "owner_uid=0a1b2c3d-4e5f-6789-abcd-ef012345678g",
                                      "owner_uid=0a1b2c3d-4e5f-6789-abcd-ef01234567890"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(verb(&out, "mpijob", "image=i", "volumes=runs:/runs,data:/data", bad[i], NULL),
                         MU_USAGE);
        has(&said, "wants the job's uid");
    }
    mu_buf_release(&out);
}

static void keys_of_a_secret_get_names(void **state)
{
    mu_buf_t out = MU_BUF_INIT;
    (void)state;
    assert_int_equal(verb(&out, "mpijob", "image=i", "volumes=runs:/runs,data:/data",
                          "secret=tracker:api.token=WANDB_API_KEY,b=_B2", NULL),
                     MU_OK);
    has(&out, "- {name: \"WANDB_API_KEY\", valueFrom: {secretKeyRef: {name: \"tracker\", key: \"api.token\", "
              "optional: true}}}\n");
    has(&out,
        "- {name: \"_B2\", valueFrom: {secretKeyRef: {name: \"tracker\", key: \"b\", optional: true}}}\n");
    assert_null(strstr(out.data, "envFrom"));
    static const char *const bad[] = {
        "secret=",       "secret=t:",         "secret=t:k",     "secret=t:k=",    "secret=t:=V",
        "secret=t:k=1V", "secret=t:k=V,",     "secret=t:k=V-1", "secret=t:k k=V", "secret=T:k=V",
        "secret=:k=V",   "secret=t:k=V,,l=W", "secret=t:k=\"V"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(verb(&out, "mpijob", "image=i", "volumes=runs:/runs,data:/data", bad[i], NULL),
                         MU_USAGE);
        has(&said, "KEY=VARIABLE");
    }
    mu_buf_release(&out);
}

static void what_cannot_work_is_refused(void **state)
{
    mu_buf_t out = MU_BUF_INIT;
    (void)state;
    assert_int_equal(verb(&out, "mpijob", "volumes=runs:/runs", NULL), MU_USAGE);
    has(&said, "image=... is wanted");
    assert_int_equal(verb(&out, "mpijob", "image=i", "volumes=runs:/runs", NULL), MU_CONFIG);
    has(&said, "data_path '/data/set' lies outside every volume");
    assert_int_equal(verb(&out, "mpijob", "image=i", "volumes=runs:/run,data:/data", NULL), MU_CONFIG);
    has(&said, "save '/runs/one' lies outside every volume"); /* /run is no part of /runs */
    /* 54 characters are a good name, but its workers' are too long from the tenth on */
    const char *name = "name=a2345678901234567890123456789012345678901234567890123";
    assert_int_equal(
        verb(&out, "mpijob", "image=i", "volumes=runs:/runs,data:/data", name, "workers=10", NULL), MU_OK);
    assert_int_equal(
        verb(&out, "mpijob", "image=i", "volumes=runs:/runs,data:/data", name, "workers=101", NULL),
        MU_USAGE);
    has(&said, "shorten it by");
    assert_int_equal(
        verb(&out, "mpijob", "image=i", "volumes=runs:/runs,data:/data", "model_parallel_size=4", NULL),
        MU_CONFIG);
    has(&said, "exceeds the 1 slots of a host");
    assert_int_equal(
        verb(&out, "mpijob", "image=i", "volumes=runs:/runs,data:/data", "gpus=8", "slots=4", NULL),
        MU_USAGE);
    has(&said, "a worker owns one GPU");
    assert_int_equal(
        verb(&out, "mpijob", "image=i", "volumes=runs:/runs,data:/data", "muster.device=cuda", NULL),
        MU_CONFIG);
    has(&said, "give gpus=N");
    assert_string_equal(out.data, "");
    assert_int_equal(verb(&out, "mpijob", "image=i", "volumes=runs:/runs,data:/data", "replicas=3", NULL),
                     MU_CONFIG);
    assert_int_equal(verb(&out, "docker", NULL), MU_USAGE);
    mu_buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_have_types),
        cmocka_unit_test(slurm_script),
        cmocka_unit_test(slurm_chain),
        cmocka_unit_test(trainjob),
        cmocka_unit_test(mpijob),
        cmocka_unit_test(serve),
        cmocka_unit_test(keys_of_a_secret_get_names),
        cmocka_unit_test(names_are_strings),
        cmocka_unit_test(a_moving_image_is_warned_of),
        cmocka_unit_test(owner),
        cmocka_unit_test(what_cannot_work_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
