"""Is the run healthy: curves in, findings with evidence and remedies out."""

from lrjax.diagnosis.diagnose import diagnose
from lrjax.diagnosis.findings import KINDS, Diagnosis, Finding

__all__ = ["KINDS", "Diagnosis", "Finding", "diagnose"]
