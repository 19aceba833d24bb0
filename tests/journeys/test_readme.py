"""Every command and every line of Python in the two READMEs does what they say, as written."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
READMES = ["README.md", "README.zh-CN.md"]


def blocks(readme: str, language: str) -> list[str]:
    text = (ROOT / readme).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A copy of what the commands read, so that what they write is theirs alone."""
    for name in ("src", "docs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in READMES:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def run(code: list[str], here: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    return subprocess.run(
        code, capture_output=True, text=True, cwd=here, env=environment, timeout=500
    )


def commands(readme: str) -> list[str]:
    lines = [line for block in blocks(readme, "sh") for line in block.splitlines() if line]
    return [re.sub(r"\s+#.*", "", line) for line in lines if not line.startswith("make ")]


@pytest.mark.parametrize("readme", READMES)
def test_every_command_runs(readme: str, here: Path) -> None:
    ours = commands(readme)
    assert len(ours) >= 6
    if readme != READMES[0]:
        # What both have need not take its minutes twice; that they have the same is tested below.
        ours = [line for line in ours if line not in commands(READMES[0])]
    for line in ours:
        done = run(["bash", "-c", line], here)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout.strip(), f"{line} printed nothing"


@pytest.mark.parametrize("readme", READMES)
def test_every_line_of_python_runs(readme: str, here: Path) -> None:
    (code,) = blocks(readme, "python")
    done = run([sys.executable, "-c", code], here)
    assert done.returncode == 0, done.stderr
    assert "(2, 384)" in done.stdout


def test_the_two_readmes_show_the_same_commands() -> None:
    def bare(readme: str, language: str) -> list[str]:
        lines = "\n".join(blocks(readme, language)).splitlines()
        plain = [re.sub(r"\s*#.*", "", line) for line in lines]
        return [re.sub(r'^echo ".*"', "echo", line) for line in plain]

    for language in ("sh", "python"):
        assert bare(READMES[0], language) == bare(READMES[1], language)
