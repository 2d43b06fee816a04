"""Several processes that run one sweep: each its part of the lanes, and all of them the whole result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from lrjax import _checks
from lrjax.finder.programs import shardings


class Processes:
    """Who takes part in a sweep, and which lanes are this process's."""

    def __init__(self, devices: Sequence[jax.Device], lanes: int) -> None:
        """The lanes are divided in the order of the processes, in proportion to their devices."""
        owners = [device.process_index for device in devices]
        self.taking_part = sorted(set(owners))
        self.count = len(self.taking_part)
        self.index = self.taking_part.index(jax.process_index())
        self.local_devices = [device for device in devices if device.process_index == jax.process_index()]
        ends = np.cumsum([owners.count(process) for process in self.taking_part]) * lanes // len(owners)
        self._one_device_each = [devices[owners.index(process)] for process in self.taking_part]
        self._parts = np.split(np.arange(lanes), ends[:-1])

    @property
    def lanes(self) -> np.ndarray:
        """The lanes of this process."""
        return self._parts[self.index]

    def joined(self, part: np.ndarray) -> np.ndarray:
        """The values of all lanes, the first axis of ``part`` being this process's lanes."""
        if self.count == 1:
            return part
        longest = max(map(len, self._parts))
        padded = np.zeros((longest, *part.shape[1:]), part.dtype)
        padded[: len(part)] = part
        parts = self.gathered(padded)
        return np.concatenate([rows[: len(lanes)] for rows, lanes in zip(parts, self._parts, strict=True)])

    def gathered(self, value: Any) -> np.ndarray:
        """``value`` of every process, along a new first axis."""
        if self.count == 1:
            return np.asarray(value)[None]
        array = np.asarray(value)
        data = np.frombuffer(array.tobytes(), np.uint8)  # 64-bit numbers as they are would be cut to 32 bits
        split, whole = shardings(self._one_device_each)
        row = jax.device_put(data[None], self.local_devices[0])
        rows = jax.make_array_from_single_device_arrays((self.count, len(data)), split, [row])
        everyone = jax.jit(lambda rows: rows, out_shardings=whole)(rows)
        gathered = np.asarray(everyone.addressable_data(0))
        return np.frombuffer(gathered.tobytes(), array.dtype).reshape(self.count, *array.shape)


def checked_devices(call: str, devices: Any) -> list[jax.Device]:
    """The devices of ``devices=``: by default all, of all processes, or JAX's default device where one is set."""
    if devices is None:
        chosen = jax.config.jax_default_device  # type: ignore[attr-defined]
        if chosen is None or jax.process_count() > 1:
            return list(jax.devices())
        return [chosen if isinstance(chosen, jax.Device) else jax.devices(chosen)[0]]
    if isinstance(devices, str) or not isinstance(devices, Sequence):
        _checks.refuse_type(call, "devices", "a sequence of JAX devices, as jax.devices() gives", devices)
    chosen = list(devices)
    if not chosen:
        _checks.refuse(call, "devices", "at least one device", "none")
    for device in chosen:
        if not isinstance(device, jax.Device):
            _checks.refuse_type(call, "devices", "a sequence of JAX devices, as jax.devices() gives", device)
    if len(set(chosen)) < len(chosen):
        _checks.refuse(call, "devices", "distinct", _checks.shown(chosen))
    if len({device.platform for device in chosen}) > 1:
        _checks.refuse(call, "devices", "of one platform", _checks.shown(chosen))
    if jax.process_index() not in {device.process_index for device in chosen}:
        _checks.refuse(call, "devices", "with some of this process in each process that calls", _checks.shown(chosen))
    owners = {device.process_index for device in chosen}
    if len(owners) > 1 and len(owners) < jax.process_count():
        _checks.refuse(call, "devices", "of this process alone or of all processes", _checks.shown(chosen))
    return chosen
