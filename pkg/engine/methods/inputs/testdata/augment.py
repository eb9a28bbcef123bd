"""Golden values for augment: python3 augment.py > augment.json

Philox4x32-10 (Salmon et al. 2011) and the keys, the first 8 bytes of SHA-256 over seed
and purpose, are written anew here; images are moved by NumPy's flip, pad and slices.
"""
import hashlib
import json
import math
import struct

import numpy as np

M32 = 2**32 - 1


def philox(key, a, b):
    k0, k1 = key
    x = [a & M32, a >> 32, b & M32, b >> 32]
    for _ in range(10):
        p, q = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [(q >> 32) ^ x[1] ^ k0, q & M32, (p >> 32) ^ x[3] ^ k1, p & M32]
        k0, k1 = (k0 + 0x9E3779B9) & M32, (k1 + 0xBB67AE85) & M32
    return x


def key(purpose):
    return struct.unpack("<II", hashlib.sha256(struct.pack("<Q", 7) + purpose.encode()).digest()[:8])


def below_n(k, n, a, b):
    """A whole number below n; words are as good as never rejected."""
    return philox(k, a, b)[0] * n >> 32


def normal(k, n, a):
    """Box and Muller, in float64: two pairs of each block."""
    z = np.zeros(-(-n // 64) * 64)
    for block in range(len(z) // 4):
        w = philox(k, a, block)
        for pair in (0, 1):
            r = math.sqrt(-2 * math.log(((w[2 * pair] >> 1) + 0.5) / 2**31))
            low = w[2 * pair + 1] << 2 & M32
            quarter = (w[2 * pair + 1] >> 30) + (low - 2**32 if low >= 2**31 else low) / 2**32
            # The angle is quarter + y, y in [-1/2, 1/2), of the four quarters of a circle.
            at = block // 16 * 64 + block % 16 + 32 * pair
            z[at], z[at + 16] = r * math.cos(quarter * math.pi / 2), r * math.sin(quarter * math.pi / 2)
    return z[:n]


def augment(x, c, step, batch):
    """x is [channels][height][width]."""
    out = []
    for i, image in enumerate(x):
        f = philox(key("augment/flip"), step, i)
        if (f[0] >> 8) / 2**24 < c.get("flip_horizontal", 0):
            image = np.flip(image, 2)
        if (f[1] >> 8) / 2**24 < c.get("flip_vertical", 0):
            image = np.flip(image, 1)
        h, w = image.shape[1:]
        for how, mode in (("shift", {"mode": "edge"}), ("crop", {"constant_values": c.get("fill", 0)})):
            n = c.get(how, 0)
            if n:
                dy, dx = (below_n(key("augment/" + how), 2 * n + 1, step, 2 * i + k) for k in (0, 1))
                image = np.pad(image, ((0, 0), (n, n), (n, n)), **mode)[:, dy:dy + h, dx:dx + w]
        if c.get("noise", 0):
            image = image + c["noise"] * normal(key("augment/noise"), image.size, step * batch + i).reshape(image.shape)
        out.append(image)
    return np.array(out)


cases = []
for shape, c in [
    ((1, 4, 5), {"flip_horizontal": 0.5}),
    ((1, 4, 5), {"flip_vertical": 0.5}),
    ((1, 5, 4), {"shift": 2}),
    ((1, 5, 4), {"crop": 2, "fill": -1}),
    ((3, 3, 4), {"flip_horizontal": 0.7, "flip_vertical": 0.3, "shift": 1, "crop": 3, "fill": 0.5}),
    ((2, 3, 3), {"crop": 9}),
    ((3, 5, 5), {"flip_horizontal": 1, "crop": 1, "noise": 0.25}),
]:
    for step in (0, 12345678901):
        batch = 4
        x = np.arange(batch * np.prod(shape), dtype=float).reshape(batch, *shape)
        y = augment(x, c, step, batch)
        cases.append({"shape": shape, "parameters": c, "step": step, "batch": batch, "output": [round(float(v), 7) for v in y.ravel()]})
print(json.dumps(cases))
