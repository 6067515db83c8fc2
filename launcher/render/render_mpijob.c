/*
 * ConfigMap, ServiceAccount, NetworkPolicy and MPIJob of one run, named after it. The operator makes objects
 * of its own, named J, J-config, J-ssh, J-worker-i and J-launcher for a job J, and stops at one that it did
 * not make: ours are J-muster.
 *
 * Pods run as an ordinary user. The host key of every sshd is the job's key, which the operator mounts in all
 * pods, so the launcher knows it beforehand and checks it strictly.
 */
#include "launcher/mpi/ports.h"
#include "launcher/render/render.h"
#include "common/config/config_keys.h"
#include "common/log.h"

#include <ctype.h>
#include <strings.h>

/* DRAIN_LEFT: what remains of the grace period when the hook has given up waiting, for sshd's own end. */
enum { SSH_PORT = 2222, DRAIN_LEFT = 10 };

/* In the worker's container, made by its hook when the drain has ended; gone when the container starts again. */
#define DRAINED "/tmp/muster-drained"

/* ---- what the operator would misread ---- */

static mu_status_t check_names(const mu_params_t *p)
{
    const char *name = mu_params_text(p, "name");
    char last[128];
    int n =
        snprintf(last, sizeof last, "%s-worker-%lld", name, (long long)mu_params_number(p, "workers") - 1);
    if (n > 63)
        return mu_fail(
            MU_USAGE,
            "render: name '%s' is too long: pod %s has %d characters, and the operator does nothing about a "
            "job whose pods have more than 63: shorten it by %d",
            name, last, n, n - 63);
    return MU_OK;
}

static mu_status_t check_gpus(const mu_params_t *p, const mu_config_t *c)
{
    int64_t gpus = mu_params_number(p, "gpus");
    if (gpus > 0 && c->muster.device == MU_DEVICE_CPU)
        return mu_fail(MU_CONFIG, "%s: muster.device is cpu, but gpus=%lld asks for GPUs: leave one out",
                       mu_config_origin(c, "muster.device"), (long long)gpus);
    if (gpus == 0 && c->muster.device == MU_DEVICE_CUDA)
        return mu_fail(MU_CONFIG, "%s: muster.device is cuda: give gpus=N, the GPUs of a pod",
                       mu_config_origin(c, "muster.device"));
    return MU_OK;
}

/* The mount that `path` lies under, with its claim: pointers into the parameter. */
static bool volume_of(const char *volumes, const char *path)
{
    for (const char *v = volumes; *v;) {
        const char *mount = strchr(v, ':') + 1;
        size_t n = strcspn(mount, ",");
        if (strncmp(path, mount, n) == 0 && (path[n] == '/' || path[n] == '\0'))
            return true;
        v = mount + n + (mount[n] == ',');
    }
    return false;
}

static mu_status_t check_path(const mu_params_t *p, const mu_config_t *c, const char *key, const char *path)
{
    if (!path || !*path || volume_of(mu_params_text(p, "volumes"), path))
        return MU_OK;
    return mu_fail(MU_CONFIG, "%s: %s '%s' lies outside every volume (%s): what is there goes with the pod",
                   mu_config_origin(c, key), key, path, mu_params_text(p, "volumes"));
}

static mu_status_t check_paths(const mu_params_t *p, const mu_config_t *c)
{
    if (!c->save || !*c->save)
        return mu_fail(MU_CONFIG, "render: the config has no save: give save=/a/volume/run");
    MU_TRY(check_path(p, c, "save", c->save));
    MU_TRY(check_path(p, c, "load", c->load));
    MU_TRY(check_path(p, c, "data_path", c->data_path));
    for (char *const *d = c->train_data_paths; d && *d; d++)
        MU_TRY(check_path(p, c, "train_data_paths", *d));
    for (char *const *d = c->valid_data_paths; d && *d; d++)
        MU_TRY(check_path(p, c, "valid_data_paths", *d));
    return check_path(p, c, "vocab_file", c->vocab_file);
}

/* A moving tag is pulled at every start of a pod, and may be another program each time. */
static void warn_of_tag(const char *image)
{
    const char *base = strrchr(image, '/'), *tag = strchr(base ? base : image, ':');
    if (!strchr(image, '@') && (!tag || strcmp(tag, ":latest") == 0))
        mu_warn(
            "render: image %s: with %s Kubernetes pulls it at every start of a pod (an image that is only "
            "on the node is not found), and pods may get different builds: give a tag of your own, or a "
            "digest",
            image, tag ? "the tag latest" : "no tag");
}

/* ---- YAML ---- */

/* A name as YAML reads it as a string: some words are booleans or null to one parser or another. */
static const char *scalar(const char *word, char *room, size_t size)
{
    static const char *const others[] = {"y", "yes", "n", "no", "on", "off", "true", "false", "null"};
    bool quoted = !isalpha((unsigned char)word[0]) || strpbrk(word, "@,%") || word[strlen(word) - 1] == ':';
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        quoted = quoted || strcasecmp(word, others[i]) == 0;
    snprintf(room, size, quoted ? "\"%s\"" : "%s", word);
    return room;
}

/* One that lives as long as the expression it stands in. */
#define NAME(word) scalar((word), (char[520]){0}, 520)

static void add_meta(const mu_params_t *p, const char *suffix, mu_buf_t *out)
{
    const char *space = mu_params_text(p, "namespace");
    char *whole = mu_format("%s%s", mu_params_text(p, "name"), suffix);
    mu_buf_addf(out, "metadata:\n  name: %s\n", NAME(whole));
    free(whole);
    if (space)
        mu_buf_addf(out, "  namespace: %s\n", NAME(space));
    mu_buf_addf(out, "  labels:\n    app.kubernetes.io/name: muster\n    app.kubernetes.io/instance: %s\n",
                NAME(mu_params_text(p, "name")));
}

/* The API server gives the job its uid, so that the job's owning the others can be written only after that.
 * An owner that does not wait for them: deleting the job ends its pods first. */
static void add_owner(const mu_params_t *p, mu_buf_t *out)
{
    const char *uid = mu_params_text(p, "owner_uid");
    if (uid)
        mu_buf_addf(out,
                    "  ownerReferences:\n"
                    "    - {apiVersion: kubeflow.org/v2beta1, kind: MPIJob, name: %s, uid: \"%s\"}\n",
                    NAME(mu_params_text(p, "name")), uid);
}

static void add_config(const mu_params_t *p, const mu_buf_t *yaml, mu_buf_t *out)
{
    mu_buf_adds(out, "apiVersion: v1\nkind: ConfigMap\n");
    add_meta(p, "-muster", out);
    add_owner(p, out);
    mu_buf_adds(out, "data:\n  config.yml: |\n");
    for (const char *line = yaml->data; line && *line;) {
        size_t n = strcspn(line, "\n");
        mu_buf_addf(out, "%s%.*s\n", n ? "    " : "", (int)n, line);
        line += n + (line[n] != '\0');
    }
}

/* No pod asks the API server for anything: an account without a token, and no Role. */
static void add_account(const mu_params_t *p, mu_buf_t *out)
{
    mu_buf_adds(out, "---\napiVersion: v1\nkind: ServiceAccount\n");
    add_meta(p, "-muster", out);
    add_owner(p, out);
    mu_buf_adds(out, "automountServiceAccountToken: false\n");
}

/* The ports of docs/kubernetes.md, among the pods of this job only. */
static void add_policy(const mu_params_t *p, mu_buf_t *out)
{
    const char *name = NAME(mu_params_text(p, "name"));
    mu_buf_adds(out, "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n");
    add_meta(p, "-muster", out);
    add_owner(p, out);
    mu_buf_addf(out,
                "spec:\n"
                "  podSelector:\n"
                "    matchLabels: {training.kubeflow.org/job-name: %s}\n"
                "  policyTypes: [Ingress]\n"
                "  ingress:\n"
                "    - from:\n"
                "        - podSelector:\n"
                "            matchLabels: {training.kubeflow.org/job-name: %s}\n"
                "      ports:\n"
                "        - {protocol: TCP, port: %d}\n"
                "        - {protocol: TCP, port: %d, endPort: %d}\n",
                name, name, SSH_PORT, MU_PORT_CONTROL, MU_PORT_RANK + MU_PORT_RANK_COUNT - 1);
}

static void add_claim(int i, const char *v, int n, mu_buf_t *out)
{
    char *claim = mu_format("%.*s", n, v);
    mu_buf_addf(out, "            - {name: volume-%d, persistentVolumeClaim: {claimName: %s}}\n", i,
                NAME(claim));
    free(claim);
}

static void add_volumes(const mu_params_t *p, bool mounts, mu_buf_t *out)
{
    int i = 0;
    for (const char *v = mu_params_text(p, "volumes"); *v; i++) {
        size_t n = strcspn(v, ":"), m = strcspn(v + n + 1, ",");
        if (mounts)
            mu_buf_addf(out, "                - {name: volume-%d, mountPath: %.*s}\n", i, (int)m, v + n + 1);
        else
            add_claim(i, v, (int)n, out);
        v += n + 1 + m;
        v += *v == ',';
    }
}

static void add_affinity(const mu_params_t *p, bool launcher, mu_buf_t *out)
{
    const char *model = launcher ? NULL : mu_params_text(p, "gpu_model"),
               *region = mu_params_text(p, "region");
    if (!model && !region)
        return;
    mu_buf_adds(out, "          affinity:\n"
                     "            nodeAffinity:\n"
                     "              requiredDuringSchedulingIgnoredDuringExecution:\n"
                     "                nodeSelectorTerms:\n"
                     "                  - matchExpressions:\n");
    if (model)
        mu_buf_addf(out, "                      - {key: %s, operator: In, values: [\"%s\"]}\n",
                    NAME(mu_params_text(p, "gpu_label")), model);
    if (region)
        mu_buf_addf(
            out,
            "                      - {key: topology.kubernetes.io/region, operator: In, values: [\"%s\"]}\n",
            region);
}

/* Kubernetes wants requests and limits of what is not shared to be equal. */
static void add_devices(const mu_params_t *p, mu_buf_t *out)
{
    static const char *const name[][2] = {{"gpus", "nvidia.com/gpu"}, {"rdma", "rdma/ib"}};
    for (size_t i = 0; i < sizeof name / sizeof *name; i++)
        if (mu_params_text(p, name[i][0]))
            mu_buf_addf(out, ", %s: \"%s\"", name[i][1], mu_params_text(p, name[i][0]));
}

static void add_pod(const mu_params_t *p, bool launcher, mu_buf_t *out)
{
    const char *image = mu_params_text(p, "image"),
               *restart = launcher ? "launcher_restart" : "worker_restart";
    mu_buf_addf(out, "    %s:\n      replicas: %s\n      restartPolicy: %s\n",
                launcher ? "Launcher" : "Worker", launcher ? "1" : mu_params_text(p, "workers"),
                mu_params_text(p, restart));
    mu_buf_addf(out,
                "      template:\n"
                "        metadata:\n"
                "          labels: {app.kubernetes.io/name: muster, app.kubernetes.io/instance: %s}\n"
                "          annotations: {sidecar.istio.io/inject: \"false\"}\n"
                "        spec:\n"
                "          serviceAccountName: %s-muster\n"
                "          automountServiceAccountToken: false\n"
                "          enableServiceLinks: false\n"
                "          terminationGracePeriodSeconds: %s\n",
                NAME(mu_params_text(p, "name")), mu_params_text(p, "name"), mu_params_text(p, "grace"));
    add_affinity(p, launcher, out);
    mu_buf_addf(
        out,
        "          securityContext:\n"
        "            {runAsNonRoot: true, runAsUser: %s, runAsGroup: %s, fsGroup: %s, "
        "fsGroupChangePolicy: OnRootMismatch,\n"
        "             seccompProfile: {type: RuntimeDefault}}\n"
        "          containers:\n"
        "            - name: %s\n"
        "              image: %s\n"
        "              securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}\n",
        mu_params_text(p, "user"), mu_params_text(p, "user"), mu_params_text(p, "user"),
        launcher ? "muster" : "sshd", NAME(image));
}

static void add_mounts(const mu_params_t *p, bool launcher, mu_buf_t *out)
{
    mu_buf_adds(out, "              volumeMounts:\n");
    if (launcher)
        mu_buf_adds(out, "                - {name: config, mountPath: /etc/muster}\n");
    mu_buf_adds(out, "                - {name: shm, mountPath: /dev/shm}\n");
    add_volumes(p, true, out);
    mu_buf_adds(out, "          volumes:\n");
    if (launcher)
        mu_buf_addf(out, "            - {name: config, configMap: {name: %s-muster}}\n",
                    mu_params_text(p, "name"));
    mu_buf_adds(out, "            - {name: shm, emptyDir: {medium: Memory}}\n");
    add_volumes(p, false, out);
}

/* secret=NAME: all keys under their own names. secret=NAME:KEY=VARIABLE,...: these, under the names that the launcher
 * reads. add_pod() wrote `env:` as the last field, or none. */
static void add_secret(const char *secret, mu_buf_t *out)
{
    if (!secret)
        return;
    int n = (int)strcspn(secret, ":");
    const char *pair = secret + n;
    if (!*pair)
        mu_buf_addf(out, "\n              envFrom: [{secretRef: {name: %s, optional: true}}]", NAME(secret));
    else
        mu_buf_adds(out, "\n              env:");
    while (*pair) {
        int key = (int)strcspn(++pair, "="), all = (int)strcspn(pair, ",");
        mu_buf_addf(out,
                    "\n                - {name: \"%.*s\", valueFrom: {secretKeyRef: {name: \"%.*s\", key: "
                    "\"%.*s\", optional: true}}}",
                    all - key - 1, pair + key + 1, n, secret, key, pair);
        pair += all;
    }
}

static void add_launcher(const mu_params_t *p, bool own_ssh, mu_buf_t *out)
{
    const char *home = mu_params_text(p, "home");
    add_pod(p, true, out);
    mu_buf_addf(out,
                "              command: [/bin/sh, -c]\n"
                "              args:\n"
                "                - |\n"
                "                  set -eu\n"
                "                  printf '* %%s\\n' \"$(cat %s/.ssh/id_rsa.pub)\" >/tmp/known_hosts\n"
                "                  exec muster run /etc/muster/config.yml --hostfile /etc/mpi/hostfile",
                home);
    /* muster starts one worker a host unless it sees GPUs or is told */
    if (mu_params_number(p, "slots") > 1 && !mu_params_text(p, "gpus"))
        mu_buf_addf(out, " --workers %lld",
                    (long long)(mu_params_number(p, "workers") * mu_params_number(p, "slots")));
    if (!own_ssh)
        mu_buf_addf(
            out,
            " \\\n                    \"muster.ssh_args=-p %d -i %s/.ssh/id_rsa -o StrictHostKeyChecking=yes"
            " -o UserKnownHostsFile=/tmp/known_hosts -o GlobalKnownHostsFile=none\"",
            SSH_PORT, home);
    add_secret(mu_params_text(p, "secret"), out);
    /* the verdict's lines become the pod's message: all that stays of a pod whose log goes with it */
    mu_buf_adds(out, "\n              terminationMessagePolicy: FallbackToLogsOnError\n");
    /* limits equal to requests: a quota on limits refuses a pod without them */
    for (int i = 0; i < 2; i++)
        mu_buf_addf(out, "%s{cpu: \"%s\", memory: %s}\n",
                    i ? "                limits: " : "              resources:\n                requests: ",
                    mu_params_text(p, "launcher_cpu"), mu_params_text(p, "launcher_memory"));
    add_mounts(p, true, out);
}

/* When a pod goes, its sshd is told to end, and its ranks end with it; the hook comes before that. */
static void add_drain(const mu_params_t *p, const mu_config_t *c, mu_buf_t *out)
{
    mu_buf_adds(out, "              lifecycle: {preStop: {exec: {command: [/bin/sh, -c,\n"
                     "                'muster-worker --drain \"$0\" \"$1\" && : >" DRAINED "', ");
    mu_key_quote(c->save, out);
    mu_buf_addf(out, ", \"%lld\"]}}}\n", (long long)mu_params_number(p, "grace") - DRAIN_LEFT);
}

/* sshd ends with 0 when it is asked to end. A container that ended with 0 is not started again, and the operator
 * makes no pod again that is there: the worker would be lost. So process 1 ends with 0 only after the drain. */
static void add_sshd(const char *home, mu_buf_t *out)
{
    mu_buf_addf(
        out,
        "              command: [/bin/sh, -c]\n"
        "              args:\n"
        "                - |\n"
        "                  trap 'kill \"$!\"' TERM\n"
        "                  /usr/sbin/sshd -De -f /dev/null -p %d -h %s/.ssh/id_rsa -o PidFile=none \\\n"
        "                    -o StrictModes=no -o UsePAM=no -o UseDNS=no -o PasswordAuthentication=no \\\n"
        "                    -o KbdInteractiveAuthentication=no -o MaxStartups=200 -o MaxSessions=200 \\\n"
        "                    -o LogLevel=FATAL -o AuthorizedKeysFile=%s/.ssh/authorized_keys &\n"
        "                  while kill -0 \"$!\" 2>/dev/null; do\n"
        "                    wait \"$!\"\n"
        "                    code=$?\n"
        "                  done\n"
        "                  [ ! -e " DRAINED " ] || exit 0\n"
        "                  echo \"sshd ended with $code and the pod was not drained: exit 75, so that the "
        "container is started again\" >&2\n"
        "                  exit 75\n",
        SSH_PORT, home, home);
}

static void add_worker(const mu_params_t *p, const mu_config_t *c, mu_buf_t *out)
{
    const char *home = mu_params_text(p, "home"), *cpu = mu_params_text(p, "cpu"),
               *memory = mu_params_text(p, "memory");
    add_pod(p, false, out);
    add_sshd(home, out);
    add_drain(p, c, out);
    mu_buf_addf(
        out,
        "              ports: [{name: ssh, containerPort: %d}]\n"
        "              readinessProbe: {tcpSocket: {port: %d}, initialDelaySeconds: 1, periodSeconds: 2}\n"
        "              resources:\n"
        "                requests: {cpu: \"%s\", memory: %s",
        SSH_PORT, SSH_PORT, cpu, memory);
    add_devices(p, out);
    mu_buf_addf(out, "}\n                limits: {cpu: \"%s\", memory: %s", cpu, memory);
    add_devices(p, out);
    mu_buf_adds(out, "}\n");
    add_mounts(p, false, out);
}

static void add_job(const mu_params_t *p, const mu_config_t *c, mu_buf_t *out)
{
    const char *queue = mu_params_text(p, "queue"), *deadline = mu_params_text(p, "deadline");
    mu_buf_adds(out, "---\napiVersion: kubeflow.org/v2beta1\nkind: MPIJob\n");
    add_meta(p, "", out);
    if (queue)
        mu_buf_addf(out, "    kueue.x-k8s.io/queue-name: %s\n", NAME(queue));
    mu_buf_addf(out,
                "spec:\n"
                "  mpiImplementation: OpenMPI\n"
                "  slotsPerWorker: %s\n"
                "  sshAuthMountPath: %s/.ssh\n"
                "  launcherCreationPolicy: %s\n"
                "  runPolicy:\n"
                "    cleanPodPolicy: %s\n"
                "    backoffLimit: %s\n",
                mu_params_text(p, "slots"), mu_params_text(p, "home"), mu_params_text(p, "launcher_creation"),
                mu_params_text(p, "clean_pods"), mu_params_text(p, "backoff"));
    if (deadline)
        mu_buf_addf(out, "    activeDeadlineSeconds: %s\n", deadline);
    mu_buf_adds(out, "  mpiReplicaSpecs:\n");
    add_launcher(p, mu_config_given(c, "muster.ssh_args"), out);
    add_worker(p, c, out);
}

mu_status_t mu_render_mpijob(const mu_params_t *params, mu_config_t *config, mu_buf_t *out)
{
    int64_t slots = mu_params_number(params, "slots");
    mu_world_t world = {.workers = (int)(mu_params_number(params, "workers") * slots),
                        .slots_per_host = (int)slots,
                        .device_has_fp16 = true};
    mu_buf_t yaml = MU_BUF_INIT;
    warn_of_tag(mu_params_text(params, "image"));
    MU_TRY(check_names(params));
    MU_TRY(check_gpus(params, config));
    MU_TRY(check_paths(params, config));
    mu_config_write_yaml(config, false, &yaml);
    mu_status_t status = mu_config_resolve(config, &world);
    if (status == MU_OK) {
        mu_buf_adds(out,
                    "# Written by `muster render mpijob`. kubectl apply -f THIS-FILE; docs/kubernetes.md\n");
        add_config(params, &yaml, out);
        add_account(params, out);
        add_policy(params, out);
        add_job(params, config, out);
    }
    mu_buf_release(&yaml);
    return status;
}
