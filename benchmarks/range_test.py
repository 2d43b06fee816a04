"""How fast is a range test, under every plan, and beside PyTorch?

    python benchmarks/range_test.py [--smoke] [--parts plans torch lanes matmul accelerator] [--output output/]

64 learning rates x 100 steps of AdamW on four problems, batch 64, float32. Prints markdown tables:

- plans: milliseconds of a lane's step under every plan of a grid, and under the one that ``plan="auto"`` takes;
- torch: the whole test against eager PyTorch, which trains the rates one after the other, and ``torch.func.vmap``; cold
  (imports done, compilation included) and warm;
- matmul: the share of the machine's matrix-product rate that the transformer reaches, and where the rest goes;
- lanes: the cost of a lane's step as lanes go from 1 to 4,096, with a picture;
- accelerator: 256 lanes against 256 jitted runs one after the other, where there is an accelerator.

Contenders run in turn, each in a process of its own, so that none finds the threads or memory of another; figures are
medians over the rounds. A plan three times slower than one before it is measured on few steps of one group of lanes
(marked ~).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from range_test_problems import PROBLEMS

HERE = Path(__file__).parent
TARGETS = {"MLP 32": (38, 4), "MLP 256": (3.2, 2.5), "CNN": (2.5, 2.5), "transformer": (1.0, 0.9)}
PARTS = ("plans", "torch", "matmul", "lanes", "accelerator")
GRID = (1, 4, 16, 64)
CALLS = ((1, 0), (10, 0), (10, 1), (50, 0))
LANES = (1, 4, 16, 64, 256, 1024, 4096)


class Size(NamedTuple):
    """How much is measured."""

    lanes: int
    steps: int
    rounds: dict[str, int]
    torch_lanes: dict[str, int]
    """Rates that eager PyTorch trains; its time is in proportion to them."""
    grid_steps: dict[str, int]
    """Steps under each plan of the grid."""


FULL = Size(
    lanes=64,
    steps=100,
    rounds={"MLP 32": 5, "MLP 256": 3, "CNN": 2, "transformer": 1},
    torch_lanes={"MLP 32": 64, "MLP 256": 64, "CNN": 32, "transformer": 6},
    grid_steps={"MLP 32": 100, "MLP 256": 100, "CNN": 50, "transformer": 10},
)
SMOKE = Size(4, 6, *(dict.fromkeys(PROBLEMS, number) for number in (1, 2, 6)))


def threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker(job: str, **arguments: Any) -> Any:
    """What a job prints, run in a new process."""
    command = [sys.executable, str(HERE / "range_test.py"), "--job", json.dumps({"job": job, **arguments})]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{job} {arguments} failed:\n{ran.stderr}")
    return json.loads(ran.stdout.splitlines()[-1])


def torch_worker(problem: str, kind: str, lanes: int, steps: int, rounds: int) -> float:
    """The median seconds of a round of PyTorch."""
    numbers = map(str, (lanes, steps, rounds, threads()))
    command = [sys.executable, str(HERE / "range_test_torch.py"), problem, kind, *numbers]
    return float(np.median(json.loads(subprocess.check_output(command, text=True).splitlines()[-1])))


# Jobs: what runs in a process of its own.


def range_test_of(problem: str, lanes: int, steps: int, **options: Any) -> Any:
    """One range test on a problem, as a user calls it."""
    import optax

    from lrjax.finder import range_test

    loss_fn, params, batches = KEPT.setdefault(problem, PROBLEMS[problem]())
    rates = np.geomspace(1e-4, 1e-2, lanes)
    return range_test(loss_fn, params, batches, optax.adamw, rates, steps=steps, keep="all", **options)


KEPT: dict[str, Any] = {}


def timed(problem: str, lanes: int, steps: int, **options: Any) -> tuple[float, str]:
    began = time.perf_counter()
    result = range_test_of(problem, lanes, steps, **options)
    return time.perf_counter() - began, str(result.plan)


def job_auto(problem: str, lanes: int, steps: int, rounds: int) -> dict[str, Any]:
    """Seconds of the first call and the median of later ones, under the plan that is chosen."""
    import lrjax.finder  # noqa: F401 (imports are done before the clock starts)

    KEPT[problem] = PROBLEMS[problem]()
    cold, plan = timed(problem, lanes, steps)
    warm = [timed(problem, lanes, steps)[0] for _ in range(rounds)]
    return {"cold": cold, "warm": float(np.median(warm)), "plan": plan}


def job_plans(problem: str, lanes: int, steps: int, rounds: int, devices: int, grid: list[int]) -> list[Any]:
    """``[k, S, unrolled, seconds, whether estimated]`` of every plan of the grid, and of auto (k = 0), in turn."""
    from lrjax.finder import Plan

    plans: dict[tuple[int, int, int], Any] = {(0, 0, 0): "auto"}
    plans |= {(k, s, unroll): Plan(k, s, unroll=bool(unroll), devices=devices) for k in grid for s, unroll in CALLS}
    seconds: dict[tuple[int, int, int], list[float]] = {}
    slow: dict[tuple[int, int, int], float] = {}
    fastest = np.inf
    for key, plan in plans.items():
        few = lanes if plan == "auto" else min(lanes, max(plan.lanes, devices))
        guess = projected(problem, few, key[1] if key[2] else 2, plan) * lanes * steps
        fastest = min(fastest, guess)
        if guess > 3 * fastest + 0.1:
            slow[key] = guess
    for _ in range(rounds):
        for key, plan in plans.items():
            if key not in slow:
                if key not in seconds:
                    timed(problem, lanes, steps, plan=plan)
                seconds.setdefault(key, []).append(timed(problem, lanes, steps, plan=plan)[0])
    rows = [[*key, slow.get(key, float(np.median(seconds.get(key, [0])))), key in slow] for key in plans]
    return [rows, timed(problem, lanes, steps)[1]]


def projected(problem: str, lanes: int, steps: int, plan: Any) -> float:
    """The seconds of a lane's step, from the difference of two short runs."""
    timed(problem, lanes, steps, plan=plan)
    once = timed(problem, lanes, steps, plan=plan)[0]
    if once < 0.1:
        steps *= 10
        once = timed(problem, lanes, steps, plan=plan)[0]
    return max(timed(problem, lanes, 3 * steps, plan=plan)[0] - once, 1e-9) / (2 * lanes * steps)


def job_lanes(problem: str, steps: int, rounds: int, counts: list[int]) -> list[float]:
    """Milliseconds of a lane's step for every count of lanes, in turn."""
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    for round_ in range(rounds + 1):
        for count in counts:
            taken, _ = timed(problem, count, steps)
            if round_:
                seconds[count].append(taken / (count * steps) * 1e3)
    return [float(np.median(seconds[count])) for count in counts]


def job_matmul(rounds: int) -> dict[str, float]:
    """The machine's rate; the operations of the transformer's products, and the seconds that they take alone."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    def rate(m: int) -> float:
        a = jnp.ones((m, m))
        product = jax.jit(lambda a: a @ a)
        return 2 * m**3 / seconds_of(lambda: product(a), 2**32 // (2 * m**3))

    def alone(equation: Any) -> float:
        """One product on every device at the same time, as lanes are run."""
        numbers = equation.params["dimension_numbers"]
        mesh = Mesh(np.array(jax.devices()), ("lanes",))
        place = NamedSharding(mesh, PartitionSpec("lanes"))
        shapes = [(len(jax.devices()), *operand.aval.shape) for operand in equation.invars]
        operands = [jax.device_put(np.ones(shape, np.float32), place) for shape in shapes]
        each = PartitionSpec("lanes")
        run = jax.shard_map(
            lambda x, y: jax.lax.dot_general(x[0], y[0], numbers)[None],
            mesh=mesh,
            in_specs=(each, each),
            out_specs=each,
        )
        compiled = jax.jit(run).lower(*operands).compile()
        return seconds_of(lambda: compiled(*operands), 30) / len(jax.devices())

    best = max(rate(m) for _ in range(rounds) for m in (512, 1024, 2048))
    loss_fn, params, batches = PROBLEMS["transformer"]()
    products = list(products_of(jax.make_jaxpr(jax.value_and_grad(loss_fn))(params, batches[0]).jaxpr))
    return {
        "machine": best,
        "operations": float(sum(operations for operations, _ in products)),
        "alone": sum(alone(equation) for _, equation in products),
    }


def seconds_of(call: Any, times: int) -> float:
    """The best of three means over some calls."""
    import jax

    jax.block_until_ready(call())
    means = []
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(max(1, times)):
            result = call()
        jax.block_until_ready(result)
        means.append((time.perf_counter() - began) / max(1, times))
    return min(means)


def products_of(jaxpr: Any) -> Any:
    """Every matrix product, with its multiplications and additions."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            yield 2 * int(np.prod(equation.outvars[0].aval.shape) * np.prod([shape[i] for i in contracted])), equation
        for inner in equation.params.values():
            if hasattr(inner, "jaxpr"):
                yield from products_of(inner.jaxpr)


def job_accelerator(lanes: int, steps: int, rounds: int) -> Any:
    """256 lanes of every problem against as many jitted runs one after the other; None on a CPU."""
    import jax
    import optax

    if jax.default_backend() == "cpu":
        return None
    rows = []
    for problem, make in PROBLEMS.items():
        loss_fn, params, batches = make()
        warm = [timed(problem, lanes, steps)[0] for _ in range(rounds + 1)][1:]

        @jax.jit
        def run(rate: Any, params: Any, batches: Any, loss_fn: Any = loss_fn) -> Any:
            optimizer = optax.adamw(rate)

            def step(carry: Any, batch: Any) -> Any:
                loss, gradients = jax.value_and_grad(loss_fn)(carry[0], batch)
                updates, state = optimizer.update(gradients, carry[1], carry[0])
                return (optax.apply_updates(carry[0], updates), state), loss

            return jax.lax.scan(step, (params, optimizer.init(params)), batches)[1]

        batches = jax.tree.map(lambda leaf: leaf[:steps], batches)
        jax.block_until_ready(run(np.float32(1e-3), params, batches))
        began = time.perf_counter()
        for rate in np.geomspace(1e-4, 1e-2, lanes).astype(np.float32):
            losses = run(rate, params, batches)
        jax.block_until_ready(losses)
        rows.append([problem, float(np.median(warm)), time.perf_counter() - began])
    return [jax.devices()[0].device_kind, rows]


JOBS = {"auto": job_auto, "plans": job_plans, "lanes": job_lanes, "matmul": job_matmul, "accelerator": job_accelerator}


# Parts: what the tables are made of.


def part_plans(size: Size, problems: list[str], counts: list[int]) -> None:
    for problem in problems:
        rows = {}
        for devices in (1, 2):
            steps = size.grid_steps[problem]
            arguments = {"lanes": size.lanes, "steps": steps, "rounds": size.rounds[problem], "devices": devices}
            arguments["grid"] = counts
            found, plan = worker("plans", problem=problem, **arguments)
            rows |= {(devices, k, s, unroll): (seconds, slow) for k, s, unroll, seconds, slow in found}
            print(f"{problem}, {devices} device{'s' if devices > 1 else ''}: auto takes {plan}\n")
        unit = 1e3 / (size.lanes * steps)
        grid = {key: value for key, value in rows.items() if key[1]}
        best = min(grid, key=lambda key: grid[key][0])
        print(f"| {problem}: ms of a lane's step | " + " | ".join(f"k={k}" for k in counts) + " |")
        print("|---" * (len(counts) + 1) + "|")
        for devices in (1, 2):
            for s, unroll in CALLS:
                cells = [grid[devices, k, s, unroll] for k in counts]
                texts = [f"{'~' if slow else ''}{seconds * unit:.4f}" for seconds, slow in cells]
                name = f"{devices} device{'s' if devices > 1 else ''}, S={s}{', unrolled' if unroll else ''}"
                print(f"| {name} | " + " | ".join(texts) + " |")
        for devices in (1, 2):
            seconds = rows[devices, 0, 0, 0][0]
            here = min(value[0] for key, value in grid.items() if key[0] <= devices)
            ratio = f"{seconds / here:.2f} of the best plan on up to {devices}"
            name = f"auto, {devices} device{'s' if devices > 1 else ''}"
            print(f"| {name} | {seconds * unit:.4f} | {ratio}, target 1.1" + " |" * (len(counts) - 1))
        print(
            f"\nBest of the grid: {best[0]} devices, k={best[1]}, S={best[2]}{', unrolled' if best[3] else ''}\n",
            flush=True,
        )


def part_torch(size: Size, problems: list[str]) -> None:
    print("| problem | lrjax cold s | warm s | torch eager s | cold ratio (target) | warm (target) | vmap s | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for problem in problems:
        autos, eagers = [], []
        for _ in range(size.rounds[problem]):
            rounds = min(3, size.rounds[problem])
            autos.append(worker("auto", problem=problem, lanes=size.lanes, steps=size.steps, rounds=rounds))
            few = size.torch_lanes[problem]
            eagers.append(torch_worker(problem, "eager", few, size.steps, 1) * size.lanes / few)
        few_steps = max(3, size.steps // (10 if problem == "transformer" else 1))
        vmap = torch_worker(problem, "vmap", size.lanes, few_steps, 1) * size.steps / few_steps
        cold, warm = (float(np.median([auto[kind] for auto in autos])) for kind in ("cold", "warm"))
        eager = float(np.median(eagers))
        targets = TARGETS[problem]
        ratios = f"{eager / cold:.2f} ({targets[1]}) | {eager / warm:.2f} ({targets[0]})"
        print(
            f"| {problem} | {cold:.3f} | {warm:.3f} | {eager:.2f} | {ratios} | {vmap:.2f} | {vmap / warm:.1f} |",
            flush=True,
        )
    print(
        f"\n{threads()} threads for PyTorch, {threads()} devices for lrjax. Eager PyTorch trained "
        f"{', '.join(f'{size.torch_lanes[p]} rates ({p})' for p in problems)}; its time is scaled to {size.lanes}.\n"
    )


def part_matmul(size: Size) -> None:
    found = worker("matmul", rounds=5)
    lanes = min(size.lanes, 16)
    auto = worker("auto", problem="transformer", lanes=lanes, steps=size.steps, rounds=1)
    seconds = auto["warm"] / (lanes * size.steps)
    print(
        "| transformer, a lane's step | ms | GFLOP/s of matrix products | share of the machine's |\n|---|---|---|---|"
    )
    times = {"its products alone, each on both cores": found["alone"], "the range test": seconds}
    for name, taken in {"at the rate of large products": found["operations"] / found["machine"], **times}.items():
        rate = found["operations"] / taken
        print(f"| {name} | {1e3 * taken:.1f} | {rate / 1e9:.0f} | {rate / found['machine']:.0%} |")
    print(f"\n{found['operations'] / 1e9:.2f} GFLOP of matrix products a step; the target was 85%.\n", flush=True)


def part_lanes(size: Size, output: Path, counts: tuple[int, ...]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    _, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    print("| ms of a lane's step | " + " | ".join(map(str, counts)) + " |\n" + "|---" * (len(counts) + 1) + "|")
    for problem, steps in (("MLP 32", 100), ("MLP 256", 20)):
        cost = worker(
            "lanes", problem=problem, steps=min(steps, size.steps), rounds=min(size.rounds[problem], 3), counts=counts
        )
        flags = ["" if i == 0 or value <= 1.1 * min(cost[:i]) else " (!)" for i, value in enumerate(cost)]
        print(f"| {problem} | " + " | ".join(f"{v:.4f}{flag}" for v, flag in zip(cost, flags, strict=True)) + " |")
        axes.plot(counts, cost, marker="o", label=f"{problem}, {min(steps, size.steps)} steps")
    axes.set(xscale="log", yscale="log", xlabel="lanes", ylabel="milliseconds of a lane's step")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.legend()
    output.mkdir(parents=True, exist_ok=True)
    axes.figure.savefig(output / "range_test_lanes.png", dpi=150)
    print(
        f"\nPicture: {output / 'range_test_lanes.png'}; (!) marks more than 10% above the lowest before it\n",
        flush=True,
    )


def part_accelerator(size: Size) -> None:
    found = worker("accelerator", lanes=256 if size is FULL else 4, steps=size.steps, rounds=3)
    if found is None:
        print("No accelerator here: this part has not been run.")
        return
    kind, rows = found
    print(f"| {kind} | 256 lanes s | 256 runs s | ratio |\n|---|---|---|---|")
    for problem, lanes, runs in rows:
        print(f"| {problem} | {lanes:.3f} | {runs:.3f} | {runs / lanes:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="few rates and steps, to see that it runs")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--grid", nargs="+", type=int, default=GRID, help="lanes a call of the plans")
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder of the picture")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        import jax

        job = json.loads(arguments.job)
        if jax.config.jax_platforms in (None, "", "cpu"):
            jax.config.update("jax_num_cpu_devices", job.get("devices", threads()))
        print(json.dumps(JOBS[job.pop("job")](**job)))
        return
    size = SMOKE if arguments.smoke else FULL
    if "plans" in arguments.parts:
        part_plans(size, arguments.problems, arguments.grid)
    if "torch" in arguments.parts:
        part_torch(size, arguments.problems)
    if "matmul" in arguments.parts:
        part_matmul(size)
    if "lanes" in arguments.parts:
        part_lanes(size, arguments.output, LANES[:3] if arguments.smoke else LANES)
    if "accelerator" in arguments.parts:
        part_accelerator(size)


if __name__ == "__main__":
    main()
