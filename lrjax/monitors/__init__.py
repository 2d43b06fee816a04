"""Watching a run: what is recorded of it, where that is written, and what steps in when it goes wrong."""

__all__: list[str] = []
