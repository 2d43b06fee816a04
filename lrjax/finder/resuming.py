"""What of a sweep under way is saved, and how it is gone on with."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from lrjax.finder.checkpoint import digest
from lrjax.finder.groups import Group
from lrjax.finder.plan import Plan

if TYPE_CHECKING:
    from lrjax.finder.engine import Engine, Request

Arrays = dict[str, np.ndarray]


@dataclass
class Cursor:
    """Where a sweep is.

    Attributes:
        phase: Which of the parts between rungs.
        wave: Which of the phase's waves of lanes.
        done: Updates that the wave has done.
        lanes: Those that the phase began with.
    """

    phase: int
    wave: int
    done: int
    lanes: np.ndarray


def plan_of(request: Request, manifest: dict[str, Any]) -> Plan:
    """The plan that the sweep was begun with."""
    plan = Plan(**manifest["chosen"])
    here = len(request.processes.local_devices)
    if plan.devices is not None and plan.devices > here:
        assert request.checkpoint is not None
        request.checkpoint.refuse_field("devices", f"{plan.devices} there, {here} here")
    return plan


def fields_of(engine: Engine) -> dict[str, str]:
    """What must agree for a sweep to be the same, by the names that a message gives them."""
    request, fit = engine.request, engine.fit
    state = fit.segments.state(fit.size)
    programs = [fit.first, *(fit.segments.read(state, batch) for batch in request.readings.batches)]
    kind = request.processes.local_devices[0]
    return {
        **request.fields,
        "hyperparams": digest(request.hyperparams),
        "steps": str(request.steps),
        "keep": str(request.keep),
        "plan": "auto" if request.plan is None else str(request.plan),
        "validation": digest((list(request.readings.batches), list(request.readings.steps))),
        "versions": ", ".join(f"{name} {version(name)}" for name in ("jax", "jaxlib", "optax", "numpy", "lrjax")),
        "platform": f"{kind.platform} {kind.device_kind}, Python {platform.python_version()}",
        "processes": str(request.processes.count),
        "program": " ".join(program.text_hash for program in programs),
        "arrays that the functions close over": digest([program.constants for program in programs]),
    }


def snapshot(engine: Engine) -> tuple[dict[str, Any], Arrays]:
    """The manifest and the arrays of a save."""
    cursor, feed = engine.cursor, engine.feed
    arrays = {f"history {name}": values for name, values in engine.history.arrays().items()}
    arrays |= {f"scores {place}": scores for place, scores in enumerate(engine.scores)}
    arrays["lanes"] = cursor.lanes
    packed = {"groups": engine.groups or [], "arrived": engine.arrived, "departed": engine.departed}
    layout = {}
    for name, groups in packed.items():
        layout[name] = [[len(group.lanes), group.size] for group in groups]
        arrays |= _packed(name, groups)
    manifest = {
        "fields": engine.fields,
        "chosen": asdict(engine.plan),
        "phase": cursor.phase,
        "wave": cursor.wave,
        "done": cursor.done,
        "is_begun": engine.groups is not None,
        "layout": layout,
        "cuts": feed.cuts,
        "batches_consumed": feed.cuts[-1],
        "batches_hash": feed.hashes[feed.cuts[-1]],
    }
    return manifest, arrays


def restore(engine: Engine, manifest: dict[str, Any], arrays: Arrays) -> None:
    """Take up a saved state; refused where it is another sweep's or the batches are not those that it saw."""
    checkpoint, cursor = engine.request.checkpoint, engine.cursor
    assert checkpoint is not None
    checkpoint.compare(manifest["fields"], engine.fields)
    consumed = engine.feed.skip(manifest["cuts"])
    if consumed != manifest["batches_consumed"]:
        checkpoint.refuse_field(
            "batches", f"{manifest['batches_consumed']} were consumed, and now only {consumed} come"
        )
    if engine.feed.hashes[consumed] != manifest["batches_hash"]:
        checkpoint.refuse_field("batches", f"the first {consumed} differ")
    engine.history.restore(
        {name.removeprefix("history "): a for name, a in arrays.items() if name.startswith("history ")}
    )
    engine.scores = [arrays[f"scores {place}"] for place in range(sum(name.startswith("scores ") for name in arrays))]
    cursor.phase, cursor.wave, cursor.done = manifest["phase"], manifest["wave"], manifest["done"]
    cursor.lanes = np.array(arrays["lanes"])
    unpacked = {name: _unpacked(name, sizes, arrays) for name, sizes in manifest["layout"].items()}
    if manifest["is_begun"]:
        engine.groups = [Group(group.lanes, engine.put(group.state)) for group in unpacked["groups"]]
    engine.arrived, engine.departed = (
        [Group(group.lanes, engine.spill.put(group.state)) for group in unpacked[name]]
        for name in ("arrived", "departed")
    )


def _packed(name: str, groups: Sequence[Group]) -> Arrays:
    """Groups as one array for their lanes and one for each leaf of their states."""
    if not groups:
        return {}
    leaves = (np.concatenate(parts) for parts in zip(*(group.state for group in groups), strict=True))
    lanes = np.concatenate([group.lanes for group in groups])
    return {f"{name} lanes": lanes, **{f"{name} leaf {place}": leaf for place, leaf in enumerate(leaves)}}


def _unpacked(name: str, sizes: list[list[int]], arrays: Arrays) -> list[Group]:
    """The groups that ``_packed`` packed."""
    if not sizes:
        return []
    count = sum(key.startswith(f"{name} leaf ") for key in arrays)
    lanes = np.split(arrays[f"{name} lanes"], np.cumsum([number for number, _ in sizes])[:-1])
    ends = np.cumsum([size for _, size in sizes])[:-1]
    leaves = [np.split(arrays[f"{name} leaf {place}"], ends) for place in range(count)]
    return [Group(np.array(part), [np.array(leaf[place]) for leaf in leaves]) for place, part in enumerate(lanes)]
