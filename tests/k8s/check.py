"""check.py FILE...: every object of the files, as the API server and the MPI operator would take it. A folder is a
kustomization; its patches are applied. MUSTER_MPIJOB_CRD names the CRD's file; without it the schema is not checked."""
import os
import sys

import yaml

failures = []


def fail(where, text):
    failures.append(f"{where}: {text}")


def check(schema, value, where):
    """The part of OpenAPI v3 that a CRD uses; a field that the schema does not know is an error (it would be pruned)."""
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
        if not pod["securityContext"]["runAsNonRoot"] or spec["sshAuthMountPath"].startswith("/root"):
            fail(name, f"{role} runs as root")


def together(objects):
    """Names that objects use of each other; names that the operator makes itself."""
    for job in (o for o in objects if o["kind"] == "MPIJob"):
        name = job["metadata"]["name"]
        maps = {o["metadata"]["name"]: o for o in objects if o["kind"] == "ConfigMap"}
        claims = {o["metadata"]["name"] for o in objects if o["kind"] == "PersistentVolumeClaim"}
        taken = {name + s for s in ("-config", "-ssh")} & {o["metadata"]["name"] for o in objects if o is not job}
        if taken:
            fail(name, f"{taken} belong to the operator")
        for role, replica in job["spec"]["mpiReplicaSpecs"].items():
            for volume in replica["template"]["spec"]["volumes"]:
                if "configMap" in volume and volume["configMap"]["name"] not in maps:
                    fail(name, f"{role}: no ConfigMap {volume['configMap']['name']}")
                claim = volume.get("persistentVolumeClaim", {}).get("claimName")
                if claims and claim and claim not in claims:
                    fail(name, f"{role}: no claim {claim}")
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


def load(path):
    if not os.path.isdir(path):
        with open(path) as f:
            return [o for o in yaml.safe_load_all(f) if o]
    with open(os.path.join(path, "kustomization.yaml")) as f:
        k = yaml.safe_load(f)
    objects = [o for r in k["resources"] for o in load(os.path.normpath(os.path.join(path, r)))]
    for p in k.get("patches", []):
        hit = [o for o in objects if o["kind"] == p["target"]["kind"] and o["metadata"]["name"] == p["target"]["name"]]
        if not hit:
            fail(path, f"the patch of {p['target']} meets no object")
        for o in hit:
            patch(o, yaml.safe_load(p["patch"]))
    return objects


def main():
    crd = None
    if os.environ.get("MUSTER_MPIJOB_CRD"):
        with open(os.environ["MUSTER_MPIJOB_CRD"]) as f:
            versions = yaml.load(f, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]["versions"]
        crd = next(v for v in versions if v["name"] == "v2beta1")["schema"]["openAPIV3Schema"]
    for path in sys.argv[1:]:
        objects = load(path)
        if not any(o["kind"] == "MPIJob" for o in objects):
            fail(path, "no MPIJob")
        for o in objects:
            if o["kind"] == "MPIJob":
                operator_rules(o)
                if crd:
                    check(crd, o, path)
        together(objects)
    for line in failures:
        print(line, file=sys.stderr)
    return 1 if failures else 0


sys.exit(main())
