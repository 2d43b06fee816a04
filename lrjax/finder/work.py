"""What one step of one lane does, read from its jaxpr: work, memory, convolutions, LAPACK and calls back to Python."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

FACTORIZATIONS = frozenset(
    (
        *("cholesky", "eig", "eigh", "geqrf", "hessenberg", "householder_product", "lu", "qr", "schur", "svd"),
        *("triangular_solve", "tridiagonal", "tridiagonal_solve"),
    )
)
"""Operations that a CPU hands to LAPACK."""


class Work(NamedTuple):
    """One step of one lane."""

    operations: float
    """Multiplications and additions of matrix products and convolutions, and one for every other number computed."""
    live_bytes: int
    """The most that is alive at one time besides the arguments: an upper bound, since fusion keeps less."""
    convolutions: bool
    factorizations: bool
    calls_back: bool
    """Python is called from within the step, so that running it once more could be noticed."""


def work_of(closed: ClosedJaxpr) -> Work:
    """The work of a traced step."""
    operations, names = 0.0, set[str]()

    def visit(jaxpr: Jaxpr, times: float) -> None:
        nonlocal operations
        for equation in jaxpr.eqns:
            name = equation.primitive.name
            names.add(name)
            inner = list(_inner(equation.params))
            for body in inner:
                visit(body, times * (equation.params.get("length", 1) if name == "scan" else 1))
            if not inner:
                operations += times * _operations(name, equation)

    visit(closed.jaxpr, 1.0)
    return Work(
        operations=operations,
        live_bytes=_live_bytes(closed.jaxpr),
        convolutions="conv_general_dilated" in names,
        factorizations=not names.isdisjoint(FACTORIZATIONS),
        calls_back=any("callback" in name for name in names),
    )


def _inner(params: dict[str, Any]) -> Any:
    """The jaxprs among an equation's parameters."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else [value]:
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


def _operations(name: str, equation: Any) -> float:
    """What an equation without an inner jaxpr computes."""
    produced: int = sum(math.prod(var.aval.shape) for var in equation.outvars if hasattr(var.aval, "shape"))
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return 2.0 * produced * int(math.prod(shape[axis] for axis in contracted))
    if name == "conv_general_dilated":
        kernel, numbers = equation.invars[1].aval.shape, equation.params["dimension_numbers"]
        return float(2 * produced * math.prod(kernel) // max(kernel[numbers.rhs_spec[0]], 1))
    return float(produced)


def _live_bytes(jaxpr: Jaxpr) -> int:
    """The largest sum of what was computed and is still needed, in the order of the equations."""
    last: dict[Any, int] = {}
    for place, equation in enumerate(jaxpr.eqns):
        last.update({var: place for var in equation.invars if not isinstance(var, Literal)})
    last.update({var: len(jaxpr.eqns) for var in jaxpr.outvars if not isinstance(var, Literal)})
    arguments = {*jaxpr.invars, *jaxpr.constvars}
    ending: dict[int, list[Any]] = {}
    for var, place in last.items():
        if var not in arguments:
            ending.setdefault(place, []).append(var)
    alive = most = 0
    for place, equation in enumerate(jaxpr.eqns):
        alive += sum(_bytes(var) for var in equation.outvars if var in last)
        within = max((_live_bytes(body) for body in _inner(equation.params)), default=0)
        most = max(most, alive + within)
        alive -= sum(map(_bytes, ending.get(place, [])))
    return most


def _bytes(var: Any) -> int:
    """The size of a variable."""
    shape, dtype = getattr(var.aval, "shape", ()), getattr(var.aval, "dtype", None)
    return math.prod(shape) * (getattr(dtype, "itemsize", 0) or 0)
