"""The README's code runs, and its commands are those that CI runs."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_python_blocks_run_in_order(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    assert blocks("python")
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), namespace)


def test_the_first_example_fits_the_first_screen():
    assert len([line for line in blocks("python")[0].splitlines() if line.strip()]) <= 20


def command_under(heading: str) -> str:
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    (block,) = blocks("bash", section)
    (command,) = block.splitlines()
    return command


def test_the_two_commands():
    assert command_under("Run it").endswith("examples/digits_range_test.py")
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == command_under("Test it")


def test_pictures_and_links_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target
