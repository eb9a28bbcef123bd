#!/usr/bin/env python3
"""Makes the safetensors files beside it: networks in PyTorch and what they do.

Run it with PyTorch and NumPy at hand (Debian: python3-torch python3-numpy):

    python3 make_goldens.py

Every file holds the state dict of one module under PyTorch's names, and

    golden.x         inputs, as PyTorch takes them (images are [n][c][h][w])
    golden.output    what the module makes of them in evaluation mode
    golden.training  the same in training mode; what batch normalisation then
                     collects is in golden.running_mean and _var of "<name>"
    golden.grad.<p>  the gradient of sum(output * golden.weight) in evaluation
                     mode with respect to the parameter <p>

Weights come from a linear congruential generator, so that the files do not
depend on PyTorch's random numbers.
"""

import json
import os
import struct

import numpy as np
import torch
from torch import nn

state = 1


def draw(*shape):
    """Multiples of 1/64 between -1 and 1."""
    global state
    n = int(np.prod(shape))
    out = np.empty(n, np.float32)
    for i in range(n):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out[i] = ((state >> 40) % 129 - 64.0) / 64.0
    return torch.from_numpy(out.reshape(shape))


def save(name, tensors):
    header, data = {}, b""
    for key in sorted(tensors):
        a = np.ascontiguousarray(tensors[key].detach().numpy())
        kind = {"float32": "F32", "float64": "F64", "int64": "I64"}[str(a.dtype)]
        if kind != "F32":
            continue
        raw = a.tobytes()
        header[key] = {"dtype": kind, "shape": list(a.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def golden(name, module, x):
    with torch.no_grad():
        for key, p in module.state_dict().items():
            if p.dtype == torch.float32:
                v = draw(*p.shape) * 0.5
                p.copy_(v.abs() + 0.5 if key.endswith("running_var") else v)
    tensors = {k: v.clone() for k, v in module.state_dict().items()}
    first = lambda y: y[0] if isinstance(y, tuple) else y
    module.eval()
    y = first(module(x))
    weight = draw(*y.shape)
    (y * weight).sum().backward()
    tensors.update({"golden.x": x, "golden.output": y, "golden.weight": weight})
    for k, p in module.named_parameters():
        tensors["golden.grad." + k] = p.grad.clone()
    module.train()
    tensors["golden.training"] = first(module(x))
    for k, v in module.state_dict().items():
        if "running" in k:
            tensors["golden." + k] = v.clone()
    save(name, tensors)


class Recurrent(nn.Module):
    def __init__(self, kind, layers=1):
        super().__init__()
        self.recurrent = kind(3, 5, num_layers=layers, batch_first=True)
        self.output = nn.Linear(5, 2)

    def forward(self, x):
        return self.output(self.recurrent(x)[0][:, -1])


class Block(nn.Module):
    """A basic block, with a way around where the size changes."""

    def __init__(self, a, b, stride):
        super().__init__()
        self.conv1 = nn.Sequential()
        self.conv1 = nn.Conv2d(a, b, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(b)
        self.conv2 = nn.Conv2d(b, b, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(b)
        if a != b:
            self.shortcut = nn.Conv2d(a, b, 1, stride, bias=False)
            self.norms = nn.BatchNorm2d(b)

    def forward(self, x):
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(y + (self.norms(self.shortcut(x)) if hasattr(self, "shortcut") else x))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.a = Block(4, 4, 1)
        self.b = Block(4, 8, 2)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        x = self.b(self.a(torch.relu(self.norm(self.stem(x)))))
        return self.fc(x.mean((2, 3)))


class Transformer(nn.Module):
    """nn.TransformerEncoderLayer's parts by other names."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(3, 8)
        self.position = nn.Embedding(5, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(8)
        self.output = nn.Linear(8, 2)

    def forward(self, x):
        x = self.embed(x) + self.position.weight
        a = self.layer
        h = a.norm1(x)
        x = x + a.self_attn(h, h, h, need_weights=False)[0]
        x = x + a.linear2(torch.nn.functional.gelu(a.linear1(a.norm2(x))))
        return self.output(self.norm(x).mean(1))


golden("mlp", nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)), draw(7, 4))
golden("mlp-layer-norm", nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 3)), draw(7, 4))
golden("mlp-batch-norm", nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)), draw(7, 4))
golden("cnn", nn.Sequential(
    nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(3, 4, 3, stride=1, padding=1), nn.ReLU(),
    nn.Flatten(), nn.Linear(4 * 3 * 4, 6), nn.ReLU(), nn.Linear(6, 3)), draw(2, 2, 8, 10))
golden("cnn-batch-norm", nn.Sequential(
    nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.AvgPool2d(2),
    nn.Flatten(), nn.Linear(4 * 3 * 3, 3)), draw(3, 1, 8, 8))
golden("cnn-group-norm", nn.Sequential(
    nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(),
    nn.Flatten(), nn.Linear(4 * 3 * 3, 3)), draw(3, 1, 5, 5))
golden("resnet", ResNet(), draw(3, 1, 6, 6))
golden("rnn", Recurrent(nn.RNN), draw(4, 6, 3))
golden("lstm", Recurrent(nn.LSTM, 2), draw(4, 6, 3))
golden("gru", Recurrent(nn.GRU), draw(4, 6, 3))
golden("transformer", Transformer(), draw(4, 5, 3))
