"""What an MLflow server and TensorBoard read back of a run, against metrics.jsonl: every value of every step, once; also when
the server is killed, stopped and answers 500 in the middle. Then an export becomes a version of a registered model.

track.py MUSTER: needs mlflow and tensorboard (tests/parity/install); exits 77 without them."""
import collections, http.server, json, math, os, shutil, signal, socket, subprocess, sys, tempfile, threading, time
import urllib.request

try:
    import mlflow, tensorboard  # noqa: F401
    from mlflow.tracking import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

muster = sys.argv[1]
scratch = tempfile.mkdtemp(prefix="muster-track-")
children = []
NAMES = {"loss": ("train/lm_loss", 1), "lr": ("train/learning_rate", 1), "grad_norm": ("train/grad_norm", 1),
         "step_ms": ("runtime/iteration_time", 1e-3), "tokens_per_s": ("runtime/tokens_per_sec", 1),
         "data_wait_ms": ("timers/data_wait", 1e-3), "comm_ms": ("timers/comm", 1e-3),
         "valid_loss": ("validation/lm_loss", 1), "valid_ppl": ("validation/lm_loss_ppl", 1)}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, seconds=90):
    deadline = time.time() + seconds
    while not what():
        assert time.time() < deadline, f"waited in vain for {what.__name__}"
        time.sleep(0.1)


class Server:
    """mlflow server on sqlite, in a process group of its own."""

    def __init__(self):
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{scratch}/mlflow.db",
             "--artifacts-destination", f"{scratch}/artifacts", "--host", "127.0.0.1", "--port", str(self.port),
             "--workers", "1"], stdout=open(f"{scratch}/server.log", "a"), stderr=subprocess.STDOUT,
            start_new_session=True)
        children.append(self.process)

        def healthy():
            try:
                return urllib.request.urlopen(self.uri + "/health", timeout=2).status == 200
            except OSError:
                return False
        wait_for(healthy)

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()


class Proxy:
    """Passes calls on to the server, or answers 500, after it was obeyed every other time."""

    def __init__(self, server):
        proxy = self
        self.bad, self.calls = False, 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                proxy.calls += 1
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, text = 500, b"broken"
                if not proxy.bad or proxy.calls % 2 == 0:
                    request = urllib.request.Request(server.uri + self.path, data=body if body else None,
                                                     method=self.command,
                                                     headers={"Content-Type": "application/json"})
                    try:
                        with urllib.request.urlopen(request) as reply:
                            obeyed, text_of_reply = reply.status, reply.read()
                    except urllib.error.HTTPError as error:
                        obeyed, text_of_reply = error.code, error.read()
                    if not proxy.bad:
                        status, text = obeyed, text_of_reply
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
            do_GET = do_POST = do_PUT = answer

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def make_run(name, first=1, last=300):
    """A run directory as muster leaves it, with steps first to last so far."""
    run = os.path.join(scratch, name)
    os.makedirs(run, exist_ok=True)
    add_steps(run, first, last)
    set_state(run, "running")
    with open(os.path.join(run, "config.yml"), "w") as f:
        f.write("num_layers: 2\noptimizer: {type: Adam, params: {lr: 1.0e-3}}\n")
    return run


def set_state(run, state):
    with open(os.path.join(run, "run.tmp"), "w") as f:
        json.dump({"state": state, "step": 1, "started": 1.7e9, "time": time.time(), "token": os.path.basename(run) * 4,
                   "config_digest": "c", "data_version": "d", "last_checkpoint": -1, "attempt": 1}, f)
    os.rename(os.path.join(run, "run.tmp"), os.path.join(run, "run.json"))


def add_steps(run, first, last):
    with open(os.path.join(run, "metrics.jsonl"), "a") as f:
        for step in range(first, last + 1):
            point = {"step": step, "samples": step * 4, "tokens": step * 256, "loss": 7 / step + 1 / 3, "lr": 1e-3 / step,
                     "grad_norm": None if step % 50 == 0 else 1.5, "step_ms": 20 + step / 7,
                     "tokens_per_s": 12345.678, "data_wait_ms": 0.25, "comm_ms": 1 / 7}
            if step % 10 == 0:
                point.update(valid_loss=2 + 1 / step, valid_ppl=math.exp(2 + 1 / step))
            f.write(json.dumps(dict(point, time=1.7e9 + step)) + "\n")


def wanted(run):
    """name -> [(step, value)] of metrics.jsonl; None for a number that is not finite."""
    out = collections.defaultdict(list)
    for line in open(os.path.join(run, "metrics.jsonl")):
        point = json.loads(line)
        for key, (name, scale) in NAMES.items():
            if key in point:
                out[name].append((point["step"], None if point[key] is None else point[key] * scale))
    return out


def check_mlflow(server, run, status):
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("muster").experiment_id
    found = client.search_runs([experiment], f"tags.`muster.run` = '{os.path.basename(run) * 4}'")
    assert len(found) == 1, f"{len(found)} runs"
    info, data = found[0].info, found[0].data
    assert info.status == status, info.status
    assert data.params["optimizer.params.lr"] == "1.0e-3" and data.tags["muster.data_version"] == "d"
    for name, points in wanted(run).items():
        there = [(m.step, None if math.isnan(m.value) else m.value) for m in client.get_metric_history(info.run_id, name)]
        assert sorted(there, key=lambda p: p[0]) == points, f"{name}: {len(there)} points, wanted {len(points)}"
    return info.run_id


def track(run, *options, code=0):
    done = subprocess.run([muster, "track", run, *options], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, f"exit {done.returncode}, wanted {code}: {done.stderr}"


def finished(server):
    run = make_run("finished")
    set_state(run, "done")
    track(run, "--mlflow", server.uri, "--tensorboard", scratch + "/board")
    check_mlflow(server, run, "FINISHED")
    track(run, "--mlflow", server.uri)  # again: nothing new
    check_mlflow(server, run, "FINISHED")
    events = EventAccumulator(scratch + "/board", size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    for name, points in wanted(run).items():
        there = [(e.step, e.value) for e in events.Scalars(name)]
        assert [s for s, _ in there] == [s for s, _ in points], name
        for (_, a), (step, b) in zip(there, points):
            assert math.isnan(a) if b is None else abs(a - b) <= 1e-7 * abs(b), f"{name} step {step}: {a}, {b}"
    texts = set(events.Tags()["tensors"])
    assert {"run/text_summary", "config/text_summary"} <= texts, texts


def outages(server):
    """A tracker that follows a run while the server is stopped, killed and answers 500."""
    run, proxy = make_run("followed"), Proxy(server)
    lock = open(os.path.join(run, "launcher.lock"), "w")
    import fcntl
    fcntl.lockf(lock, fcntl.LOCK_EX)  # a launcher has the directory
    tracker = subprocess.Popen([muster, "track", run, "--mlflow", proxy.uri, "--wait", "60"],
                               stderr=open(scratch + "/tracker.log", "w"))
    children.append(tracker)
    cursor = os.path.join(run, "track.json")

    def delivered():
        size = os.path.getsize(os.path.join(run, "metrics.jsonl"))
        return os.path.exists(cursor) and json.load(open(cursor))["mlflow"][proxy.uri].get("metrics") == size
    wait_for(delivered)
    proxy.bad = True
    add_steps(run, 301, 600)
    wait_for(lambda: proxy.calls > 25 or tracker.poll() is not None or "500" in open(scratch + "/tracker.log").read())
    proxy.bad = False
    wait_for(delivered)
    server.signal(signal.SIGSTOP)
    add_steps(run, 601, 900)
    time.sleep(3)
    server.signal(signal.SIGCONT)
    wait_for(delivered)
    server.kill()
    add_steps(run, 901, 1200)
    time.sleep(2)
    tracker.kill()  # and the tracker too
    tracker.wait()
    tracker = subprocess.Popen([muster, "track", run, "--mlflow", proxy.uri, "--wait", "60"])
    children.append(tracker)
    time.sleep(1)
    server.start()
    set_state(run, "failed")
    assert tracker.wait(timeout=120) == 0
    check_mlflow(server, run, "FAILED")


def registry(server):
    """Any directory of files stands for an export: what is tested is the way into the registry."""
    source, output = make_model()
    for _ in range(2):  # the second time nothing new
        done = subprocess.run([muster, "export", source, "--output", output, "--register", "neox", "--alias", "production",
                               "--mlflow", server.uri], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    client = MlflowClient(server.uri)
    versions = client.search_model_versions("name = 'neox'")
    assert [v.version for v in versions] in (["1"], [1]), versions
    assert str(client.get_model_version_by_alias("neox", "production").version) == "1"
    local = mlflow.artifacts.download_artifacts(artifact_uri=versions[0].source, tracking_uri=server.uri,
                                                dst_path=scratch + "/back")
    for name in os.listdir(output):
        a, b = (open(os.path.join(d, name), "rb").read() for d in (output, local))
        assert a == b, name


def make_model():
    """A checkpoint of a tiny GPT-2 of muster's own: import of a Hugging Face directory that is written here."""
    import numpy
    from safetensors.numpy import save_file
    hf, checkpoint = scratch + "/hf", scratch + "/checkpoint"
    os.makedirs(hf)
    n, v, rng = 16, 64, numpy.random.default_rng(1)
    make = lambda *shape: (rng.standard_normal(shape) * 0.02).astype("float32")  # noqa: E731
    tensors = {"wte.weight": make(v, n), "wpe.weight": make(32, n), "ln_f.weight": make(n), "ln_f.bias": make(n)}
    for name, shape in {"ln_1.weight": [n], "ln_1.bias": [n], "ln_2.weight": [n], "ln_2.bias": [n],
                        "attn.c_attn.weight": [n, 3 * n], "attn.c_attn.bias": [3 * n], "attn.c_proj.weight": [n, n],
                        "attn.c_proj.bias": [n], "mlp.c_fc.weight": [n, 4 * n], "mlp.c_fc.bias": [4 * n],
                        "mlp.c_proj.weight": [4 * n, n], "mlp.c_proj.bias": [n]}.items():
        tensors["h.0." + name] = make(*shape)
    save_file(tensors, hf + "/model.safetensors")
    json.dump({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": v, "n_embd": n, "n_head": 2,
               "n_layer": 1, "n_positions": 32, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
               "tie_word_embeddings": True}, open(hf + "/config.json", "w"))
    done = subprocess.run([muster, "import", hf, "--output", checkpoint], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return checkpoint, scratch + "/exported"


os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "2"
try:
    server = Server()
    for test in (finished, outages, registry):
        test(server)
        print("ok", test.__name__, flush=True)
finally:
    for child in children:
        if child.poll() is None:
            try:
                os.killpg(child.pid, signal.SIGKILL) if os.getpgid(child.pid) == child.pid else child.kill()
            except ProcessLookupError:
                pass
            child.wait()
    shutil.rmtree(scratch, ignore_errors=True)
