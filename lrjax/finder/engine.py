"""The engine: a host loop over chunks of batches, through which groups of lanes advance in compiled calls.

Lanes never talk, so that everything here is a matter of order. *Phases* lie between the rungs at which lanes are
compared; within a phase *waves* of lanes that fit in memory run one after another; a wave is divided into *groups*, of
which each call advances one by some steps. Whatever is decided about lanes is decided at fixed numbers of updates.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, NamedTuple

import jax
import numpy as np

from lrjax.finder import memory, resuming, trees
from lrjax.finder.batches import Chunk, EndOfBatches
from lrjax.finder.feed import Feed, Spill
from lrjax.finder.fitting import fit
from lrjax.finder.groups import Group, divided, even_size, filled, on_host, repacked
from lrjax.finder.history import History
from lrjax.finder.keeping import Halving
from lrjax.finder.plan import Plan
from lrjax.finder.programs import Program, shardings
from lrjax.finder.request import Request
from lrjax.finder.state import State

COMPILE_SECONDS = 1.0
"""What a program for a smaller group is taken to cost."""

OPERATIONS_A_SECOND = 2e10
"""What a core is taken to do; both are fixed, so that a run is the same each time."""


class Ended(NamedTuple):
    """Why a sweep ended before the last step; empty where it did not."""

    what: str
    cause: str


class Outcome(NamedTuple):
    """What became of a sweep: of this process's lanes until it is gathered."""

    history: History
    done: int
    ended: Ended
    plan: Plan


def run(request: Request) -> Outcome:
    """Run this process's lanes to the end, or to where the batches or the device give up."""
    with ExitStack() as open_until_the_end:
        return Engine(request, open_until_the_end).run()


class Engine:
    """A sweep under way; everything that a later process needs to go on is in its ``state``."""

    def __init__(self, request: Request, stack: ExitStack) -> None:
        """Choose a plan, or take the one of the checkpoint, and find out how many lanes fit.

        ``stack`` gives up threads, temporary files and the checkpoint when it ends.
        """
        if request.checkpoint is not None:
            stack.callback(request.checkpoint.close)
        self.request = request
        lanes = len(request.processes.lanes)
        history = History(request.lane.metrics, request.metric, lanes, request.steps)
        self.state = State(phase=0, wave=0, done=0, lanes=np.arange(lanes), history=history)
        self.stops = [*request.rungs, request.steps]
        self.boundaries = request.boundaries
        self.limit, self.ended = request.steps, Ended("", "")
        self.spill = Spill(0)
        stack.callback(self.spill.close)
        saved = request.checkpoint.load() if request.checkpoint else None
        plan = request.plan if saved is None else resuming.plan_of(request, saved[0])
        self.feed = Feed(request.source, hashed=request.checkpoint is not None)
        stack.callback(self.feed.close)
        self.fit = fit(request, self.feed, plan)
        if saved is not None:
            self.fit = self.fit._replace(wave=saved[0]["wave_lanes"])
        self.plan, self.segments = self.fit.plan, self.fit.segments
        self.used = request.processes.local_devices[: self.plan.devices]
        self.split, self.whole = shardings(self.used)
        self.feed.place(self.whole, Spill(self.fit.spare) if self.fit.wave < lanes else None)
        self.shared = jax.device_put(request.shared, self.whole)
        self.reading_batches = [jax.device_put(batch, self.whole) for batch in request.readings.batches]
        self.scalars: dict[int, jax.Array] = {}
        self.pool = stack.enter_context(ThreadPoolExecutor(self.plan.threads, thread_name_prefix="lrjax"))
        self.fields = resuming.fields_of(request, self.fit) if request.checkpoint else {}
        if saved is not None:
            resuming.restore(self.state, request, self.feed, self.fields, self.spill, *saved)
            self.state.groups = self.state.groups and [Group(g.lanes, self.put(g.state)) for g in self.state.groups]

    def run(self) -> Outcome:
        """Phase by phase, wave by wave."""
        request, state = self.request, self.state
        is_over = self._catch_up()
        while not is_over and state.phase < len(self.stops):
            stop = self.stops[state.phase]
            is_last = stop == request.steps
            waves = self._waves()
            while state.wave < len(waves):
                if self.state.groups is None:
                    state.done = self._phase_start()
                    self.state.groups = list(self._begun(waves[state.wave]))
                self._advance(stop, len(waves))
                if not is_last and not self.ended.what and len(waves) > 1:
                    self.state.departed += self._spilled(self.state.groups)
                if is_last or len(waves) > 1:
                    self.state.groups = None
                    memory.return_freed()
                state.wave += 1
            if self._anyone_ended(stop):
                break
            state.phase, state.wave = state.phase + 1, 0
            if not is_last:
                self._rung(stop)
            state.done = stop
            self._save(force=is_last)
        return Outcome(self.state.history, self.limit, self.ended, self.plan)

    def _phase_start(self) -> int:
        """The number of updates that the phase begins at."""
        return self.stops[self.state.phase - 1] if self.state.phase else 0

    def _waves(self) -> list[np.ndarray]:
        """The lanes of the phase, as many at a time as fit in memory."""
        lanes = self.state.lanes
        return [lanes[first : first + self.fit.wave] for first in range(0, len(lanes), self.fit.wave)]

    def _begun(self, lanes: np.ndarray) -> Iterator[Group]:
        """Groups of these lanes where the phase begins: started, or as they were left."""
        size = even_size(len(lanes), self.fit.size, len(self.used))
        if self.state.phase:
            wanted = np.zeros(len(self.state.history.lost_at), bool)
            wanted[lanes] = True
            hosts = (on_host(group, wanted) for group in self.state.arrived)
            yield from divided(hosts, size, self.put)
            memory.return_freed()
            return
        numbers = self.request.processes.lanes
        for first in range(0, len(lanes), size):
            part = lanes[first : first + size]
            rows = numbers[filled(part, size)]
            hyperparams = jax.device_put(trees.rows(self.request.hyperparams, rows), self.split)
            program = self.segments.start(hyperparams, self.shared)
            yield Group(part, program(hyperparams, self.shared))

    def _advance(self, stop: int, waves: int) -> None:
        """Bring the wave to ``stop`` updates, or to where the batches end."""
        assert self.state.groups is not None
        state = self.state
        while True:
            stop = min(stop, self.limit)
            self._read(state.done, is_end=state.done == self.limit and bool(self.ended.what))
            if state.done in self.boundaries and self.request.keep != "all":
                self._drop()
            if state.done >= stop or not self.state.groups:
                state.done = max(state.done, stop)
                return
            try:
                chunk = self.feed.chunk(state.done, self._next_boundary(state.done))
                self._run_chunk(chunk, stop)
            except EndOfBatches as end:
                self._end(Ended("batches ended", str(end)))
                continue
            except jax.errors.JaxRuntimeError as error:
                if state.done == 0:
                    raise
                self.state.groups = []
                lines = str(error).strip().splitlines()
                if "callback" in lines[0]:  # Python within the step, whose error comes last
                    self._end(Ended("step failed", lines[-1]))
                else:
                    self._end(Ended("device failed", f"{lines[0]} (where its memory ran out, lower memory_budget)"))
                continue
            state.done += chunk.steps
            self.request.watch(self.state.history, state.done, (state.wave + state.done / self.request.steps) / waves)
            if state.done < self.limit:
                self._save(force=False)

    def _run_chunk(self, chunk: Chunk, stop: int) -> None:
        """Advance all groups by the chunk, and pull the next one meanwhile."""
        assert self.state.groups is not None
        start = self.state.done
        self.segments.prepare(self.state.groups[0].state, chunk)
        futures = [self.pool.submit(self._run_group, group, chunk) for group in self.state.groups]
        if start + chunk.steps < stop:
            self.feed.prefetch(start + chunk.steps, self._next_boundary(start + chunk.steps))
        for group, future in zip(self.state.groups, futures, strict=True):
            self.state.history.add_steps(group.lanes, start, future.result())

    def _run_group(self, group: Group, chunk: Chunk) -> dict[str, np.ndarray]:
        """Advance one group by the chunk; its metrics, ``[lanes, steps, ...]``."""
        with jax.debug_nans(new_val=False):
            batches = jax.tree.leaves(chunk.batches)
            for offset, count in self.segments.calls(chunk.steps):
                program = self.segments.known_advance(group.size, count)
                scalars = (self._scalar(chunk.first), self._scalar(offset), self._scalar(count))
                group.state = program.executable(*program.constants, *group.state, *batches, *scalars)
            buffers = group.state[len(self.request.lane.raw) :]
            return {
                name: np.asarray(buffer)[: len(group.lanes), : chunk.steps]
                for name, buffer in zip(sorted(self.request.lane.metrics), buffers, strict=True)
            }

    def _scalar(self, number: int) -> jax.Array:
        """A whole number on the devices, sent there once."""
        if number not in self.scalars:
            self.scalars[number] = jax.device_put(np.int32(number), self.whole)
        return self.scalars[number]

    def _next_boundary(self, done: int) -> int:
        """The next number of updates at which something is decided or read."""
        return min([at for at in self.boundaries if at > done], default=self.request.steps)

    def _read(self, done: int, *, is_end: bool) -> None:
        """Evaluate the wave's lanes where that is due; where the batches ended early, once more."""
        readings = self.request.readings
        if not readings.steps or not self.state.groups or not (done in readings.steps or is_end):
            return
        if self._is_read(done):
            return
        programs = [self.segments.read(self.state.groups[0].state, batch) for batch in self.reading_batches]
        futures = [self.pool.submit(self._read_group, group, programs) for group in self.state.groups]
        for group, future in zip(self.state.groups, futures, strict=True):
            self.state.history.add_reading(group.lanes, done, future.result())

    def _is_read(self, done: int) -> bool:
        """Whether the wave was evaluated after so many updates, before it was saved or before the phase began."""
        assert self.state.groups is not None
        known = self.state.history.readings.get(done)
        lanes = np.concatenate([group.lanes for group in self.state.groups])
        return known is not None and bool(np.isfinite(known[lanes]).any())

    def _read_group(self, group: Group, programs: list[Program]) -> np.ndarray:
        """The mean over the batches, ``[lanes]``."""
        with jax.debug_nans(new_val=False), np.errstate(all="ignore"):  # lost lanes may sum inf and -inf
            pairs = zip(programs, self.reading_batches, strict=True)
            values = [np.asarray(program(group.state, batch)) for program, batch in pairs]
            mean: np.ndarray = np.mean(values, axis=0)
            return mean[: len(group.lanes)]

    def _drop(self) -> None:
        """Leave out the lanes that are gone."""
        assert self.state.groups is not None
        if not all(self.state.history.alive[group.lanes].all() for group in self.state.groups):
            self.state.groups = repacked(
                self.state.groups, self.state.history.alive, len(self.used), self.put, self._pays
            )

    def _pays(self, size: int, smaller: int) -> bool:
        """Whether a smaller group saves more in the steps left than compiling for it costs."""
        left = self.request.steps - self.state.done
        operations = left * (size - smaller) / len(self.used) * self.request.lane.work.operations
        return operations / OPERATIONS_A_SECOND > COMPILE_SECONDS

    def _rung(self, done: int) -> None:
        """Compare the lanes of all processes, and go on with the better part."""
        request = self.request
        assert isinstance(request.keep, Halving)
        scores = self.state.history.scores(done, by_reading=bool(request.readings.steps))
        scores[np.isin(np.arange(len(scores)), self.state.lanes, invert=True)] = np.inf  # gone before the phase began
        self.state.scores.append(scores)
        self.state.history.dropped_at[self.state.history.alive & ~self._kept(scores)] = done
        self.state.arrived, self.state.departed = self.state.departed, []
        self.state.lanes = np.flatnonzero(self.state.history.alive)

    def _kept(self, scores: np.ndarray) -> np.ndarray:
        """Which of this process's lanes are among the better units of all processes'.

        A unit is compared while any of its lanes goes on, and one with a lane that is lost comes last.
        """
        request = self.request
        assert isinstance(request.keep, Halving)
        everyone = request.processes.joined(scores)
        units = np.unique(request.units[everyone != np.inf])
        means = np.array([everyone[request.units == unit].mean() for unit in units])
        kept = units[request.keep.kept(means)]
        return np.isin(request.units[request.processes.lanes], kept)

    def put(self, leaves: list[np.ndarray]) -> list[Any]:
        """A state on the devices, divided by lanes."""
        return jax.device_put(leaves, self.split)  # type: ignore[no-any-return]

    def _spilled(self, groups: list[Group]) -> list[Group]:
        """The living lanes of a wave, in temporary files."""
        alive = self.state.history.alive
        if not any(alive[group.lanes].any() for group in groups):
            return []
        lanes = np.concatenate([group.lanes[alive[group.lanes]] for group in groups])
        files = [self.spill.file((len(lanes), *leaf.shape[1:]), leaf.dtype) for leaf in groups[0].state]
        start = 0
        for group in groups:
            host = on_host(group, alive)
            group.state = []
            for file, leaf in zip(files, host.state, strict=True):
                file[start : start + len(leaf)] = leaf
            start += len(host.lanes)
        return [Group(lanes, files)]

    def _end(self, ended: Ended) -> None:
        """No step beyond this one."""
        if self.state.groups:
            self._save(force=True)
        self.limit, self.ended = self.state.done, ended

    def _anyone_ended(self, stop: int) -> bool:
        """Whether a process ended before the rung or the last step; then all do, at the earliest end."""
        limits = self.request.processes.gathered(np.int64(self.limit))
        if limits.min() >= stop:
            return False
        if self.limit > limits.min():
            self.limit, self.ended = int(limits.min()), Ended("test ended", "another process stopped there")
            self.state.history.forget_after(self.limit)
        return True

    def _catch_up(self) -> bool:
        """After a restart, meet processes again that were saved before a rung that this one has passed.

        Returns:
            Whether one of them ended before such a rung.
        """
        earliest = int(self.request.processes.gathered(np.int64(self.state.phase)).min())
        for phase in range(earliest, self.state.phase):
            if self._anyone_ended(self.stops[phase]):
                return True
            if phase < len(self.state.scores):
                self._kept(self.state.scores[phase])
        return False

    def _save(self, *, force: bool) -> None:
        """Save, if saving is asked for and due."""
        checkpoint = self.request.checkpoint
        if checkpoint is not None and not self.ended.what and (force or checkpoint.is_due()):
            checkpoint.save(*resuming.snapshot(self.state, self.feed, self.fit, self.fields))
