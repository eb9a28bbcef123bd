"""The peer of bench/engine: the same training steps in eager PyTorch, on one core.

It reads requests from stdin and answers on stdout, one JSON object a line: about, prepare (a job), run (for some
seconds). Inputs are files of raw little-endian numbers that the other side reads too.
"""
import json
import os
import sys
import time

try:
    import torch
except ImportError as e:
    print(json.dumps({"error": "%s has no PyTorch (%s)" % (sys.executable, e)}), flush=True)
    sys.exit(0)

torch.set_num_threads(1)
torch.set_num_interop_threads(1)


def load(path, dtype, *shape):
    with open(path, "rb") as f:
        return torch.frombuffer(bytearray(f.read()), dtype=dtype).reshape(*shape)


def mlp(sizes):
    layers = []
    for i in range(len(sizes) - 1):
        layers.append(torch.nn.Linear(sizes[i], sizes[i + 1]))
        if i < len(sizes) - 2:
            layers.append(torch.nn.ReLU())
    return torch.nn.Sequential(*layers)


def cnn():
    return torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, 28, 28)),
        torch.nn.Conv2d(1, 16, 5), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(16, 16, 5), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(256, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10))


class UPGD(torch.optim.Optimizer):
    """UPGD-W, first order with the global maximum (Elsayed and Mahmood 2024, algorithm 1):

    U <- beta U - (1 - beta) g w; M the largest of all parameters' U;
    w <- (1 - lr decay) w - lr (g + sigma noise) (1 - sigmoid(U / M)).

    The bias corrections of U and M are the same number and cancel, so that none is computed.
    """

    def __init__(self, params, lr, beta, sigma, decay):
        super().__init__(params, dict(lr=lr, beta=beta, sigma=sigma, decay=decay))

    @torch.no_grad()
    def step(self):
        largest = torch.tensor(-torch.inf)
        for group in self.param_groups:
            for p in group["params"]:
                if p not in self.state:
                    self.state[p] = torch.zeros_like(p)
                u = self.state[p]
                u.mul_(group["beta"]).addcmul_(p.grad, p, value=group["beta"] - 1)
                largest = torch.maximum(largest, u.max())
        for group in self.param_groups:
            for p in group["params"]:
                gate = 1 - torch.sigmoid(self.state[p] / largest)
                noise = torch.randn_like(p) * group["sigma"]
                p.mul_(1 - group["lr"] * group["decay"]).add_((p.grad + noise) * gate, alpha=-group["lr"])


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-3),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-3),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-4, betas=(0.0, 0.99), weight_decay=0.0),
    "upgd": lambda p: UPGD(p, lr=0.01, beta=0.9999, sigma=0.1, decay=0.01),
}


def train(job):
    torch.manual_seed(0)
    sizes, batch, n = job["sizes"], job["batch"], job["examples"]
    x = load(job["x"], torch.float32, n, sizes[0])
    if job.get("classes"):
        y, loss = load(job["y"], torch.int32, n).long(), torch.nn.CrossEntropyLoss()
    else:
        y, loss = load(job["y"], torch.float32, n, sizes[-1]), torch.nn.MSELoss()
    net = cnn() if job["network"] == "cnn" else mlp(sizes)
    opt = OPTIMIZERS[job["optimizer"]](net.parameters())
    at = 0

    def step():
        nonlocal at
        opt.zero_grad()
        value = loss(net(x[at:at + batch]), y[at:at + batch])
        value.backward()
        opt.step()
        at = (at + batch) % (n - batch + 1)
        return value

    losses = [step().item() for _ in range(job["warmup"])]
    return step, sum(losses) / len(losses)


def gemm(job):
    m, n, k = job["m"], job["n"], job["k"]
    a = torch.rand(k, m).t() if job["form"][0] == "T" else torch.rand(m, k)
    b = torch.rand(n, k).t() if job["form"][1] == "T" else torch.rand(k, n)
    c = torch.empty(m, n)
    return lambda: torch.mm(a, b, out=c), None


def run(step, seconds):
    """Steps for about so many seconds; looks at the clock every 2 ms or so."""
    t = time.perf_counter()
    step()
    chunk = max(1, min(1000, int(0.002 / max(1e-9, time.perf_counter() - t))))
    n, cpu, main, start = 0, time.process_time(), time.thread_time(), time.perf_counter()
    while time.perf_counter() - start < seconds or n < 3:
        for _ in range(chunk):
            step()
        n += chunk
    wall = time.perf_counter() - start
    return {"steps": n, "wall": wall, "cpu": time.process_time() - cpu, "main": time.thread_time() - main}


step = None
for line in sys.stdin:
    request = json.loads(line)
    try:
        if request["op"] == "about":
            answer = {"version": torch.__version__, "threads": torch.get_num_threads(), "python": sys.version.split()[0]}
        elif request["op"] == "prepare":
            job = request["job"]
            step, loss = {"train": train, "gemm": gemm}[job["kind"]](job)
            answer = {"loss": loss}
        else:
            answer = run(step, request["seconds"])
    except Exception as e:
        answer = {"error": "%s: %s" % (type(e).__name__, e)}
    print(json.dumps(answer), flush=True)
