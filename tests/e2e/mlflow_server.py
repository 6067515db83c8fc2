"""mlflow_server.py FILE [--tls CERT KEY] [--refuse]: as much of MLflow's REST interface as muster uses, on a free port of this
machine that it writes to FILE. FILE.models has the registered models, {name: {"versions": {number: source}, "aliases": {}}},
and FILE.artifacts the files that were put. With --refuse each call is answered with an error that repeats its credentials."""
import http.server
import json
import os
import ssl
import sys

path, options = sys.argv[1], sys.argv[2:]
experiments, runs, models, tags = {}, {}, {}, {}


def obey(call, body):
    """The answer, or None where there is no such thing."""
    if call.startswith("experiments/get-by-name"):
        name = call.split("=", 1)[1]
        return {"experiment": {"experiment_id": experiments[name]}} if name in experiments else None
    if call == "experiments/create":
        experiments[body["name"]] = str(len(experiments) + 1)
        return {"experiment_id": experiments[body["name"]]}
    if call == "runs/create":
        runs[f"r{len(runs)}"] = body
        return {"run": {"info": {"run_id": f"r{len(runs) - 1}"}}}
    if call == "runs/search":
        return {"runs": [{"info": {"run_id": r}} for r in runs if runs[r]["tags"][0]["value"] in body["filter"]]}
    if call.startswith("runs/get"):
        return {"run": {"data": {}}} if call.split("=", 1)[1] in runs else None
    if call.startswith("model-versions/search"):
        found = [v for t, v in tags.items() if t in call]
        return {"model_versions": [{"version": v} for v in found]}
    if call == "registered-models/create":
        models.setdefault(body["name"], {"versions": {}, "aliases": {}})
        return {"registered_model": {"name": body["name"]}}
    if call == "model-versions/create":
        versions = models[body["name"]]["versions"]
        number = str(len(versions) + 1)
        versions[number] = body["source"]
        tags[body["tags"][0]["value"]] = number
        return {"model_version": {"version": number}}
    if call == "registered-models/alias":
        models[body["name"]]["aliases"][body["alias"]] = body["version"]
    return {}


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "--refuse" in options:
            self.reply(400, {"error_code": "INVALID_PARAMETER_VALUE",
                             "message": f"no such thing: {self.headers.get('Authorization')}"})
        elif self.path.startswith("/api/2.0/mlflow-artifacts/artifacts/"):
            file = path + ".artifacts/" + self.path[len("/api/2.0/mlflow-artifacts/artifacts/"):]
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "wb") as out:
                out.write(body)
            self.reply(200, {})
        else:
            made = obey(self.path[len("/api/2.0/mlflow/"):], json.loads(body or b"{}"))
            with open(path + ".models", "w") as out:
                json.dump(models, out, sort_keys=True)
            self.reply(200, made) if made is not None else self.reply(404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})

    do_GET = do_POST = do_PUT = answer

    def reply(self, status, what):
        text = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
if "--tls" in options:
    at = options.index("--tls")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options[at + 1], options[at + 2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
with open(path + ".new", "w") as out:
    out.write(str(server.server_address[1]))
os.rename(path + ".new", path)
server.serve_forever()
