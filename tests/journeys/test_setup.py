"""The set-up behind `make`: which Python and PyTorch, what counts as done, what a failure says."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the set-up reads, copied to a folder of its own."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.fixture
def setup(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The copied set-up script as a module, with an environment that looks finished."""
    monkeypatch.syspath_prepend(str(checkout / "scripts"))
    spec = importlib.util.spec_from_file_location("hanlin_setup", checkout / "scripts/setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (module.VENV / "bin").mkdir(parents=True)
    module.PYTHON.symlink_to(sys.executable)
    (module.VENV / "pyvenv.cfg").write_text("version = 3.11.7\n")
    return module


def find_python(checkout: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "scripts/find-python.sh"],
        cwd=checkout,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_named_python_is_taken(checkout: Path) -> None:
    found = find_python(checkout, PYTHON=sys.executable)
    assert (found.returncode, found.stdout.strip()) == (0, sys.executable)


def test_some_python_is_found_when_none_is_named(checkout: Path) -> None:
    found = find_python(checkout, PYTHON="")
    probe = [found.stdout.strip(), "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    assert subprocess.run(probe, check=False).returncode == 0


def test_a_python_that_cannot_do_is_an_error_in_both_languages(checkout: Path) -> None:
    too_old = checkout / "python3"
    too_old.write_text("#!/bin/sh\nexit 1\n")
    too_old.chmod(0o755)
    found = find_python(checkout, PYTHON=str(too_old))
    assert found.returncode == 1
    assert f"error: PYTHON={too_old} is not a Python 3.11 or newer" in found.stderr
    assert f"错误：PYTHON={too_old} 不是" in found.stderr


def test_where_there_is_no_python_the_error_says_how_to_get_one(checkout: Path) -> None:
    tools = checkout / "tools"
    tools.mkdir()
    (tools / "cat").symlink_to(str(shutil.which("cat")))
    sh = str(shutil.which("sh"))
    found = subprocess.run(
        [sh, "scripts/find-python.sh"],
        cwd=checkout,
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1
    assert "apt install python3 python3-venv" in found.stderr
    assert "没有找到" in found.stderr


def test_a_finished_part_is_done_and_includes_the_parts_before_it(setup: ModuleType) -> None:
    assert not setup.is_done("core")
    setup.write_stamp("core")
    assert setup.is_done("core")
    assert not setup.is_done("dev")
    setup.stamp("core").unlink()
    setup.write_stamp("dev")
    assert setup.is_done("core")
    assert setup.is_done("dev")


@pytest.mark.parametrize("file", ["pyproject.toml", "scripts/setup.py", ".venv/pyvenv.cfg"])
def test_changing_what_it_was_built_from_makes_it_undone(
    setup: ModuleType, checkout: Path, file: str
) -> None:
    setup.write_stamp("dev")
    with (checkout / file).open("a") as changed:
        changed.write("# changed\n")
    assert not setup.is_done("core")


def test_an_interrupted_environment_is_never_taken_for_done(setup: ModuleType) -> None:
    setup.write_stamp("dev")
    setup.UNFINISHED.touch()
    assert not setup.is_done("core")


def test_a_finished_set_up_starts_nothing(setup: ModuleType, capfd: pytest.CaptureFixture) -> None:
    setup.write_stamp("core")
    assert setup.main(["core"]) == 0
    assert capfd.readouterr() == ("", "")


def test_packages_cut_off_in_installing_are_forgotten_and_whole_ones_kept(
    setup: ModuleType,
) -> None:
    packages = setup.VENV / "lib/python3.11/site-packages"
    whole, cut_off = packages / "whole-1.0.dist-info", packages / "cut_off-1.0.dist-info"
    for metadata in (whole, cut_off):
        metadata.mkdir(parents=True)
        (metadata / "METADATA").touch()
    (whole / "INSTALLER").write_text("pip\n")
    setup.forget_half_installed()
    assert whole.exists()
    assert not cut_off.exists()


def test_without_a_gpu_linux_tries_the_build_without_cuda_first(setup: ModuleType) -> None:
    def choices(system: str, gpu: str, channel: str = "") -> list[str]:
        return setup.torch_choices(system, gpu=gpu, channel=channel, wanted="torch>=2")

    first, last = choices("Linux", "none")
    assert first.endswith("+cpu")
    assert first == f"{last}+cpu"
    assert choices("Linux", "nvidia") == ["torch>=2"]
    assert choices("Linux", "amd", "a-channel") == ["torch>=2"]
    assert choices("Linux", "amd") == choices("Linux", "none")
    assert choices("Darwin", "none") == choices("Windows", "none") == [last]


def test_the_tested_torch_is_within_the_declared_range(setup: ModuleType) -> None:
    from packaging.requirements import Requirement

    declared = [Requirement(d) for d in setup.pyproject()["project"]["dependencies"]]
    (torch,) = [d for d in declared if d.name == "torch"]
    assert torch.specifier.contains(setup.TESTED_TORCH)


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left", "disk"),
        (
            "WARNING: Retrying after connection broken by 'NewConnectionError(...)'\n"
            "ERROR: No matching distribution found for torch==2.13.0",
            "network",
        ),
        ("ERROR: No matching distribution found for torch==2.13.0+cpu", "no version"),
        ("PermissionError: [Errno 13] Permission denied: '.venv/lib'", "permission"),
        ("error: command 'gcc' failed: No such file or directory", "compiler"),
        ("something nobody has seen", "unknown"),
    ],
)
def test_a_failure_of_pip_is_answered_by_its_cause(
    setup: ModuleType, output: str, cause: str
) -> None:
    remedy = setup.remedy_for(output)
    assert remedy.cause == cause
    assert remedy.english.isascii()
    assert not remedy.chinese.isascii()


def test_where_no_torch_is_to_be_had_the_set_up_says_so_and_is_not_done(checkout: Path) -> None:
    """The whole script, with a real environment and a pip that reaches nothing."""
    no_packages = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    ended = subprocess.run(
        [sys.executable, "scripts/setup.py", "core"],
        cwd=checkout,
        env=os.environ | no_packages,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "No matching distribution found for torch" in ended.stderr
    assert "error: pip found no fitting version." in ended.stderr
    assert "错误：" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list((checkout / ".venv").glob("*.done"))
    assert not (checkout / ".venv/unfinished").exists()
