"""The documents keep pace with the code: rooms, links, make targets, and both languages alike."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(p for p in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
ARCHITECTURE = ("docs/architecture.md", "docs/architecture.zh.md")


def rooms() -> list[str]:
    """The rooms as import-linter knows them, from the first that may be imported to the last."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        (contract,) = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    names = [name for layer in reversed(contract["layers"]) for name in layer.split(":")]
    return [name.strip().removeprefix("hanlin.") for name in names]


def test_every_module_and_package_of_hanlin_is_a_room() -> None:
    found = {p.stem for p in (ROOT / "src/hanlin").iterdir() if not p.name.startswith(("_", "."))}
    assert found - {"py"} == set(rooms())


@pytest.mark.parametrize("document", ARCHITECTURE)
def test_the_architecture_lists_the_rooms_in_the_order_of_imports(document: str) -> None:
    table = re.findall(r"^\| (`.+?) \|", (ROOT / document).read_text("utf-8"), re.MULTILINE)
    listed = [name for row in table for name in re.findall(r"`(\w+)`", row)]
    assert sorted(listed[:2]) == sorted(rooms()[:2])
    assert listed[2:] == rooms()[2:]


def test_both_languages_have_the_same_drawing() -> None:
    texts = [(ROOT / name).read_text("utf-8") for name in ARCHITECTURE]
    arrows = [re.findall(r"^ {4}(\w+(?: & \w+)*) -", text, re.MULTILINE) for text in texts]
    assert arrows[0] == arrows[1]
    assert len(arrows[0]) > 10


@pytest.mark.parametrize(
    "english",
    [path for path in sorted(ROOT.glob("docs/*.md")) if not path.stem.endswith(".zh")],
    ids=lambda path: path.stem,
)
def test_both_languages_have_the_same_sections(english: Path) -> None:
    texts = [path.read_text("utf-8") for path in (english, english.with_suffix(".zh.md"))]
    headings = [re.findall(r"^(#+) ", text, re.MULTILINE) for text in texts]
    assert headings[0] == headings[1]


def test_both_languages_have_the_same_measurements() -> None:
    english, chinese = (
        [
            sorted(re.findall(r"\d(?:[\d.,]*\d)?", row))
            for row in re.findall(r"^\|.*", (ROOT / name).read_text("utf-8"), re.MULTILINE)
        ]
        for name in ("docs/benchmarks.md", "docs/benchmarks.zh.md")
    )
    assert english == chinese


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_within_the_project_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8")):
        if not re.match(r"[a-z]+:|#", target):
            assert (document.parent / target.split("#")[0]).exists(), target


def test_every_make_target_that_the_documents_name_exists() -> None:
    named = {
        target
        for document in DOCUMENTS
        for target in re.findall(
            r"(?:^ {4}|`)make (\w+)", document.read_text("utf-8"), re.MULTILINE
        )
    }
    assert {"demo", "test", "check"} <= named
    for target in named:
        plan = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False)
        assert plan.returncode == 0, f"make {target}: {plan.stderr.decode()}"
