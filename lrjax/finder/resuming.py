"""What of a sweep under way is saved, and how it is gone on with."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import numpy as np

from lrjax.finder import trees
from lrjax.finder.checkpoint import MAIN, digest
from lrjax.finder.feed import Feed, Spill
from lrjax.finder.fitting import Fit
from lrjax.finder.groups import Group, joined
from lrjax.finder.plan import Plan
from lrjax.finder.request import Request
from lrjax.finder.state import State

Arrays = dict[str, np.ndarray]


def plan_of(request: Request, manifest: dict[str, Any]) -> Plan:
    """The plan that the sweep was begun with."""
    plan = Plan(**manifest["chosen"])
    here = len(request.processes.local_devices)
    if plan.devices is not None and plan.devices > here:
        assert request.checkpoint is not None
        request.checkpoint.refuse_field("devices", f"{plan.devices} there, {here} here")
    return plan


def fields_of(request: Request, fit: Fit) -> dict[str, str]:
    """What must agree for a sweep to be the same, by the names that a message gives them."""
    state = fit.segments.state(fit.size)
    hyperparams = jax.tree.map(lambda leaf: trees.shaped((fit.size, *leaf.shape[1:]), leaf.dtype), request.hyperparams)
    programs = [
        fit.segments.start(hyperparams, request.shared),
        fit.first,
        *(fit.segments.read(state, batch) for batch in request.readings.batches),
    ]
    kind = request.processes.local_devices[0]
    return {
        **request.fields,
        "hyperparams": digest(request.hyperparams),
        "steps": str(request.steps),
        "keep": str(request.keep),
        "plan": "auto" if request.plan is None else str(request.plan),
        "validation": digest((list(request.readings.batches), list(request.readings.steps))),
        "versions": ", ".join(f"{name} {_version(name)}" for name in ("jax", "jaxlib", "optax", "numpy", "lrjax")),
        "platform": f"{kind.platform} {kind.device_kind}, Python {platform.python_version()}",
        "processes": str(request.processes.count),
        "memory_budget": f"enough for {fit.size} lanes a call",
        "program": " ".join(program.text_hash for program in programs),
        "arrays that the functions close over": digest([program.constants for program in programs]),
    }


def snapshot(state: State, feed: Feed, fit: Fit, fields: dict[str, str]) -> tuple[dict[str, Any], dict[str, Arrays]]:
    """The manifest, and the arrays of a save in several parts, of which few need be in memory at a time."""
    arrays = {f"history {name}": values for name, values in state.history.arrays().items()}
    arrays |= {f"scores {place}": scores for place, scores in enumerate(state.scores)}
    arrays |= {"lanes": state.lanes} | _packed(state.groups or [])
    spilled = {f"arrived_{place}": group for place, group in enumerate(state.arrived)}
    spilled |= {f"departed_{place}": group for place, group in enumerate(state.departed)}
    manifest = {
        "fields": fields,
        "chosen": asdict(fit.plan),
        "wave_lanes": fit.wave,
        "phase": state.phase,
        "wave": state.wave,
        "done": state.done,
        "is_begun": state.groups is not None,
        "groups": [[len(group.lanes), group.size] for group in state.groups or []],
        "cuts": feed.cuts,
        "batches_consumed": feed.cuts[-1],
        "batches_hash": feed.hashes[feed.cuts[-1]],
    }
    return manifest, {MAIN: arrays} | {name: _packed([group]) for name, group in spilled.items()}


def restore(
    state: State,
    request: Request,
    feed: Feed,
    fields: dict[str, str],
    spill: Spill,
    manifest: dict[str, Any],
    parts: Iterator[tuple[str, Arrays]],
) -> None:
    """Take up a saved state; refused where it is another sweep's or the batches are not those that it saw.

    The groups of the wave under way come as host arrays; waves that wait go to ``spill``, one after another.
    """
    checkpoint = request.checkpoint
    assert checkpoint is not None
    checkpoint.compare(manifest["fields"], fields)
    wanted = manifest["batches_consumed"]
    consumed = feed.skip(manifest["cuts"])
    if consumed != wanted:
        checkpoint.refuse_field("batches", f"{wanted} were consumed, and now only {consumed} come")
    if feed.hashes[consumed] != manifest["batches_hash"]:
        checkpoint.refuse_field("batches", f"the first {consumed} differ")
    state.phase, state.wave, state.done = manifest["phase"], manifest["wave"], manifest["done"]
    for name, arrays in parts:
        if name == MAIN:
            prefix = "history "
            state.history.restore({key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)})
            places = range(sum(key.startswith("scores ") for key in arrays))
            state.scores = [np.array(arrays[f"scores {place}"]) for place in places]
            state.lanes = np.array(arrays["lanes"])
            state.groups = _unpacked(manifest["groups"], arrays) if manifest["is_begun"] else None
        else:
            lanes = np.array(arrays["groups lanes"])
            group = Group(lanes, [spill.put(leaf) for leaf in _unpacked([[len(lanes)] * 2], arrays)[0].state])
            (state.arrived if name.startswith("arrived") else state.departed).append(group)


def _packed(groups: Sequence[Group]) -> Arrays:
    """Groups as one array for their lanes and one for each leaf of their states."""
    if not groups:
        return {}
    whole = groups[0] if len(groups) == 1 else joined(groups)
    leaves = {f"groups leaf {place}": np.asarray(leaf) for place, leaf in enumerate(whole.state)}
    return {"groups lanes": whole.lanes, **leaves}


def _unpacked(sizes: list[list[int]], arrays: Arrays) -> list[Group]:
    """The groups that ``_packed`` packed."""
    if not sizes:
        return []
    count = sum(key.startswith("groups leaf ") for key in arrays)
    lanes = np.split(arrays["groups lanes"], np.cumsum([number for number, _ in sizes])[:-1])
    ends = np.cumsum([size for _, size in sizes])[:-1]
    leaves = [np.split(arrays[f"groups leaf {place}"], ends) for place in range(count)]
    return [Group(np.array(part), [np.array(leaf[place]) for leaf in leaves]) for place, part in enumerate(lanes)]


def _version(package: str) -> str:
    """The version of a package; this one may be used without being installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
