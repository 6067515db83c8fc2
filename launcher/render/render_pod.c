/*
 * The template of a pod, of a launcher or a worker, at the indentation that it has in an MPIJob. Pods run as an
 * ordinary user. The host key of every sshd is the job's key, which is mounted in all pods, so the launcher knows it
 * beforehand and checks it strictly.
 */
#include "common/config/config_keys.h"
#include "launcher/render/render_impl.h"

/* What remains of the grace period when the hook has given up waiting, for sshd's own end. */
enum { DRAIN_LEFT = 10 };

/* In the worker's container, made by its hook when the drain has ended; gone when the container starts again. */
#define DRAINED "/tmp/muster-drained"

/* The claims' volumes, or where they are mounted. */
static void add_volumes(const mu_params_t *p, bool mounts, mu_buf_t *out)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_render_volumes(p, mounts, false, &text);
    mu_yaml_indent(text.data, mounts ? 16 : 12, out);
    mu_buf_release(&text);
}

static void add_affinity(const mu_params_t *p, bool launcher, mu_buf_t *out)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_render_affinity(p, !launcher, &text);
    mu_yaml_indent(text.data, 10, out);
    mu_buf_release(&text);
}

/* Kubernetes wants requests and limits of what is not shared to be equal. */
static void add_devices(const mu_params_t *p, mu_buf_t *out)
{
    static const char *const name[][2] = {{"gpus", "nvidia.com/gpu"}, {"rdma", "rdma/ib"}};
    for (size_t i = 0; i < sizeof name / sizeof *name; i++)
        if (mu_params_text(p, name[i][0]))
            mu_buf_addf(out, ", %s: \"%s\"", name[i][1], mu_params_text(p, name[i][0]));
}

static void add_pod(const mu_pod_t *pod, bool launcher, mu_buf_t *out)
{
    const mu_params_t *p = pod->params;
    mu_buf_addf(out,
                "      template:\n"
                "        metadata:\n"
                "          labels: {app.kubernetes.io/name: muster, app.kubernetes.io/instance: %s}\n"
                "          annotations: {sidecar.istio.io/inject: \"false\"}\n"
                "        spec:\n"
                "          serviceAccountName: %s\n"
                "          automountServiceAccountToken: false\n"
                "          enableServiceLinks: false\n"
                "          terminationGracePeriodSeconds: %s\n",
                MU_YAML_NAME(pod->name), MU_YAML_NAME(pod->account), mu_params_text(p, "grace"));
    if (pod->restart)
        mu_buf_addf(out, "          restartPolicy: %s\n", pod->restart);
    add_affinity(p, launcher && !pod->launcher_is_node, out);
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
        launcher ? pod->launcher_container : pod->worker_container, MU_YAML_NAME(mu_params_text(p, "image")));
}

static void add_mounts(const mu_pod_t *pod, bool launcher, mu_buf_t *out)
{
    mu_buf_adds(out, "              volumeMounts:\n");
    if (launcher)
        mu_buf_adds(out, "                - {name: config, mountPath: /etc/muster}\n");
    mu_buf_adds(out, "                - {name: shm, mountPath: /dev/shm}\n");
    add_volumes(pod->params, true, out);
    mu_buf_adds(out, "          volumes:\n");
    if (launcher)
        mu_buf_addf(out, "            - {name: config, configMap: {name: %s}}\n",
                    MU_YAML_NAME(pod->config_map));
    mu_buf_adds(out, "            - {name: shm, emptyDir: {medium: Memory}}\n");
    add_volumes(pod->params, false, out);
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
        mu_buf_addf(out, "\n              envFrom: [{secretRef: {name: %s, optional: true}}]",
                    MU_YAML_NAME(secret));
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

/* What sshd is started with, in every pod of a run. */
static void add_sshd_command(const char *home, mu_buf_t *out)
{
    mu_buf_addf(
        out,
        "                  /usr/sbin/sshd -De -f /dev/null -p %d -h %s/.ssh/id_rsa -o PidFile=none \\\n"
        "                    -o StrictModes=no -o UsePAM=no -o UseDNS=no -o PasswordAuthentication=no \\\n"
        "                    -o KbdInteractiveAuthentication=no -o MaxStartups=200 -o MaxSessions=200 \\\n"
        "                    -o LogLevel=FATAL -o AuthorizedKeysFile=%s/.ssh/authorized_keys &\n",
        MU_RENDER_SSH_PORT, home, home);
}

/* When a pod goes, its sshd gets SIGTERM, and its ranks end with it; the hook comes before that. */
static void add_drain(const mu_pod_t *pod, mu_buf_t *out)
{
    mu_buf_addf(out,
                "              lifecycle: {preStop: {exec: {command: [/bin/sh, -c,\n"
                "                'muster-worker --drain \"$0\" \"$1\"%s', ",
                pod->made_again ? "" : " && : >" DRAINED);
    mu_key_quote(pod->save, out);
    mu_buf_addf(out, ", \"%lld\"]}}}\n", (long long)mu_params_number(pod->params, "grace") - DRAIN_LEFT);
}

/* sshd ends with 0 when it is asked to end. A container that ended with 0 is not started again, and the MPI operator
 * makes no pod again that is there: the worker would be lost. So process 1 ends with 0 only after the drain. A Job
 * makes a pod again that failed, and counts one that ended with 0 as done: there it never ends with 0. */
static void add_sshd(const mu_pod_t *pod, mu_buf_t *out)
{
    mu_buf_adds(out, "              command: [/bin/sh, -c]\n"
                     "              args:\n"
                     "                - |\n"
                     "                  trap 'kill \"$!\"' TERM\n");
    add_sshd_command(mu_params_text(pod->params, "home"), out);
    mu_buf_adds(out, "                  while kill -0 \"$!\" 2>/dev/null; do\n"
                     "                    wait \"$!\"\n"
                     "                    code=$?\n"
                     "                  done\n");
    if (pod->made_again)
        mu_buf_adds(
            out,
            "                  echo \"sshd ended with $code: exit 75, so that the pod is made again\" >&2\n"
            "                  exit 75\n");
    else
        mu_buf_adds(
            out,
            "                  [ ! -e " DRAINED " ] || exit 0\n"
            "                  echo \"sshd ended with $code and the pod was not drained: exit 75, so that "
            "the container is started again\" >&2\n"
            "                  exit 75\n");
}

static void add_probe(mu_buf_t *out)
{
    mu_buf_addf(
        out,
        "              ports: [{name: ssh, containerPort: %d}]\n"
        "              readinessProbe: {tcpSocket: {port: %d}, initialDelaySeconds: 1, periodSeconds: 2}\n",
        MU_RENDER_SSH_PORT, MU_RENDER_SSH_PORT);
}

/* Limits equal to requests: a quota on limits refuses a pod without them. */
static void add_resources(const mu_params_t *p, bool node, mu_buf_t *out)
{
    for (int i = 0; i < 2; i++) {
        mu_buf_addf(out, "%s{cpu: \"%s\", memory: %s",
                    i ? "                limits: " : "              resources:\n                requests: ",
                    mu_params_text(p, node ? "cpu" : "launcher_cpu"),
                    mu_params_text(p, node ? "memory" : "launcher_memory"));
        if (node)
            add_devices(p, out);
        mu_buf_adds(out, "}\n");
    }
}

void mu_render_launcher(const mu_pod_t *pod, mu_buf_t *out)
{
    const mu_params_t *p = pod->params;
    const char *home = mu_params_text(p, "home");
    add_pod(pod, true, out);
    mu_buf_addf(out,
                "              command: [/bin/sh, -c]\n"
                "              args:\n"
                "                - |\n"
                "                  set -eu\n"
                "                  printf '* %%s\\n' \"$(cat %s/.ssh/id_rsa.pub)\" >/tmp/known_hosts\n",
                home);
    if (pod->launcher_is_node)
        add_sshd_command(home, out);
    mu_buf_adds(out, "                  exec muster run /etc/muster/config.yml --hostfile /etc/mpi/hostfile");
    /* muster starts one worker a host unless it sees GPUs or --workers says more */
    if (mu_params_number(p, "slots") > 1 && !mu_params_text(p, "gpus"))
        mu_buf_addf(out, " --workers %lld",
                    (long long)(mu_params_number(p, "workers") * mu_params_number(p, "slots")));
    if (pod->arguments)
        mu_buf_adds(out, pod->arguments);
    if (!pod->own_ssh)
        mu_buf_addf(
            out,
            " \\\n                    \"muster.ssh_args=-p %d -i %s/.ssh/id_rsa -o StrictHostKeyChecking=yes"
            " -o UserKnownHostsFile=/tmp/known_hosts -o GlobalKnownHostsFile=none\"",
            MU_RENDER_SSH_PORT, home);
    add_secret(mu_params_text(p, "secret"), out);
    /* the verdict's lines become the pod's message: all that stays of a pod whose log goes with it */
    mu_buf_adds(out, "\n              terminationMessagePolicy: FallbackToLogsOnError\n");
    if (pod->launcher_is_node)
        add_probe(out);
    add_resources(p, pod->launcher_is_node, out);
    add_mounts(pod, true, out);
}

void mu_render_worker(const mu_pod_t *pod, mu_buf_t *out)
{
    add_pod(pod, false, out);
    add_sshd(pod, out);
    add_drain(pod, out);
    add_probe(out);
    add_resources(pod->params, true, out);
    add_mounts(pod, false, out);
}
