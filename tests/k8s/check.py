"""check.py FILE...: every object of the files, as the API server and the MPI operator would take it. A folder is a
kustomization; its patches are applied, and where kubectl is installed it must make the same of it. MUSTER_MPIJOB_CRD
names the CRD's file (pods included), which is then checked beside what is written here. Where the Python that runs this
has kubernetes-validate, all objects, and of an MPIJob its pods, pass that too, unknown fields being errors."""
import os
import re
import shutil
import subprocess
import sys

import yaml

failures = []
DEFINITIONS = {}  # what a schema's $ref names


def fail(where, text):
    failures.append(f"{where}: {text}")


def check(schema, value, where):
    """The part of OpenAPI v3 that a CRD uses; a field that the schema does not know is an error (it would be pruned)."""
    while "$ref" in schema:
        schema = DEFINITIONS[schema["$ref"].split("/")[-1]]
    if schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, (int, str)) or isinstance(value, bool):
            fail(where, f"an integer or a string is wanted, not {value!r}")
        return
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
    kind = schema.get("type")
    if kind and (not isinstance(value, kinds[kind]) or (kind in ("integer", "number") and isinstance(value, bool))):
        fail(where, f"{kind} is wanted, not {value!r}")
        return
    if "enum" in schema and value not in schema["enum"]:
        fail(where, f"one of {schema['enum']} is wanted, not {value!r}")
    if isinstance(value, dict):
        known, rest = schema.get("properties", {}), schema.get("additionalProperties")
        for key in schema.get("required", []):
            if key not in value:
                fail(where, f"{key} is missing")
        for key, item in value.items():
            if key in known:
                check(known[key], item, f"{where}.{key}")
            elif isinstance(rest, dict):
                check(rest, item, f"{where}.{key}")
            elif kind == "object" and known and not schema.get("x-kubernetes-preserve-unknown-fields"):
                fail(where, f"unknown field {key}")
    for i, item in enumerate(value if isinstance(value, list) else []):
        check(schema.get("items", {}), item, f"{where}[{i}]")


def fields(**known):
    return {"type": "object", "properties": known}


# What these objects may hold of the Kubernetes API (v1.20 to v1.37), as far as they use it; anything else is an error.
TEXT, TEXTS = {"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}
NUMBER = {"type": "integer"}
PODS = fields(matchLabels=TEXTS)
PORT = fields(protocol={"type": "string", "enum": ["TCP", "UDP", "SCTP"]}, port=NUMBER, endPort=NUMBER)
RULE = fields(**{"from": {"type": "array", "items": fields(podSelector=PODS)}, "ports": {"type": "array", "items": PORT}})
CORE = {
    ("v1", "ConfigMap"): dict(data=TEXTS, immutable={"type": "boolean"}),
    ("v1", "Secret"): dict(type=TEXT, stringData=TEXTS),
    ("v1", "ServiceAccount"): dict(automountServiceAccountToken={"type": "boolean"}),
    ("v1", "PersistentVolumeClaim"): dict(spec=fields(
        accessModes={"type": "array", "items": {"type": "string", "enum": ["ReadWriteMany"]}},
        storageClassName=TEXT, resources=fields(requests=TEXTS))),
    ("rbac.authorization.k8s.io/v1", "Role"): dict(rules={"type": "array", "items": fields(
        apiGroups={"type": "array", "items": TEXT}, resources={"type": "array", "items": TEXT},
        verbs={"type": "array", "items": TEXT})}),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): dict(
        roleRef=fields(apiGroup=TEXT, kind=TEXT, name=TEXT),
        subjects={"type": "array", "items": fields(kind=TEXT, name=TEXT)}),
    ("networking.k8s.io/v1", "NetworkPolicy"): dict(spec=fields(
        podSelector=PODS, policyTypes={"type": "array", "items": {"type": "string", "enum": ["Ingress", "Egress"]}},
        ingress={"type": "array", "items": RULE})),
}

# An MPIJob, v2beta1: the operator's own fields (all of them), and of a pod those that we write.
BOOL = {"type": "boolean"}


def word(*choices):
    return {"type": "string", "enum": list(choices)}


def listed(item):
    return {"type": "array", "items": item}


QUANTITIES = {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": True}}
TERM = fields(matchExpressions=listed(fields(key=TEXT, operator=word("In"), values=listed(TEXT))))
CONTAINER = fields(
    name=TEXT, image=TEXT, command=listed(TEXT), args=listed(TEXT),
    ports=listed(fields(name=TEXT, containerPort=NUMBER)),
    env=listed(fields(name=TEXT, valueFrom=fields(secretKeyRef=fields(name=TEXT, key=TEXT, optional=BOOL)))),
    envFrom=listed(fields(secretRef=fields(name=TEXT, optional=BOOL))),
    securityContext=fields(allowPrivilegeEscalation=BOOL, capabilities=fields(drop=listed(TEXT))),
    lifecycle=fields(preStop=fields(exec=fields(command=listed(TEXT)))),
    readinessProbe=fields(tcpSocket=fields(port=NUMBER), initialDelaySeconds=NUMBER, periodSeconds=NUMBER),
    terminationMessagePolicy=word("File", "FallbackToLogsOnError"),
    resources=fields(requests=QUANTITIES, limits=QUANTITIES),
    volumeMounts=listed(fields(name=TEXT, mountPath=TEXT)))
POD = fields(
    serviceAccountName=TEXT, automountServiceAccountToken=BOOL, enableServiceLinks=BOOL,
    terminationGracePeriodSeconds=NUMBER, containers=listed(CONTAINER),
    affinity=fields(nodeAffinity=fields(requiredDuringSchedulingIgnoredDuringExecution=fields(
        nodeSelectorTerms=listed(TERM)))),
    securityContext=fields(runAsNonRoot=BOOL, runAsUser=NUMBER, runAsGroup=NUMBER, fsGroup=NUMBER,
                           fsGroupChangePolicy=word("OnRootMismatch", "Always"),
                           seccompProfile=fields(type=word("RuntimeDefault"))),
    volumes=listed(fields(name=TEXT, configMap=fields(name=TEXT), emptyDir=fields(medium=word("Memory")),
                          persistentVolumeClaim=fields(claimName=TEXT))))
REPLICA = fields(replicas=NUMBER, restartPolicy=TEXT,
                 template=fields(metadata=fields(labels=TEXTS, annotations=TEXTS), spec=POD))
POLICY = fields(cleanPodPolicy=word("None", "Running", "All"), backoffLimit=NUMBER, activeDeadlineSeconds=NUMBER,
                ttlSecondsAfterFinished=NUMBER, suspend=BOOL, managedBy=TEXT,
                schedulingPolicy=fields(minAvailable=NUMBER, queue=TEXT, minResources=QUANTITIES, priorityClass=TEXT,
                                        scheduleTimeoutSeconds=NUMBER))
PROBE = fields(httpGet=fields(path=TEXT, port=NUMBER), periodSeconds=NUMBER, timeoutSeconds=NUMBER, failureThreshold=NUMBER)
SERVER = fields(
    name=TEXT, image=TEXT, command=listed(TEXT), args=listed(TEXT), restartPolicy=word("Always"),
    ports=listed(fields(name=TEXT, containerPort=NUMBER)),
    env=listed(fields(name=TEXT, value=TEXT, valueFrom=fields(
        secretKeyRef=fields(name=TEXT, key=TEXT, optional=BOOL), fieldRef=fields(fieldPath=TEXT)))),
    startupProbe=PROBE, readinessProbe=PROBE, livenessProbe=PROBE,
    securityContext=fields(allowPrivilegeEscalation=BOOL, capabilities=fields(drop=listed(TEXT))),
    lifecycle=fields(preStop=fields(exec=fields(command=listed(TEXT)))),
    terminationMessagePolicy=word("File", "FallbackToLogsOnError"),
    resources=fields(requests=QUANTITIES, limits=QUANTITIES),
    volumeMounts=listed(fields(name=TEXT, mountPath=TEXT, readOnly=BOOL)))
SERVING_POD = {k: v for k, v in POD["properties"].items() if k != "serviceAccountName"}
SERVING_POD.update(
    restartPolicy=word("Never"), initContainers=listed(SERVER), containers=listed(SERVER),
    volumes=listed(fields(name=TEXT, emptyDir=fields(medium=word("Memory")), secret=fields(secretName=TEXT),
                          persistentVolumeClaim=fields(claimName=TEXT))))
SERVING_TEMPLATE = fields(metadata=fields(labels=TEXTS, annotations=TEXTS), spec=fields(**SERVING_POD))
STRATEGY = fields(type=word("RollingUpdate"), rollingUpdate=fields(maxUnavailable=NUMBER, maxSurge=NUMBER))
CORE.update({
    ("v1", "Service"): dict(spec=fields(selector=TEXTS, ports=listed(fields(name=TEXT, port=NUMBER, targetPort=NUMBER)))),
    ("apps/v1", "Deployment"): dict(spec=fields(
        replicas=NUMBER, minReadySeconds=NUMBER, progressDeadlineSeconds=NUMBER, revisionHistoryLimit=NUMBER,
        strategy=STRATEGY, selector=PODS, template=SERVING_TEMPLATE)),
    ("batch/v1", "Job"): dict(spec=fields(backoffLimit=NUMBER, activeDeadlineSeconds=NUMBER, ttlSecondsAfterFinished=NUMBER,
                                          template=SERVING_TEMPLATE)),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): dict(spec=fields(selector=PODS, endpoints=listed(fields(
        port=TEXT, path=TEXT, interval=TEXT, authorization=fields(credentials=fields(name=TEXT, key=TEXT)))))),
    ("serving.kserve.io/v1beta1", "InferenceService"): dict(spec=fields(predictor=fields(
        minReplicas=NUMBER, maxReplicas=NUMBER, deploymentStrategy=STRATEGY,
        model=fields(**SERVER["properties"], modelFormat=fields(name=TEXT), storageUri=TEXT),
        **{k: v for k, v in SERVING_POD.items() if k not in ("containers", "initContainers")}))),
})
OWNER = listed({**fields(apiVersion=TEXT, kind=TEXT, name=TEXT, uid=TEXT),
                "required": ["apiVersion", "kind", "name", "uid"]})
META = {**fields(name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS, ownerReferences=OWNER), "required": ["name"]}
MPIJOB = {**fields(apiVersion=TEXT, kind=TEXT, metadata=META, spec={**fields(
    slotsPerWorker=NUMBER, runLauncherAsWorker=BOOL, sshAuthMountPath=TEXT,
    launcherCreationPolicy=TEXT, mpiImplementation=word("OpenMPI", "Intel", "MPICH"), runPolicy=POLICY,
    mpiReplicaSpecs=fields(Launcher=REPLICA, Worker=REPLICA)), "required": ["mpiReplicaSpecs"]}),
    "required": ["metadata", "spec"]}


def core(o, where):
    known = CORE.get((o.get("apiVersion"), o.get("kind")))
    if known is None:
        fail(where, f"no kind of ours: {o.get('apiVersion')} {o.get('kind')}")
        return
    schema = fields(apiVersion=TEXT, kind=TEXT, metadata=META, **known)
    check({**schema, "required": ["metadata"]}, o, f"{where}: {o['kind']}")


def against_loss(name, hook, container):
    """A worker's container that ends with 0 is never started again: 0 only after the hook, by the file that it makes."""
    made = re.search(r"&& : >(\S+)$", " ".join(hook[2:3]))
    text = container["args"][0] if container["command"] == ["/bin/sh", "-c"] else ""
    if not made or f"[ ! -e {made[1]} ] || exit 0\n" not in text or not re.search(r"^exit [1-9][0-9]*$", text, re.M):
        fail(name, "a worker whose sshd ends with 0 is lost")


def quantities(name, role, resources):
    """A ResourceQuota on limits refuses a container without them; thousandths of a byte are no memory."""
    for kind in ("requests", "limits"):
        for what in ("cpu", "memory"):
            if what not in resources[kind]:
                fail(name, f"{role}: no {what} in {kind}")
        if str(resources[kind].get("memory", "")).endswith("m"):
            fail(name, f"{role}: memory in thousandths of a byte")


def operator_rules(job):
    """What its validation and its code want beyond the schema."""
    name, spec = job["metadata"]["name"], job["spec"]
    replicas = spec["mpiReplicaSpecs"]
    if replicas["Launcher"].get("replicas", 1) != 1:
        fail(name, "the launcher wants one replica")
    workers = replicas["Worker"].get("replicas", 0)
    if workers < 1:
        fail(name, "no workers")
    if len(f"{name}-worker-{workers - 1}") > 63:
        fail(name, "the last worker's name is too long")
    if spec.get("launcherCreationPolicy", "AtStartup") not in ("AtStartup", "WaitForWorkersReady"):
        fail(name, "launcherCreationPolicy")
    for role, replica in replicas.items():
        if replica.get("restartPolicy") not in ("Never", "OnFailure"):
            fail(name, f"restartPolicy of {role}")
        pod = replica["template"]["spec"]
        volumes = {v["name"] for v in pod["volumes"]}
        for container in pod["containers"]:
            for mount in container["volumeMounts"]:
                if mount["name"] not in volumes:
                    fail(name, f"{role}: no volume {mount['name']}")
            devices = {r: v for r, v in container["resources"]["requests"].items() if "/" in r}
            if any(container["resources"]["limits"].get(r) != v for r, v in devices.items()):
                fail(name, f"{role}: requests and limits of devices differ")
            if role == "Worker" and devices.get("nvidia.com/gpu") not in (None, str(spec.get("slotsPerWorker"))):
                fail(name, "a worker owns one GPU")
            hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
            if role == "Worker" and (hook[:2] != ["/bin/sh", "-c"] or not hook[2].startswith("muster-worker --drain ") or
                                     int(hook[4]) >= pod["terminationGracePeriodSeconds"]):
                fail(name, "a worker that goes does not ask for a checkpoint first")
            if role == "Worker":
                against_loss(name, hook, container)
            quantities(name, role, container["resources"])
            if role == "Launcher" and container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
                fail(name, "the reason goes with the launcher's log")
        if not pod["securityContext"]["runAsNonRoot"] or spec["sshAuthMountPath"].startswith("/root"):
            fail(name, f"{role} runs as root")


def together(objects):
    """Names that objects use of each other; names that the operator makes itself."""
    for job in (o for o in objects if o["kind"] == "MPIJob"):
        name = job["metadata"]["name"]
        maps = {o["metadata"]["name"]: o for o in objects if o["kind"] == "ConfigMap"}
        claims = {o["metadata"]["name"] for o in objects if o["kind"] == "PersistentVolumeClaim"}
        accounts = {o["metadata"]["name"] for o in objects if o["kind"] == "ServiceAccount"}
        secrets = {o["metadata"]["name"] for o in objects if o["kind"] == "Secret"}
        taken = {name + s for s in ("-config", "-ssh")} & {o["metadata"]["name"] for o in objects if o is not job}
        if taken:
            fail(name, f"{taken} belong to the operator")
        for role, replica in job["spec"]["mpiReplicaSpecs"].items():
            if replica["template"]["spec"].get("serviceAccountName") not in accounts:
                fail(name, f"{role}: no ServiceAccount of that name")
            for source in replica["template"]["spec"]["containers"][0].get("envFrom", []):
                if not source["secretRef"].get("optional") and source["secretRef"]["name"] not in secrets:
                    fail(name, f"{role}: no Secret {source['secretRef']['name']}")
            for volume in replica["template"]["spec"]["volumes"]:
                if "configMap" in volume and volume["configMap"]["name"] not in maps:
                    fail(name, f"{role}: no ConfigMap {volume['configMap']['name']}")
                claim = volume.get("persistentVolumeClaim", {}).get("claimName")
                if claims and claim and claim not in claims:
                    fail(name, f"{role}: no claim {claim}")
        for o in objects:
            for owner in o["metadata"].get("ownerReferences", []):
                if (owner["apiVersion"], owner["kind"], owner["name"]) != (job["apiVersion"], "MPIJob", name) or o is job:
                    fail(name, f"{o['kind']} is owned by {owner['kind']} {owner['name']}")
        for policy in (o for o in objects if o["kind"] == "NetworkPolicy"):
            if policy["spec"]["podSelector"]["matchLabels"] != {"training.kubeflow.org/job-name": name}:
                fail(name, "the NetworkPolicy selects other pods")


def patch(obj, operations):
    for op in operations:
        *path, last = [p.replace("~1", "/").replace("~0", "~") for p in op["path"].split("/")[1:]]
        at = obj
        for part in path:
            at = at[int(part)] if isinstance(at, list) else at[part]
        if op["op"] == "replace" and last not in at:
            raise KeyError(last)
        at[last] = op["value"]


def merge(obj, change):
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(obj.get(key), dict):
            merge(obj[key], value)
        else:
            obj[key] = value


def read(path):
    with open(path) as f:
        return [o for o in yaml.safe_load_all(f) if o]


def load(path):
    """Of a folder, what kustomize makes of it, as far as the tree uses that. The words are those which kubectl 1.20 (it
    carries kustomize 2.0) knows and 1.32 (5.5) still does."""
    if not os.path.isdir(path):
        return read(path)
    k = read(os.path.join(path, "kustomization.yaml"))[0]
    unknown = set(k) - {"apiVersion", "kind", "bases", "resources", "patchesJson6902", "patchesStrategicMerge"}
    if unknown:
        fail(path, f"kubectl 1.20 does not know, or this check does not: {unknown}")
    objects = [o for b in k.get("bases", []) for o in load(os.path.normpath(os.path.join(path, b)))]
    objects += [o for r in k.get("resources", []) for o in read(os.path.join(path, r))]

    def find(kind, name):
        hit = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
        if not hit:
            fail(path, f"the patch of {kind} {name} meets no object")
        return hit

    for file in k.get("patchesStrategicMerge", []):
        for change in read(os.path.join(path, file)):
            for o in find(change["kind"], change["metadata"]["name"]):
                merge(o, change)
    for p in k.get("patchesJson6902", []):
        for o in find(p["target"]["kind"], p["target"]["name"]):
            patch(o, read(os.path.join(path, p["path"]))[0])
    return objects


def against_kubectl(path, objects):
    def key(o):
        return o["kind"], o["metadata"]["name"]

    made = subprocess.run(["kubectl", "kustomize", path], capture_output=True, text=True, timeout=60)
    if made.returncode != 0:
        fail(path, f"kubectl kustomize: {made.stderr}")
    elif sorted(yaml.safe_load_all(made.stdout), key=key) != sorted(objects, key=key):
        fail(path, "kubectl kustomize makes other objects of it")


FOREIGN = ("MPIJob", "ServiceMonitor", "InferenceService")  # kinds that the API server does not know by itself


def pods_of(o):
    """The pods that a foreign kind is made into, as their specs say it."""
    if o["kind"] == "MPIJob":
        return [r["template"] for r in o["spec"]["mpiReplicaSpecs"].values()]
    if o["kind"] == "InferenceService":
        own = ("minReplicas", "maxReplicas", "deploymentStrategy", "model")
        predictor = o["spec"]["predictor"]
        container = {k: v for k, v in predictor["model"].items() if k not in ("modelFormat", "storageUri")}
        return [{"metadata": {}, "spec": {**{k: v for k, v in predictor.items() if k not in own},
                                          "containers": [{"name": "kserve-container", **container}]}}]
    return []


def strictly(objects, where):
    """As the API server of the newest release that kubernetes-validate knows; of a foreign kind the pods."""
    try:
        import kubernetes_validate
    except ImportError:
        return
    pods = [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", **t["metadata"]}, "spec": t["spec"]}
            for o in objects for t in pods_of(o)]
    for o in [o for o in objects if o["kind"] not in FOREIGN and not o["kind"].startswith("Workflow")] + pods:
        try:
            kubernetes_validate.validate(o, kubernetes_validate.latest_version(), strict=True)
        except kubernetes_validate.ValidationError as e:
            fail(where, f"kubernetes-validate: {o['kind']}: {'.'.join(map(str, e.path))}: {e.message}")
    print(f"{where}: kubernetes-validate {kubernetes_validate.latest_version()} saw {len(objects)} objects, {len(pods)} pods")


def main():
    crd = None
    if os.environ.get("MUSTER_MPIJOB_CRD"):
        with open(os.environ["MUSTER_MPIJOB_CRD"]) as f:
            versions = yaml.load(f, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]["versions"]
        crd = next(v for v in versions if v["name"] == "v2beta1")["schema"]["openAPIV3Schema"]
    for path in sys.argv[1:]:
        objects = load(path)
        if os.path.isdir(path) and shutil.which("kubectl"):
            against_kubectl(path, objects)
        if os.path.basename(os.path.normpath(path)) != "base" and not any(
                o["kind"] in ("MPIJob", "PersistentVolumeClaim", "WorkflowTemplate") for o in objects):
            fail(path, "no MPIJob")
        for o in objects:
            if o["kind"] == "MPIJob":
                operator_rules(o)
                check(MPIJOB, o, path)
                if crd:
                    check(crd, o, path)
            elif not o["kind"].startswith("Workflow"):  # argo.py knows these
                core(o, path)
        together(objects)
        strictly(objects, path)
    for line in failures:
        print(line, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
