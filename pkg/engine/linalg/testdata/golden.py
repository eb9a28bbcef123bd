"""Golden values for linalg: python3 golden.py > golden.json

Singular values and eigenvalues come from NumPy (LAPACK), ridge regression from
least squares on the augmented system, elementary functions from the decimal
module with 40 digits. Inputs are float32 where the functions take float32.
"""
import json
from decimal import Decimal, getcontext

import numpy as np

getcontext().prec = 40
rng = np.random.default_rng(20261123)


def orient(rows, *others):
    for k, r in enumerate(rows):
        if r[np.argmax(np.abs(r))] < 0:
            r *= -1
            for o in others:
                o[k] *= -1


def flat(a):
    return [float(x) for x in np.ravel(a)]


svd = []
for rows, cols, rank in [(1, 1, 1), (7, 3, 3), (3, 7, 3), (30, 10, 10), (10, 30, 10), (12, 12, 12), (25, 8, 8), (9, 8, 8)]:
    a = (rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, cols))).astype(np.float32)
    u, s, vt = np.linalg.svd(a.astype(np.float64), full_matrices=False)
    u = u.T.copy()
    orient(u, vt)
    svd.append({"rows": rows, "cols": cols, "a": flat(a), "u": flat(u), "sigma": flat(s), "v": flat(vt)})

features = []
for rows, cols, rank, dead in [(50, 20, 5, 3), (20, 50, 9, 10), (64, 16, 16, 0), (40, 39, 2, 0)]:
    a = np.maximum(rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, cols)), 0)
    a[:, :dead] = 0
    a = a[:, rng.permutation(cols)].astype(np.float32)
    features.append({"rows": rows, "cols": cols, "a": flat(a), "sigma": flat(np.linalg.svd(a.astype(np.float64), compute_uv=False))})

eigen = []
for n in [1, 2, 3, 8, 25]:
    a = rng.normal(size=(n, n))
    a = a + a.T
    w, v = np.linalg.eigh(a)
    w, v = w[::-1], v[:, ::-1].T.copy()
    orient(v)
    eigen.append({"n": n, "a": flat(a), "lambda": flat(w), "v": flat(v)})

cholesky = []
for n in [1, 2, 6, 20]:
    x = rng.normal(size=(n, n + 3))
    a, b = x @ x.T, rng.normal(size=n)
    cholesky.append({"n": n, "a": flat(a), "b": flat(b), "x": flat(np.linalg.solve(a, b)), "logdet": float(np.linalg.slogdet(a)[1])})

ridge = []
for n, inputs, outputs, lam, bias in [(30, 4, 2, 0.1, True), (30, 4, 3, 2.0, False), (6, 15, 2, 0.5, True), (6, 15, 2, 0.01, False), (8, 8, 1, 1.0, True)]:
    x = (rng.normal(size=(n, inputs)) + 1).astype(np.float32)
    y = rng.normal(size=(n, outputs)) - 2
    x64 = x.astype(np.float64)
    # The bias is one more input, of which the penalty's rows know nothing.
    a = np.hstack([x64, np.ones((n, 1))]) if bias else x64
    p = np.sqrt(lam) * np.eye(inputs, a.shape[1])
    w = np.linalg.lstsq(np.vstack([a, p]), np.vstack([y, np.zeros((inputs, outputs))]), rcond=None)[0]
    b = w[inputs] if bias else np.zeros(outputs)
    ridge.append({"n": n, "inputs": inputs, "outputs": outputs, "lambda": lam, "bias": bias, "x": flat(x), "y": flat(y), "w": flat(w[:inputs]), "b": flat(b)})

quantile = []
for n in [1, 2, 5, 10]:
    x = np.sort(rng.normal(size=n))
    q = [0, 0.05, 0.25, 0.5, 0.75, 0.9, 1]
    quantile.append({"x": flat(x), "q": q, "want": flat(np.quantile(x, q))})

points = [0.001, 0.3, 0.5, 0.99, 1.5, 2, 10, 1e-300, 1e300] + flat(np.exp(rng.uniform(-300, 300, 20))) + flat(rng.uniform(0.5, 2, 20))
log = [{"x": x, "want": float(Decimal(x).ln())} for x in points]
exp = [{"x": x, "want": float(Decimal(x).exp())} for x in [0.001, -0.001, 1, -1, 700, -700] + flat(rng.uniform(-700, 700, 20)) + flat(rng.uniform(-1, 1, 20))]
power = [{"x": x, "y": y, "want": float(Decimal(x) ** Decimal(y))} for x, y in [(0.9, 10), (0.999, 1e6), (2, 0.5), (10, -3), (1.0000001, 1e7)] + [(float(a), float(b)) for a, b in zip(rng.uniform(0, 10, 10), rng.uniform(-20, 20, 10))]]

print(json.dumps({"svd": svd, "features": features, "eigen": eigen, "cholesky": cholesky, "ridge": ridge, "quantile": quantile, "log": log, "exp": exp, "pow": power}, separators=(",", ":")))
