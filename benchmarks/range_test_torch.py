"""The four problems of ``range_test.py`` in PyTorch: the same models, rate after rate and under torch.func.vmap.

Run by ``range_test.py`` in a process of its own: ``python range_test_torch.py PROBLEM eager|vmap LANES STEPS ROUNDS``
prints the seconds of each round as JSON.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from range_test_problems import BLOCKS, CLASSES, HEADS, LENGTH, PROBLEMS, VOCABULARY, WIDTH
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap


class Block(nn.Module):
    """Attention and a feed-forward layer, each after a norm."""

    def __init__(self) -> None:
        """Five dense parts."""
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """``[sequences, LENGTH, WIDTH]`` to the same."""
        parts = self.qkv(self.norm1(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*parts, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Transformer(nn.Module):
    """Tokens to the logits of the next ones."""

    def __init__(self) -> None:
        """Embeddings, blocks, head."""
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Parameter(torch.zeros(LENGTH, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, ``[sequences, LENGTH, VOCABULARY]``."""
        return self.head(self.blocks(self.embedding(tokens) + self.positions))


def cnn() -> nn.Module:
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)]
    return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), *layers, nn.Flatten(), nn.Linear(512, CLASSES))


def mlp(*sizes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for fan_in, out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


MODELS: dict[str, Callable[[], nn.Module]] = {
    "MLP 32": lambda: mlp(64, 32, 10),
    "MLP 256": lambda: mlp(64, 256, 256, 10),
    "CNN": cnn,
    "transformer": Transformer,
}


def batches_of(problem: str) -> list[tuple[Tensor, Tensor]]:
    """Inputs and targets of every step."""
    batches = PROBLEMS[problem]().batches
    if problem == "transformer":
        tokens = torch.from_numpy(batches).long()
        return [(step[:, :-1], step[:, 1:].reshape(-1)) for step in tokens]
    images, labels = (torch.from_numpy(part) for part in batches)
    return list(zip(images, labels.long(), strict=True))


def loss_of(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, -2), targets)


def eager(problem: str, rates: list[float], steps: int) -> float:
    """The seconds of training at every rate, one after the other."""
    batches = batches_of(problem)
    began = time.perf_counter()
    for rate in rates:
        model = MODELS[problem]().to(memory_format=torch.channels_last)  # the faster layout of convolutions
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4)
        losses = []
        for step in range(steps):
            inputs, targets = batches[step % len(batches)]
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(model(inputs), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        torch.stack(losses)
    return time.perf_counter() - began


def vmapped(problem: str, rates: list[float], steps: int) -> float:
    """The seconds of training at all rates together, with AdamW written out."""
    batches = batches_of(problem)
    began = time.perf_counter()
    models = [MODELS[problem]() for _ in rates]
    params, buffers = stack_module_state(models)
    params = {name: value.detach() for name, value in params.items()}
    skeleton = models[0].to("meta")
    first = {name: torch.zeros_like(value) for name, value in params.items()}
    second = {name: torch.zeros_like(value) for name, value in params.items()}
    rate = torch.tensor(rates)

    def loss_fn(params: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        return loss_of(functional_call(skeleton, (params, buffers), (inputs,)), targets)

    gradients_of = vmap(grad_and_value(loss_fn), in_dims=(0, 0, None, None))
    for step in range(steps):
        gradients, _ = gradients_of(params, buffers, *batches[step % len(batches)])
        for name, gradient in gradients.items():
            lanes = rate.view(-1, *[1] * (gradient.dim() - 1))
            first[name].mul_(0.9).add_(gradient, alpha=0.1)
            second[name].mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            scale = (second[name] / (1 - 0.999 ** (step + 1))).sqrt_().add_(1e-8)
            params[name].mul_(1 - 1e-4 * lanes).sub_(lanes / (1 - 0.9 ** (step + 1)) * first[name] / scale)
    return time.perf_counter() - began


def main() -> None:
    problem, kind, lanes, steps, rounds = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    torch.set_num_threads(int(sys.argv[6]))
    rates = np.geomspace(1e-4, 1e-2, lanes).tolist()
    run = eager if kind == "eager" else vmapped
    run(problem, rates[:1], 3)
    print(json.dumps([run(problem, rates, steps) for _ in range(rounds)]))


if __name__ == "__main__":
    main()
