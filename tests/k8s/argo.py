"""argo.py FILE... -- DIR [NAME=VALUE...]: the files of `muster render storage` and `muster render argo`, as Argo would take
them, with unknown fields as errors. MUSTER_ARGO_SCHEMA names Argo's own schema, against which all its objects are then
checked too. Into DIR go, with the workflow's parameters in place (NAME=VALUE or their defaults): a script and an environment
for each step in the graph's order, job.yaml with the MPIJob and what it names, for check.py, and, where the workflow serves
its model, serving.yaml with what it applies for that, for serve.py."""
import json
import os
import re
import sys

import yaml

from check import BOOL, DEFINITIONS, META, NUMBER, TEXT, TEXTS, check, core, fail, failures, fields, listed, word

OPEN = {}
VARIABLE = fields(name=TEXT, value=TEXT, valueFrom=fields(secretKeyRef=fields(name=TEXT, key=TEXT, optional=BOOL)))
MUTEXES = fields(mutexes=listed(fields(name=TEXT)))
SCRIPT = fields(
    image=TEXT, command=listed(TEXT), args=listed(TEXT), env=listed(VARIABLE),
    securityContext=fields(allowPrivilegeEscalation=BOOL, capabilities=fields(drop=listed(TEXT))),
    resources=fields(requests=TEXTS, limits=TEXTS), volumeMounts=listed(fields(name=TEXT, mountPath=TEXT)))
RETRY = fields(limit=TEXT, retryPolicy=word("Always", "OnFailure", "OnError", "OnTransientError"), expression=TEXT,
               backoff=fields(duration=TEXT, factor=TEXT, maxDuration=TEXT))
RESOURCE = fields(action=word("apply", "create", "get"), setOwnerReference=BOOL, successCondition=TEXT, failureCondition=TEXT,
                  manifest=TEXT)
STEP = {**fields(name=TEXT, retryStrategy=RETRY, synchronization=MUTEXES, container=SCRIPT, resource=RESOURCE,
                 dag=fields(tasks=listed(fields(name=TEXT, template=TEXT, depends=TEXT, when=TEXT))),
                 activeDeadlineSeconds=TEXT), "required": ["name"]}
# values are texts: Argo's schema says so of values, enum and limit alike
PARAMETER = fields(name=TEXT, description=TEXT, value=TEXT, enum=listed(TEXT))
TEMPLATE = fields(apiVersion=TEXT, kind=TEXT, metadata=META, spec=fields(
    entrypoint=TEXT, serviceAccountName=TEXT, ttlStrategy=fields(secondsAfterCompletion=NUMBER),
    workflowMetadata=fields(labels=TEXTS), securityContext=OPEN, arguments=fields(parameters=listed(PARAMETER)),
    volumes=listed(fields(name=TEXT, configMap=fields(name=TEXT), persistentVolumeClaim=fields(claimName=TEXT))),
    templates=listed(STEP)))
BINDING = fields(apiVersion=TEXT, kind=TEXT, metadata=META, spec=fields(
    event=fields(selector=TEXT),
    submit=fields(workflowTemplateRef=fields(name=TEXT), metadata=fields(name=TEXT),
                  arguments=fields(parameters=listed(fields(name=TEXT, valueFrom=fields(event=TEXT)))))))
OURS = {"WorkflowTemplate": TEMPLATE, "WorkflowEventBinding": BINDING}
# what the article's file gives a run, without the two that nothing used (D11)
ARTICLE = """run_name pvc_data_name pvc_checkpoints_name download_checkpoint model_weights_url pretrained_checkpoint_path
finetuned_checkpoint_path download_dataset dataset_url dataset_path dataset_file tokenize_dataset tokenized_dataset_path
training_config_name region trainer_nodes trainer_gpu use_ib micro_batch_size gradient_accumulation_steps
wandb_secret_name wandb_project wandb_group""".split()


def against_argo(o, where):
    if not os.environ.get("MUSTER_ARGO_SCHEMA"):
        return
    if not DEFINITIONS:
        with open(os.environ["MUSTER_ARGO_SCHEMA"]) as f:
            DEFINITIONS.update(json.load(f)["definitions"])
    check({"$ref": "#/definitions/io.argoproj.workflow.v1alpha1." + o["kind"]}, o, f"{where}: {o['kind']}")


def put_in(text, values, where):
    """The workflow's parameters, and the expressions that the templates use."""
    def one(match):
        inner = match[1].strip()
        if inner.startswith("workflow.parameters."):
            return values[inner[20:]]
        if inner == "workflow.name":
            return values["workflow.name"]
        for form, make in ((r"=workflow\.parameters\.(\w+) == 'true' \? '1' : '0'", lambda m: "1" if values[m[1]] == "true" else "0"),
                           (r"=sprig\.default\('none', workflow\.parameters\.(\w+)\)", lambda m: values[m[1]] or "none"),
                           (r"=sprig\.replace\('/', '-', workflow\.parameters\.(\w+)\)", lambda m: values[m[1]].replace("/", "-"))):
            m = re.fullmatch(form, inner)
            if m:
                return make(m)
        fail(where, f"no value for {match[0]}")
        return ""
    return re.sub(r"\{\{(.*?)\}\}", one, text)


def graph(spec, steps, where):
    """The tasks in an order that their dependencies allow."""
    done, tasks = [], list(steps[spec["entrypoint"]]["dag"]["tasks"])
    while tasks:
        ready = [t for t in tasks if set(re.findall(r"[a-z-]+", t.get("depends", ""))) <= set(done)]
        if not ready:
            fail(where, f"tasks that wait for each other or for nothing: {[t['name'] for t in tasks]}")
            return done
        for t in ready:
            if t["template"] not in steps:
                fail(where, f"task {t['name']}: no template {t['template']}")
            done.append(t["name"])
            tasks.remove(t)
    return done


def rules(template, objects, where):
    """What the article's own files got wrong, D5 to D11, and what Argo accepts and reads otherwise than meant."""
    spec, text = template["spec"], json.dumps(template)
    steps = {t["name"]: t for t in spec["templates"]}
    named = [p["name"] for p in spec["arguments"]["parameters"]]
    for name in ARTICLE:
        if name not in named:
            fail(where, f"the article's parameter {name} is missing")
    for name in named:
        if f"workflow.parameters.{name}" not in text:
            fail(where, f"nothing uses the parameter {name}")  # D8, D11
    for name in re.findall(r"workflow\.parameters\.(\w+)", text):
        if name not in named:
            fail(where, f"parameter {name} is used and not defined")
    for p in spec["arguments"]["parameters"]:
        if p["name"] != "run_name" and "value" not in p:
            fail(where, f"parameter {p['name']} has no default")
        if "enum" in p and p.get("value") not in p["enum"]:
            fail(where, f"parameter {p['name']}: its default is none of its values")
    claims = {o["metadata"]["name"] for o in objects if o["kind"] == "PersistentVolumeClaim"}
    bound = {o["roleRef"]["name"] for o in objects if o["kind"] == "RoleBinding"
             if spec["serviceAccountName"] in [s["name"] for s in o["subjects"]]}
    roles = [r for o in objects if o["kind"] == "Role" and o["metadata"]["name"] in bound for r in o["rules"]]
    verbs = {(g, r): set(x["verbs"]) for x in roles for g in x["apiGroups"] for r in x["resources"]}
    if claims:  # the storage is here too: exactly what is needed (D11)
        wanted = {("argoproj.io", "workflowtaskresults"): {"create", "patch"},
                  ("kubeflow.org", "mpijobs"): {"create", "get", "patch"}}
        if "serve" in steps:
            wanted.update({k: {"create", "get", "patch"} for k in (("batch", "jobs"), ("apps", "deployments"))})
        if verbs != wanted:
            fail(where, f"the Role allows {verbs}")
        accounts = {o["metadata"]["name"] for o in objects if o["kind"] == "ServiceAccount"}
        if spec["serviceAccountName"] not in accounts:
            fail(where, f"no ServiceAccount {spec['serviceAccountName']}")
        for o in objects:
            if o["kind"] == "Secret" and (o.get("data") or o.get("stringData")):
                fail(where, "the Secret holds something")
    for step in steps.values():
        mounted = {v["name"] for v in spec["volumes"]}
        for m in step.get("container", {}).get("volumeMounts", []):
            if m["name"] not in mounted:
                fail(where, f"{step['name']}: no volume {m['name']}")
        if "container" in step:
            retried = step["retryStrategy"]["expression"]
            codes = [int(c) for c in re.search(r"in \[(.*)\]", retried)[1].split(",")]
            if codes != RETRIED:
                fail(where, f"{step['name']}: retries {codes}, docs/exit-codes.md says {RETRIED}")
        elif step["name"] in ("smoke", "serve", "served"):
            serving_rules(step, steps, where)
        elif "resource" in step:
            backoff = yaml.safe_load(re.sub(r"\{\{.*?\}\}", "1", step["resource"]["manifest"]))["spec"]["runPolicy"]["backoffLimit"]
            if step["resource"]["failureCondition"] != f"status.replicaStatuses.Launcher.failed > {backoff}":
                fail(where, "the step fails before the job does")  # D10
            if not step["resource"].get("setOwnerReference"):
                fail(where, "the job outlives the workflow")
        for v in step.get("container", {}).get("env", []):
            if re.search(r"TOKEN$|KEY$|PASSWORD", v["name"]) and "value" in v:
                fail(where, f"{step['name']}: {v['name']} is a literal")
        if step["name"] in ("train", "fetch-model", "fetch-data", "import", "prepare", "register", "serve") and not step.get("synchronization"):
            fail(where, f"{step['name']}: two workflows may write the same place")
    for task in steps[spec["entrypoint"]]["dag"]["tasks"]:
        if task["name"] in ("serve", "served") and task.get("when") != "{{workflow.parameters.serve_model}} == true":
            fail(where, f"{task['name']} does not follow serve_model")
    return steps


def manifest_of(step):
    return yaml.safe_load(re.sub(r"\{\{.*?\}\}", "1", step["resource"]["manifest"]))


def serving_rules(step, steps, where):
    """The Job is the workflow's and fails when it does; the Deployment outlives the workflow, and is waited for."""
    resource, name = step["resource"], step["name"]
    if bool(resource.get("setOwnerReference")) != (name == "smoke"):
        fail(where, f"{name}: a wrong owner")
    if name != "serve" and "activeDeadlineSeconds" not in step:
        fail(where, f"{name}: waits for ever")
    if name == "smoke":
        if resource["successCondition"] != "status.succeeded > 0" or \
                resource["failureCondition"] != f"status.failed > {manifest_of(step)['spec']['backoffLimit']}":
            fail(where, "smoke: the step does not end as its Job does")
    if name == "served":
        served = manifest_of(steps["serve"])
        n = served["spec"]["replicas"]
        wanted = ",".join(f"status.{k} == {n}" for k in ("updatedReplicas", "availableReplicas", "replicas"))
        if resource["action"] != "get" or resource["successCondition"] != wanted:
            fail(where, f"served: {resource}")
        if manifest_of(step)["metadata"]["name"] != served["metadata"]["name"]:
            fail(where, "served: waits for another Deployment")


def job_rules(job, where):
    launcher = job["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]
    container = launcher["containers"][0]
    if not [v for v in launcher["volumes"] if "persistentVolumeClaim" in v]:
        fail(where, "the launcher mounts no claim")  # D7
    if "exec muster run " not in container["args"][0] or "finetune=true" not in container["args"][0]:
        fail(where, "the launcher does not run muster, or not from the weights alone")  # D1, D9
    save, load = (re.search(rf"'{k}=([^']*)'", container["args"][0])[1] for k in ("save", "load"))
    if save == load:
        fail(where, "save is load")
    return save


def write_step(step, values, order, where_to):
    base = os.path.join(where_to, f"{order:02d}-{step['name']}")
    c = step["container"]
    if c["command"] != ["/bin/sh", "-c"] or len(c["args"]) != 1:
        fail(step["name"], "no script for /bin/sh")
    with open(base + ".sh", "w") as f:
        f.write(put_in(c["args"][0], values, step["name"]))
    with open(base + ".env", "w") as f:
        f.writelines(f"{v['name']}={put_in(v['value'], values, step['name'])}\0" for v in c["env"] if "value" in v)


def main():
    split = sys.argv.index("--")
    out, given = sys.argv[split + 1], dict(a.split("=", 1) for a in sys.argv[split + 2:])
    objects = []
    for path in sys.argv[1:split]:
        with open(path) as f:
            objects += [o for o in yaml.safe_load_all(f) if o]
    for o in objects:
        where = f"{o['kind']} {o['metadata']['name']}"
        if o["kind"] in OURS:
            check(OURS[o["kind"]], o, where)
            against_argo(o, where)
        else:
            core(o, where)
    for template in (o for o in objects if o["kind"] == "WorkflowTemplate"):
        where = template["metadata"]["name"]
        steps = rules(template, objects, where)
        values = {p["name"]: p.get("value", "") for p in template["spec"]["arguments"]["parameters"]}
        if set(given) - set(values):
            fail(where, f"no such parameter: {set(given) - set(values)}")
        values.update(given, **{"workflow.name": where + "-abcde"})
        if failures:
            break
        applied = [o for o in objects if o["kind"] == "Service"]
        for i, name in enumerate(graph(template["spec"], steps, where)):
            if "container" in steps[name]:
                write_step(steps[name], values, i, out)
                continue
            job = yaml.safe_load(put_in(steps[name]["resource"]["manifest"], values, name))
            if job["kind"] != "MPIJob":
                applied += [job] if steps[name]["resource"]["action"] == "apply" else []
                continue
            save = job_rules(job, name)
            if given.get("run_name", "") not in save:
                fail(where, "two runs have one run directory")  # D8
            with open(os.path.join(out, f"{i:02d}-{name}.sh"), "w") as f:
                f.write(job["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"][0]["args"][0])
            kept = [o for o in objects if o["kind"] in ("ConfigMap", "ServiceAccount", "PersistentVolumeClaim")]
            with open(os.path.join(out, "job.yaml"), "w") as f:
                yaml.safe_dump_all(kept + [job], f)
        with open(os.path.join(out, "serving.yaml"), "w") as f:
            yaml.safe_dump_all(applied, f)
        with open(os.path.join(out, "config.yml"), "w") as f:
            f.write(next(o for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == values["training_config_name"])
                    ["data"]["config.yml"])
    for binding in (o for o in objects if o["kind"] == "WorkflowEventBinding"):
        ref = binding["spec"]["submit"]["workflowTemplateRef"]["name"]
        template = [o for o in objects if o["kind"] == "WorkflowTemplate" and o["metadata"]["name"] == ref]
        if not template:
            fail("binding", f"no WorkflowTemplate {ref}")
        named = [p["name"] for t in template for p in t["spec"]["arguments"]["parameters"]]
        for p in binding["spec"]["submit"]["arguments"]["parameters"]:
            if p["name"] not in named:
                fail("binding", f"the workflow has no parameter {p['name']}")
    for line in failures:
        print(line, file=sys.stderr)
    return 1 if failures else 0


def retried():
    """The codes of docs/exit-codes.md that are worth another try."""
    with open(os.path.join(os.environ["MUSTER_SOURCE"], "docs/exit-codes.md")) as f:
        return [int(m[1]) for m in re.finditer(r"^\| (\d+) \|.*\| (?:yes|at once)[^|]*\|$", f.read(), re.M)]


RETRIED = retried()
sys.exit(main())
