"""serve.py FILE... [-- DIR]: what `muster render serve` prints, or what a workflow applies of it, as the API server, KServe and
the Prometheus operator would take it, with unknown fields as errors; and what a rollout needs to lose no request.
MUSTER_SERVE_CRDS names a folder with the CRDs of both (GROUP_PLURAL.yaml, as they are published), against which their objects
are then checked too. Into DIR go the Job's server (`server`: words, a NUL after each; `server.env`: NAME=VALUE and a NUL) and
the client's script (`smoke.sh`)."""
import os
import sys

import yaml

from check import check, core, fail, failures, quantities, strictly


def labels_match(selector, labels):
    return bool(selector) and all(labels.get(k) == v for k, v in selector.items())


def pod_rules(where, spec, container, names=True):
    if not spec["securityContext"]["runAsNonRoot"]:
        fail(where, "runs as root")
    quantities(where, where, container["resources"])
    if container["resources"]["limits"] != container["resources"]["requests"]:
        fail(where, "limits and requests differ")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if probe not in container:
            fail(where, f"no {probe}")
    volumes = {v["name"] for v in spec.get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        if mount["name"] not in volumes:
            fail(where, f"no volume {mount['name']}")
    if any("token" in str(e.get("value", "")).lower() or "KEY" in e["name"] and "value" in e for e in container.get("env", [])):
        fail(where, "a token is a literal")


def strategy_rules(where, strategy, spec, container):
    """New pods are ready before old ones go, and those leave the Service before they are told to end."""
    if strategy["rollingUpdate"]["maxUnavailable"] != 0 or strategy["rollingUpdate"]["maxSurge"] < 1:
        fail(where, "a rollout leaves fewer pods than it found")
    hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [""])[-1]
    if not hook.startswith("sleep "):
        fail(where, "no preStop: a pod that ends still gets requests")
        return
    drain = next((int(w.split("=")[1]) for w in container.get("command", []) if w.startswith("--drain=")), 0)
    if spec["terminationGracePeriodSeconds"] <= int(hook.split()[1]) + drain:
        fail(where, "the pod is killed before it has drained")


def deployment_rules(o, service):
    spec, where = o["spec"], f"Deployment {o['metadata']['name']}"
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    pod_rules(where, pod, container)
    strategy_rules(where, spec["strategy"], pod, container)
    labels = spec["template"]["metadata"]["labels"]
    if not labels_match(spec["selector"]["matchLabels"], labels):
        fail(where, "selects other pods than its own")
    port = container["ports"][0]["containerPort"]
    if any(container[p]["httpGet"]["port"] != port for p in ("startupProbe", "readinessProbe", "livenessProbe") if p in container):
        fail(where, "a probe asks at another port")
    words = container["command"]
    listens = [w for w in words if w in (f"--listen=0.0.0.0:{port}", f"--port={port}")]
    if not listens:
        fail(where, "it does not listen where it is asked")
    if words[0] == "muster" and ("--no-auth" in words) == any(w.startswith("--token-file=") for w in words):
        fail(where, "a token or --no-auth")
    if service:
        if not labels_match(service["spec"]["selector"], labels):
            fail(where, "the Service selects other pods")
        if service["spec"]["ports"][0]["targetPort"] != port:
            fail(where, "the Service goes to another port")
    return pod, container


def job_rules(job, served, service):
    """The server that is tried is the one that is rolled out."""
    where, spec = f"Job {job['metadata']['name']}", job["spec"]["template"]["spec"]
    server, client = spec["initContainers"][0], spec["containers"][0]
    pod_rules(where, spec, server)
    if server.get("restartPolicy") != "Always":
        fail(where, "the client starts when the server has ended, which it never does")
    if spec.get("restartPolicy") != "Never" or client["command"] != ["/bin/sh", "-c"]:
        fail(where, "the client is no script that runs once")
    if service and labels_match(service["spec"]["selector"], job["spec"]["template"]["metadata"]["labels"]):
        fail(where, "the Service sends it requests")
    hooks = job["metadata"].get("annotations", {})
    if hooks and (hooks.get("argocd.argoproj.io/hook") != "PreSync" or "pre-upgrade" not in hooks.get("helm.sh/hook", "")):
        fail(where, "nobody waits for it")
    if served:
        pod, container = served
        own = ("restartPolicy", "ports", "lifecycle")
        if {k: v for k, v in server.items() if k not in own} != {k: v for k, v in container.items() if k not in own}:
            fail(where, "tries another server than the one that is rolled out")
        if spec["volumes"] != pod["volumes"]:
            fail(where, "has other volumes than the server that is rolled out")
    return server, client


def inference_rules(o):
    where, predictor = f"InferenceService {o['metadata']['name']}", o["spec"]["predictor"]
    pod_rules(where, predictor, predictor["model"])
    strategy_rules(where, predictor["deploymentStrategy"], predictor, predictor["model"])
    if o["metadata"]["annotations"].get("serving.kserve.io/deploymentMode") != "Standard":  # RawDeployment before 0.16
        fail(where, "not a plain Deployment")
    if predictor["model"]["modelFormat"]["name"] != "huggingface" or not predictor["model"]["storageUri"].startswith("pvc://"):
        fail(where, "not an exported directory on a claim")
    if "--model_dir=/mnt/models" not in predictor["model"]["args"]:
        fail(where, "KServe mounts storageUri at /mnt/models")


def against_crd(o):
    folder, group = os.environ.get("MUSTER_SERVE_CRDS"), o["apiVersion"].split("/")[0]
    if not folder or o["kind"] not in ("InferenceService", "ServiceMonitor"):
        return
    with open(os.path.join(folder, f"{group}_{o['kind'].lower()}s.yaml")) as f:
        crd = yaml.load(f, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    version = next(v for v in crd["spec"]["versions"] if f"{group}/{v['name']}" == o["apiVersion"])
    check(version["schema"]["openAPIV3Schema"], o, o["kind"])


def write(out, server, client):
    with open(os.path.join(out, "server"), "w") as f:
        f.writelines(w + "\0" for w in server.get("command", []) + server.get("args", []))
    with open(os.path.join(out, "server.env"), "w") as f:
        f.writelines(f"{e['name']}={e.get('value', 'pod')}\0" for e in server.get("env", []))
    with open(os.path.join(out, "ready"), "w") as f:
        f.write(server["startupProbe"]["httpGet"]["path"])
    with open(os.path.join(out, "smoke.sh"), "w") as f:
        f.write(client["args"][0])


def main():
    files = sys.argv[1:sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    objects = []
    for path in files:
        with open(path) as f:
            objects += [o for o in yaml.safe_load_all(f) if o]
    for o in objects:
        core(o, files[0])
        against_crd(o)
    by = {o["kind"]: o for o in objects}
    if not failures:
        service = by.get("Service")
        served = deployment_rules(by["Deployment"], service) if "Deployment" in by else None
        if "InferenceService" in by:
            inference_rules(by["InferenceService"])
        elif not served:
            fail(files[0], "nothing serves")
        server, client = job_rules(by["Job"], served, service)
        monitor = by.get("ServiceMonitor")
        if monitor and (not labels_match(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"]) or
                        monitor["spec"]["endpoints"][0]["port"] != service["spec"]["ports"][0]["name"]):
            fail("ServiceMonitor", "selects another Service")
        if "--" in sys.argv:
            write(sys.argv[sys.argv.index("--") + 1], server, client)
    strictly(objects, files[0])
    for line in failures:
        print(line, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
