"""trainjob.py FILE [DIR]: what `muster render trainjob` prints, as Kubeflow Trainer would take it, with unknown fields as
errors. MUSTER_TRAINER_CRDS names the folder of its two CRDs, against which both objects are then checked too. Into DIR go the
containers' words (command.launcher, command.node, command.hook, a NUL after each), config.yml, and what the launcher's Job
does about an exit code: lines "CODE ACTION" in `codes`."""
import os
import re
import sys

import yaml

from check import BOOL, CONTAINER, META, NUMBER, POD, TEXT, TEXTS, check, core, fail, failures, fields, listed, quantities, word

CODES = fields(containerName=TEXT, operator=word("In"), values=listed(NUMBER))
JOB = fields(backoffLimit=NUMBER, podFailurePolicy=fields(rules=listed(fields(
    action=word("FailJob", "Ignore"), onExitCodes=CODES, onPodConditions=listed(fields(type=TEXT, status=TEXT))))),
    template=fields(metadata=fields(labels=TEXTS, annotations=TEXTS),
                    spec=fields(**{**POD["properties"], "restartPolicy": word("Never")})))
RUNTIME = fields(apiVersion=TEXT, kind=TEXT, metadata=META, spec=fields(
    mlPolicy=fields(numNodes=NUMBER, mpi=fields(mpiImplementation=word("OpenMPI"), numProcPerNode=NUMBER,
                                                sshAuthMountPath=TEXT, runLauncherAsNode=BOOL)),
    template=fields(spec=fields(
        network=fields(publishNotReadyAddresses=BOOL),
        successPolicy=fields(operator=word("All"), targetReplicatedJobs=listed(TEXT)),
        failurePolicy=fields(maxRestarts=NUMBER, rules=listed(fields(
            name=TEXT, action=word("FailJobSet"), targetReplicatedJobs=listed(TEXT)))),
        replicatedJobs=listed(fields(name=TEXT, template=fields(metadata=fields(labels=TEXTS), spec=JOB)))))))
TRAINJOB = fields(apiVersion=TEXT, kind=TEXT, metadata=META, spec=fields(
    runtimeRef=fields(apiGroup=TEXT, kind=TEXT, name=TEXT), trainer=fields(numNodes=NUMBER, numProcPerNode=NUMBER),
    activeDeadlineSeconds=NUMBER, suspend=BOOL))
RESERVED = {"OMPI_MCA_orte_default_hostfile", "OMPI_MCA_orte_keep_fqdn_hostnames", "OMPI_MCA_orte_set_default_slots",
            "OMPI_MCA_plm_rsh_args"}


def codes_of(pattern):
    with open(os.path.join(os.environ["MUSTER_SOURCE"], "docs/exit-codes.md")) as f:
        rows = re.findall(r"^\| ([0-9/ ]+) \|.*\| " + pattern + r"[^|]*\|$", f.read(), re.M)
    return sorted(int(c) for row in rows for c in row.split("/"))


def against_crd(o, name):
    folder = os.environ.get("MUSTER_TRAINER_CRDS")
    if folder:
        with open(os.path.join(folder, f"trainer.kubeflow.org_{name}.yaml")) as f:
            crd = yaml.load(f, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        check(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], o, o["kind"])


def job_rules(job, node_count, policy):
    """What Trainer, JobSet and a Job need to do what is meant. Returns what happens with each code."""
    name, spec = job["name"], job["template"]["spec"]
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    if container["name"] != "node":
        fail(name, "keys and hostfile go into the container `node` only")
    if pod["restartPolicy"] != "Never":
        fail(name, "a Job with a podFailurePolicy wants restartPolicy Never")
    if {e["name"] for e in container.get("env", [])} & RESERVED:
        fail(name, "sets a variable that Trainer sets")
    volumes = {v["name"] for v in pod["volumes"]}
    for mount in container["volumeMounts"]:
        if mount["name"] not in volumes:
            fail(name, f"no volume {mount['name']}")
        if mount["mountPath"] in ("/etc/mpi", policy["mpi"]["sshAuthMountPath"]):
            fail(name, f"{mount['mountPath']} is Trainer's")
    quantities(name, name, container["resources"])
    what = {}
    for rule in spec["podFailurePolicy"]["rules"]:
        if "onExitCodes" in rule and rule["onExitCodes"]["containerName"] != container["name"]:
            fail(name, "a rule for a container that is not there")
        for code in rule.get("onExitCodes", {}).get("values", []):
            what.setdefault(code, rule["action"])
    if what.get(75) != "Ignore":
        fail(name, "75 counts as a failure")
    if not any(c["type"] == "DisruptionTarget" for r in spec["podFailurePolicy"]["rules"] for c in r.get("onPodConditions", [])):
        fail(name, "a drained node counts as a failure")
    if name == "launcher" and sorted(c for c in what if what[c] == "FailJob") != codes_of("no"):
        fail(name, f"fails at {sorted(what)}, docs/exit-codes.md says {codes_of('no')}")
    if name == "node" and not re.search(r"^exit 75$", container["args"][0], re.M) or re.search(r"exit 0$", container["args"][0], re.M):
        fail(name, "a node that ends with 0 is not made again")
    return what


def main():
    with open(sys.argv[1]) as f:
        objects = [o for o in yaml.safe_load_all(f) if o]
    by = {o["kind"]: o for o in objects}
    runtime, job = by["TrainingRuntime"], by["TrainJob"]
    check(RUNTIME, runtime, "TrainingRuntime")
    check(TRAINJOB, job, "TrainJob")
    against_crd(runtime, "trainingruntimes")
    against_crd(job, "trainjobs")
    for o in objects:
        if not o["apiVersion"].startswith("trainer."):
            core(o, o["kind"])
    if failures:
        return end()
    ref, policy = job["spec"]["runtimeRef"], runtime["spec"]["mlPolicy"]
    if (ref["apiGroup"], ref["kind"], ref["name"]) != ("trainer.kubeflow.org", "TrainingRuntime", runtime["metadata"]["name"]):
        fail("TrainJob", "names another runtime")
    if job["spec"]["trainer"]["numNodes"] != policy["numNodes"] or policy["numNodes"] < 1 + policy["mpi"]["runLauncherAsNode"]:
        fail("TrainJob", "numNodes")
    spec = runtime["spec"]["template"]["spec"]
    jobs = {j["name"]: j for j in spec["replicatedJobs"]}
    if list(jobs) != ["launcher", "node"] or spec["successPolicy"]["targetReplicatedJobs"] != ["launcher"]:
        fail("JobSet", "the launcher alone decides")
    if not spec["network"]["publishNotReadyAddresses"]:
        fail("JobSet", "a launcher that is a node has no name until it is ready")
    if jobs["launcher"]["template"]["metadata"]["labels"].get("trainer.kubeflow.org/trainjob-ancestor-step") != "trainer":
        fail("launcher", "is not the trainer")
    what = {n: job_rules(j, policy["numNodes"], policy) for n, j in jobs.items()}
    if by["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] != {"jobset.sigs.k8s.io/jobset-name": job["metadata"]["name"]}:
        fail("NetworkPolicy", "selects other pods")
    for j in jobs.values():
        pod = j["template"]["spec"]["template"]["spec"]
        if pod["serviceAccountName"] != by["ServiceAccount"]["metadata"]["name"]:
            fail(j["name"], "no such ServiceAccount")
        for v in pod["volumes"]:
            if "configMap" in v and v["configMap"]["name"] != by["ConfigMap"]["metadata"]["name"]:
                fail(j["name"], "no such ConfigMap")
    if len(sys.argv) > 2:
        write(sys.argv[2], jobs, by, what)
    return end()


def write(out, jobs, by, what):
    for name, j in jobs.items():
        c = j["template"]["spec"]["template"]["spec"]["containers"][0]
        with open(f"{out}/command.{name}", "w") as f:
            f.writelines(str(w) + "\0" for w in c["command"] + c["args"])
    with open(f"{out}/command.hook", "w") as f:
        f.writelines(w + "\0" for w in c["lifecycle"]["preStop"]["exec"]["command"])
    with open(f"{out}/config.yml", "w") as f:
        f.write(by["ConfigMap"]["data"]["config.yml"])
    with open(f"{out}/codes", "w") as f:
        f.writelines(f"{code} {action}\n" for code, action in sorted(what["launcher"].items()))


def end():
    for line in failures:
        print(line, file=sys.stderr)
    return 1 if failures else 0


sys.exit(main())
