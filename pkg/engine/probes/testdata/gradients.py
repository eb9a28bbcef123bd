"""Golden values for the probes of gradients and features, made with numpy and PyTorch:
/usr/bin/python3 gradients.py > gradients.json

Every metric is written out from its definition, in float64, on a small network with
float32 weights as the engine has them: no autograd of the engine is involved.
"""
import json

import numpy as np
import torch

rng = np.random.default_rng(7)
torch.set_default_dtype(torch.float64)
n, widths = 12, [6, 7, 5, 4]


def f32(*shape, scale=1.0):
    return (scale * rng.normal(size=shape)).astype(np.float32)


x = f32(n, widths[0])
labels = rng.integers(0, widths[-1], n)
weights, biases = [], []
for i, o in zip(widths, widths[1:]):
    weights.append(f32(i, o, scale=1 / np.sqrt(i)))  # [in][out]
    biases.append(f32(o, scale=0.1))
weights[0][:, 2] = 2 * weights[0][:, 5]  # unit 2 is unit 5 but for a factor
biases[0][2] = 2 * biases[0][5]
weights[1][:, 1] = 0
biases[1][1] = -1  # unit 1 of layer 2 is dead
weights[2][3] = 1e-7 * weights[2][3]  # unit 3 of layer 2 hardly matters

shapes = [a.shape for pair in zip(weights, biases) for a in pair]
theta = torch.tensor(np.concatenate([a.ravel() for pair in zip(weights, biases) for a in pair]).astype(np.float64))
X, Y = torch.tensor(x.astype(np.float64)), torch.tensor(labels)


def forward(t, X):
    at, h, features = 0, X, []
    for layer in range(3):
        (i, o), _ = shapes[2 * layer], shapes[2 * layer + 1]
        w = t[at : at + i * o].reshape(i, o)
        b = t[at + i * o : at + i * o + o]
        at += i * o + o
        h = h @ w + b
        if layer < 2:
            h = torch.relu(h)
            features.append(h)
    return h, features


def losses(t, X, Y):
    return torch.nn.functional.cross_entropy(forward(t, X)[0], Y, reduction="none")


hessian = torch.autograd.functional.hessian(lambda t: losses(t, X, Y).mean(), theta).numpy()
eigenvalues = np.linalg.eigvalsh(hessian)


def rank99(g):
    s = np.sort(np.linalg.eigvalsh(g))[::-1]
    return int(np.argmax(np.cumsum(s) / s.sum() >= 0.99)) + 1


J = torch.autograd.functional.jacobian(lambda t: losses(t, X, Y), theta).numpy()
K = torch.autograd.functional.jacobian(lambda t: forward(t, X)[0], theta).numpy()  # [n][outputs][P]
fisher, ntk = J @ J.T, np.einsum("ikp,jkp->ij", K, K)

# Saturated units: gradients with respect to the features themselves.
out, features = forward(theta.clone().requires_grad_(True), X)
grads = torch.autograd.grad(torch.nn.functional.cross_entropy(out, Y, reduction="sum"), features)


def pooled(counts):
    return [sum(counts) / sum(widths[1:3])] + [c / w for c, w in zip(counts, widths[1:3])]


def saturated(ratio, share):
    counts = []
    for h, g in zip(features, grads):
        h, g = h.detach().numpy(), g.numpy()
        r = np.abs(g) / np.maximum(np.abs(h).mean(0), 1e-12)
        counts.append(int(((r < ratio).mean(0) > share).sum()))
    return pooled(counts)


H = [h.detach().numpy().astype(np.float32).astype(np.float64) for h in features]


def duplicates(threshold):
    counts = []
    for h in H:
        u = h / np.maximum(np.linalg.norm(h, axis=0), 1e-12)
        c = np.triu(u.T @ u, 1)
        counts.append(int((c > threshold).any(1).sum()))
    return pooled(counts)


def inactive(frequency, threshold):
    return pooled([int(((np.abs(h) > threshold).mean(0) < frequency).sum()) for h in H])


def mean_of(f):
    v = [float(f(h)) for h in H]
    return [float(np.mean(v))] + v


def approximate_rank(h):
    s = np.linalg.svd(h, compute_uv=False) ** 2
    return np.argmax(np.cumsum(s) / s.sum() >= 0.99) + 1


def participation(h):
    c = np.cov(h.T)
    return np.trace(c) ** 2 / np.trace(c @ c)


def cka(a, b):
    a, b = a - a.mean(0), b - b.mean(0)
    return np.linalg.norm(b.T @ a) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))


other = [f32(n, w) for w in widths[1:3]]
cka_values = [float(cka(h, o.astype(np.float64))) for h, o in zip(H, other)]

low = (f32(6, 2).astype(np.float64) @ f32(2, 7).astype(np.float64)).astype(np.float32)
ranks = [np.linalg.matrix_rank(low), np.linalg.matrix_rank(weights[1]), np.linalg.matrix_rank(weights[2])]
most = [6, 5, 4]

print(json.dumps({
    "x": x.ravel().tolist(),
    "labels": labels.tolist(),
    "widths": widths,
    "params": [a.ravel().tolist() for pair in zip(weights, biases) for a in pair],
    "features": [h.ravel().tolist() for h in H],
    "hessian": hessian.ravel().tolist(),
    "max_eigenvalue": float(eigenvalues[-1]),
    "min_eigenvalue": float(eigenvalues[0]),
    "trace": float(np.trace(hessian)),
    "losses": losses(theta, X, Y).numpy().tolist(),
    "fisher_rank": rank99(fisher) / n,
    "ntk_rank": rank99(ntk) / n,
    "saturated": {"1e-4 0.9": saturated(1e-4, 0.9), "0.05 0.6": saturated(0.05, 0.6)},
    "duplicates": {"0.95": duplicates(0.95), "0.3": duplicates(0.3)},
    "inactive": {"0.01 0": inactive(0.01, 0), "0.5 0.2": inactive(0.5, 0.2)},
    "active": [float(sum((h != 0).sum() for h in H) / (n * sum(widths[1:3])))] + [float((h != 0).mean()) for h in H],
    "approximate_rank": mean_of(approximate_rank),
    "participation_ratio": mean_of(participation),
    "other": [o.ravel().tolist() for o in other],
    "cka": [float(np.mean(cka_values))] + cka_values,
    "low": low.ravel().tolist(),
    "weight_rank": [float(sum(ranks) / sum(most))] + [float(r / m) for r, m in zip(ranks, most)],
    "weight_l1": [float(sum(np.abs(w.astype(np.float64)).sum() for w in weights))] + [float(np.abs(w.astype(np.float64)).sum()) for w in weights],
    "weight_l2": [float(np.sqrt(sum((w.astype(np.float64) ** 2).sum() for w in weights)))] + [float(np.linalg.norm(w.astype(np.float64))) for w in weights],
}, separators=(",", ":")))
