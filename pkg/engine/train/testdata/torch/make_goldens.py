#!/usr/bin/env python3
"""Makes goldens.safetensors: what PyTorch does with the MLP 20-16-8-5.

Run it with PyTorch and NumPy at hand (Debian: python3-torch python3-numpy):

    python3 make_goldens.py

Initial weights and batches come from a linear congruential generator, so that
the file does not depend on PyTorch's random numbers. It holds

    batches/x        U8  [1600][20]  examples; the input is (x - 128) / 64
    batches/labels   U8  [1600]      classes 0..4
    batches/targets  U8  [1600][5]   regression targets, likewise (t - 128) / 64
    initial          F32 [517]       initial parameters, in the order
                                     w1 [16][20], b1, w2 [8][16], b2, w3 [5][8], b3
    <case>/losses    F32 [200]       loss of each step, before its update
    <case>/final     F32 [517]       parameters after 200 steps

Step k takes examples k*n .. k*n+n-1 for batches of n = 1 or 8. A case is named
activation-loss-batch-optimizer; the metadata says what it was made with.
"""

import json
import os
import struct

import numpy as np
import torch

# SEED is one for which every run is well-conditioned (see below).
SEED = 1
STEPS, IN, HIDDEN, OUT = 200, 20, (16, 8), 5
LARGEST = 8 * STEPS

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "sgd-wd": lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.01),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.002),
    "adam-wd": lambda p: torch.optim.Adam(p, lr=0.002, weight_decay=0.01),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.002, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.001),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.002, betas=(0.8, 0.99), weight_decay=0.05),
}
ACTIVATIONS = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "leaky-relu": lambda x: torch.nn.functional.leaky_relu(x, 0.01),
    "sigmoid": torch.sigmoid,
}


class Lcg:
    """x <- 1664525 x + 1013904223 mod 2^32; the top bits are used."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (1664525 * self.state + 1013904223) % 2**32
        return (self.state >> 8) * n >> 24

    def bytes(self, *shape):
        flat = [self.below(256) for _ in range(int(np.prod(shape)))]
        return np.array(flat, dtype=np.uint8).reshape(shape)


def make_data():
    draw = Lcg(SEED)
    x = draw.bytes(LARGEST, IN)
    x[draw.bytes(LARGEST, IN) < 100] = 128  # exact zeros, which pixels often are
    # Labels and targets depend on x, so that there is something to learn.
    z = (x.astype(np.int64) - 128) @ (draw.bytes(IN, OUT).astype(np.int64) - 128)
    labels = z.argmax(axis=1).astype(np.uint8)
    targets = np.clip(z // 160 + 128, 0, 255).astype(np.uint8)
    initial = []
    fan_in = IN
    for width in (*HIDDEN, OUT):
        for n in (width * fan_in, width):
            r = (draw.bytes(n).astype(np.float32) - 127.5) / 127.5
            initial.append(r / np.float32(np.sqrt(fan_in)))
        fan_in = width
    return x, labels, targets, np.concatenate(initial).astype(np.float32)


def scaled(b, dtype):
    return torch.from_numpy((b.astype(dtype) - 128) / 64)


def run(x, labels, targets, initial, activation, loss, n, optimizer, dtype=np.float32):
    params, at, fan_in = [], 0, IN
    for width in (*HIDDEN, OUT):
        for shape in ((width, fan_in), (width,)):
            size = int(np.prod(shape))
            p = torch.from_numpy(initial[at : at + size].astype(dtype)).reshape(shape)
            params.append(p.requires_grad_())
            at += size
        fan_in = width
    opt = OPTIMIZERS[optimizer](params)
    losses = np.zeros(STEPS, dtype=dtype)
    for step in range(STEPS):
        rows = slice(step * n, (step + 1) * n)
        h = scaled(x[rows], dtype)
        for i in range(3):
            h = torch.nn.functional.linear(h, params[2 * i], params[2 * i + 1])
            if i < 2:
                h = ACTIVATIONS[activation](h)
        if loss == "cross-entropy":
            value = torch.nn.functional.cross_entropy(h, torch.from_numpy(labels[rows].astype(np.int64)))
        else:
            value = torch.nn.functional.mse_loss(h, scaled(targets[rows], dtype))
        opt.zero_grad()
        value.backward()
        opt.step()
        losses[step] = value.item()
    final = np.concatenate([p.detach().numpy().reshape(-1) for p in params])
    return losses, final


def well_conditioned(single, double):
    """Whether a run in float64 stays where float32 goes.

    A pre-activation within rounding of a kink sends the two apart, and says
    nothing about who is right: such data is of no use for a comparison.
    """
    return max(np.abs(a - b).max() for a, b in zip(single, double)) < 1e-5


def write_safetensors(path, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name in sorted(tensors):
        raw = tensors[name].tobytes()
        dtype = {"uint8": "U8", "float32": "F32"}[tensors[name].dtype.name]
        header[name] = {
            "dtype": dtype,
            "shape": list(tensors[name].shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def main():
    torch.set_num_threads(1)
    x, labels, targets, initial = make_data()
    tensors = {"batches/x": x, "batches/labels": labels, "batches/targets": targets, "initial": initial}
    for activation in ACTIVATIONS:
        for optimizer in OPTIMIZERS:
            if activation != "relu" and optimizer not in ("sgd", "adam"):
                continue
            for loss in ("cross-entropy", "mse"):
                for n in (1, 8):
                    name = f"{activation}_{loss}_{n}_{optimizer}"
                    case = (x, labels, targets, initial, activation, loss, n, optimizer)
                    losses, final = run(*case)
                    if not well_conditioned((losses, final), run(*case, dtype=np.float64)):
                        raise SystemExit(f"{name} hits a kink: take another SEED")
                    tensors[name + "/losses"], tensors[name + "/final"] = losses, final
                    print(f"{name:40} loss {losses[:20].mean():.4f} -> {losses[-20:].mean():.4f}")
    here = os.path.dirname(os.path.abspath(__file__))
    path = os.path.join(here, "goldens.safetensors")
    write_safetensors(path, tensors, {"torch": torch.__version__, "numpy": np.__version__})
    print(os.path.getsize(path), "bytes")


if __name__ == "__main__":
    main()
