"""Golden values for the probes, made with numpy only: python3 golden.py > golden.json

Every metric is written out from its definition, in float64, on features of
float32 as the engine has them.
"""
import json

import numpy as np

rng = np.random.default_rng(20240817)


def features(n, units, dead, faint, rank):
    h = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, units)) + 0.1 * rng.normal(size=(n, units))
    h = np.maximum(h, 0)
    h[:, :dead] = 0
    h[:, dead : dead + faint] *= np.logspace(-3, -1.3, faint)
    return h[:, rng.permutation(units)].astype(np.float32)


def scores(h):
    m = np.abs(h.astype(np.float64)).mean(axis=0)
    return m / (m.mean() + 1e-9)


def dormant(layers, tau):
    idle = [(scores(h) <= tau).sum() for h in layers]
    return [sum(idle) / sum(h.shape[1] for h in layers)] + [i / h.shape[1] for i, h in zip(idle, layers)]


def dead(layers):
    idle = [(np.abs(h).sum(axis=0) == 0).sum() for h in layers]
    return [sum(idle) / sum(h.shape[1] for h in layers)] + [i / h.shape[1] for i, h in zip(idle, layers)]



def effective_rank(s):
    p = s / s.sum()
    p = p[p > 0]
    return np.exp(-(p * np.log(p)).sum())


def stable_rank(s):
    return (s**2).sum() / s[0] ** 2


def srank99(s):
    return np.argmax(np.cumsum(s) / s.sum() >= 0.99) + 1


cases = []
for shapes in [[(40, 12, 2, 3, 4), (40, 7, 0, 2, 2)], [(9, 20, 5, 0, 20)], [(64, 16, 0, 4, 16), (64, 16, 16, 0, 1), (64, 5, 1, 1, 3)]]:
    layers = [features(*s) for s in shapes]
    want = {
        "dormant_units": dormant(layers, 0.025),
        "dormant_units tau 0": dormant(layers, 0.0),
        "dormant_units tau 0.1": dormant(layers, 0.1),
        "dead_units": dead(layers),
    }
    for name, f in [("effective_rank", effective_rank), ("stable_rank", stable_rank), ("srank99", srank99)]:
        # A layer of zeros has rank 0 by the probes' convention.
        v = [float(f(np.linalg.svd(h.astype(np.float64), compute_uv=False))) if h.any() else 0.0 for h in layers]
        want[name] = [float(np.mean(v))] + v
    cases.append({"samples": shapes[0][0], "features": [h.ravel().tolist() for h in layers], "units": [h.shape[1] for h in layers], "want": {k: [float(x) for x in v] for k, v in want.items()}})

weights = [rng.normal(size=s).astype(np.float32) for s in [(6, 5), (5, 4), (4, 3)]]
magnitude = [float(np.abs(np.concatenate([w.ravel() for w in weights]).astype(np.float64)).mean())] + [float(np.abs(w.astype(np.float64)).mean()) for w in weights]
print(json.dumps({"cases": cases, "weights": [w.ravel().tolist() for w in weights], "weight_magnitude": magnitude}, indent=None, separators=(",", ":")))
