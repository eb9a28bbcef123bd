#!/usr/bin/env python3
"""Makes goldens.json: what PyTorch computes for operations of the graph.

Run it with PyTorch at hand (Debian: python3-torch):

    python3 make_goldens.py

Inputs are multiples of 1/16 from a linear congruential generator, so that they
are exact in float32 and do not depend on PyTorch's random numbers; PyTorch
computes in float64. Arrays are in the layout of the graph: images [n][h][w][c],
weights [in][out], those of a convolution [kh*kw*c/groups][out]. A case holds

    in       the operands, each {shape, data}
    weights  of the sum of the value that is differentiated, in y's layout
    labels   indices, where there are any
    y        the value
    grads    the gradient of sum(weights * y) with respect to each operand
    more     further results by name
"""

import json
import os

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


class Lcg:
    """x <- 1664525 x + 1013904223 mod 2^32; the top bits are used."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (1664525 * self.state + 1013904223) % 2**32
        return (self.state >> 8) * n >> 24


lcg = Lcg(1)


def draw(*shape, lo=-16, hi=16):
    n = 1
    for d in shape:
        n *= d
    x = torch.tensor([(lo + lcg.below(hi - lo + 1)) / 16 for _ in range(n)])
    return x.reshape(shape)


def array(x):
    return {"shape": list(x.shape), "data": x.detach().reshape(-1).tolist()}


cases = {}


def case(name, f, *operands, labels=None, more=None):
    """f maps operands in the graph's layout to a value in that layout."""
    xs = [x.clone().requires_grad_() for x in operands]
    y = f(*xs)
    weights = draw(*y.shape)
    grads = torch.autograd.grad((y * weights).sum(), xs, allow_unused=True)
    grads = [torch.zeros_like(x) if g is None else g for x, g in zip(xs, grads)]
    c = {"in": [array(x) for x in xs], "weights": array(weights), "y": array(y), "grads": [array(g) for g in grads]}
    if labels is not None:
        c["labels"] = labels
    if more is not None:
        c["more"] = {k: array(v) for k, v in more().items()}
    assert name not in cases
    cases[name] = c


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


def conv(kh, kw, stride, padding, groups):
    def f(x, w):
        c = x.shape[3]
        w = w.reshape(kh, kw, c // groups, -1).permute(3, 2, 0, 1)
        return nhwc(F.conv2d(nchw(x), w, stride=stride, padding=padding, groups=groups))

    return f


case("conv", conv(3, 3, 1, 0, 1), draw(2, 6, 5, 3), draw(27, 4))
case("conv-rectangular", conv(2, 3, 1, 0, 1), draw(2, 5, 4, 2), draw(12, 3))
case("conv-stride", conv(3, 3, 2, 0, 1), draw(2, 7, 6, 2), draw(18, 3))
case("conv-padding", conv(3, 3, 1, 1, 1), draw(1, 4, 5, 2), draw(18, 3))
case("conv-stride-padding", conv(3, 3, 2, 1, 1), draw(2, 6, 5, 3), draw(27, 2))
case("conv-groups", conv(3, 3, 1, 1, 2), draw(2, 4, 4, 4), draw(18, 6))
case("conv-depthwise", conv(3, 3, 1, 1, 3), draw(2, 4, 5, 3), draw(9, 3))
case("conv-depthwise-multiplier", conv(3, 3, 2, 1, 3), draw(2, 5, 5, 3), draw(9, 6))

# Few different values: pools meet equal maxima.
case("max-pool", lambda x: nhwc(F.max_pool2d(nchw(x), 2)), draw(2, 6, 5, 3, lo=-2, hi=2))
case("max-pool-overlapping", lambda x: nhwc(F.max_pool2d(nchw(x), 3, 2, 1)), draw(2, 6, 5, 3, lo=-2, hi=2))
case("average-pool", lambda x: nhwc(F.avg_pool2d(nchw(x), 2)), draw(2, 6, 5, 3))
case("average-pool-padding", lambda x: nhwc(F.avg_pool2d(nchw(x), 3, 2, 1)), draw(2, 6, 5, 3))
case("global-average-pool", lambda x: F.adaptive_avg_pool2d(nchw(x), 1).flatten(1), draw(2, 6, 5, 3))

mean, variance = draw(3), draw(3, lo=1)
more_mean, more_variance = mean.clone(), variance.clone()


def batch_norm(x, g, b):
    return nhwc(F.batch_norm(nchw(x), more_mean, more_variance, g, b, True, 0.25, 1e-5))


case("batch-norm", batch_norm, draw(2, 3, 4, 3), draw(3), draw(3),
     more=lambda: {"mean": mean, "variance": variance, "new-mean": more_mean, "new-variance": more_variance})
case("batch-norm-evaluation", lambda x, g, b, m, v: nhwc(F.batch_norm(nchw(x), m.detach(), v.detach(), g, b, False, 0, 1e-5)),
     draw(2, 3, 4, 3), draw(3), draw(3), mean, variance)
case("layer-norm", lambda x, g, b: F.layer_norm(x, (7,), g, b, 1e-5), draw(2, 3, 7), draw(7), draw(7))
case("group-norm", lambda x, g, b: nhwc(F.group_norm(nchw(x), 2, g, b, 1e-5)), draw(2, 3, 4, 6), draw(6), draw(6))

labels = [3, 0, 3, 1, 4, 3]
case("embedding", lambda w: F.embedding(torch.tensor(labels).reshape(2, 3), w), draw(5, 4), labels=labels)

case("mse", lambda x, t: F.mse_loss(x, t, reduction="none").mean(1), draw(4, 5), draw(4, 5))
case("huber", lambda x, t: F.huber_loss(x, t, reduction="none", delta=0.75).mean(1), draw(4, 5), draw(4, 5))
case("binary-cross-entropy", lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction="none").mean(1),
     draw(4, 5, lo=-64, hi=64), draw(4, 5, lo=0, hi=16))
case("cosine", lambda x, z: F.cosine_similarity(x, z, dim=1, eps=1e-8), draw(4, 5), draw(4, 5))
case("log-softmax", lambda x: F.log_softmax(x, dim=-1), draw(4, 5, lo=-64, hi=64))
case("kl", lambda p, q: F.kl_div(F.log_softmax(q, 1), F.log_softmax(p, 1), reduction="none", log_target=True).sum(1), draw(4, 5), draw(4, 5))
case("cross-entropy", lambda x: F.cross_entropy(x, torch.tensor(labels[:4]), reduction="none"), draw(4, 5), labels=labels[:4])
case("softplus", F.softplus, draw(3, 5, lo=-64, hi=64))

case("batch-matmul", torch.matmul, draw(2, 3, 4, 5), draw(2, 3, 5, 2))


def attention(causal):
    def f(q, k, v):
        s = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        if causal:
            s = s.masked_fill(torch.ones(s.shape[-2:]).triu(1).bool(), float("-inf"))
        return F.softmax(s, dim=-1) @ v

    return f


case("attention", attention(False), draw(2, 2, 3, 4), draw(2, 2, 5, 4), draw(2, 2, 5, 3))
case("attention-causal", attention(True), draw(2, 4, 4), draw(2, 4, 4), draw(2, 4, 2))


def cell(kind):
    """x, h and for the LSTM c; weights [in][gates*hidden] and biases."""

    def f(x, *rest):
        *state, w, u, bw, bu = rest
        if kind == "lstm":
            return torch.cat(torch._VF.lstm_cell(x, tuple(state), w.t(), u.t(), bw, bu), 1)
        return torch._VF.gru_cell(x, state[0], w.t(), u.t(), bw, bu)

    return f


case("lstm-cell", cell("lstm"), draw(3, 4), draw(3, 2), draw(3, 2), draw(4, 8), draw(2, 8), draw(8), draw(8))
case("gru-cell", cell("gru"), draw(3, 4), draw(3, 2), draw(4, 6), draw(2, 6), draw(6), draw(6))


def sequence(xs, h, c, w, u, bw, bu):
    out, hn, cn = torch._VF.lstm(xs, (h[None], c[None]), [w.t(), u.t(), bw, bu], True, 1, 0.0, False, False, False)
    return torch.cat([out.reshape(-1), cn.reshape(-1)])


case("lstm-sequence", sequence, draw(5, 3, 4), draw(3, 2), draw(3, 2), draw(4, 8), draw(2, 8), draw(8), draw(8))

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "goldens.json"), "w") as out:
    out.write("{\n")
    for i, (name, c) in enumerate(cases.items()):
        out.write(json.dumps(name) + ": " + json.dumps(c, separators=(",", ":")) + ("\n" if i == len(cases) - 1 else ",\n"))
    out.write("}\n")
