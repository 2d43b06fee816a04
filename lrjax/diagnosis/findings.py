"""What a diagnosis is made of, and how it reads."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from lrjax.diagnosis.wording import steps_text

KINDS = (
    "divergence",
    "gan_collapse",
    "oscillation",
    "plateau_from_start",
    "plateau",
    "overfitting",
    "gradient_norm",
    "gan_imbalance",
    "short_warmup",
    "spike",
    "healthy",
)
"""The kinds of findings; of two that are equally severe the earlier in this order comes first."""

SEVERITIES = ("critical", "warning", "note")
"""``"critical"``: stop the run; ``"warning"``: it loses something; ``"note"``: nothing needs doing."""


@dataclass(frozen=True)
class Finding:
    """One thing that a run's curves show.

    Attributes:
        kind: One of ``KINDS``.
        steps: First and last step at which it shows, both included.
        evidence: What was read, where, in a sentence.
        severity: ``"critical"``, ``"warning"`` or ``"note"``.
        remedy: What to do, in the order in which to try it; empty where nothing needs doing.
    """

    kind: str
    steps: tuple[int, int]
    evidence: str
    severity: str
    remedy: tuple[str, ...]

    def __repr__(self) -> str:
        """The kind, the severity and where."""
        return f"Finding({self.kind}, {self.severity}, steps={self.steps})"

    def __str__(self) -> str:
        """What it is and where, then the evidence, then the remedies by number."""
        title = self.kind.replace("_", " ").replace("gan ", "GAN ")
        lines = [f"{title} ({self.severity}, {steps_text(*self.steps)})", *_wrapped(self.evidence, "  ")]
        for number, remedy in enumerate(self.remedy, 1):
            lines += _wrapped(remedy, f"  {number}. ")
        return "\n".join(lines)


@dataclass(frozen=True)
class Diagnosis:
    """What the curves of a run say about it; ``print`` shows the evidence and the remedies.

    Attributes:
        findings: The most severe first; a healthy run has one, of kind ``"healthy"``.
    """

    findings: tuple[Finding, ...]

    @property
    def kind(self) -> str:
        """The kind of the first finding."""
        return self.findings[0].kind

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return self.kind == "healthy"

    def __repr__(self) -> str:
        """The kinds found."""
        return f"Diagnosis({', '.join(finding.kind for finding in self.findings)})"

    def __str__(self) -> str:
        """The findings, an empty line between them."""
        return "\n\n".join(map(str, self.findings))


def _wrapped(text: str, indent: str) -> list[str]:
    """Lines of at most 100 characters that hang under the first."""
    return textwrap.wrap(
        text,
        100,
        initial_indent=indent,
        subsequent_indent=" " * len(indent),
        break_long_words=False,
        break_on_hyphens=False,
    )
