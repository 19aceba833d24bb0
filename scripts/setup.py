"""Build or complete the environment in ``.venv``: the first step of every make target.

``python scripts/setup.py core`` makes what the demo needs, ``dev`` adds what the tests and checks
need. Standard library only, because it runs before anything is installed. A finished part leaves
a stamp keyed by what it was built from, so the next run starts at once and needs no network; an
interrupted one leaves none and is taken up again. How PyTorch is chosen: docs/decisions/0003.
"""

import contextlib
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NoReturn

from remedies import remedy_for

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
LOG = VENV / "setup.log"
UNFINISHED = VENV / "unfinished"
TESTED_TORCH = "2.13.0"
PARTS = ("core", "dev")
AT_WORK = re.compile(r"\s*((?:Collecting|Downloading) \S+|Installing collected packages)")
Gpu = Literal["nvidia", "amd", "none"]


def main(arguments: list[str]) -> int:
    """Bring `.venv` up to the part named on the command line; return the exit status."""
    if len(arguments) != 1 or arguments[0] not in PARTS:
        print(f"usage: setup.py {'|'.join(PARTS)}", file=sys.stderr)
        return 2
    part = arguments[0]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        VENV.mkdir(exist_ok=True)
        with one_at_a_time():
            if not is_done(part):
                set_up(part)
    except KeyboardInterrupt:
        fail(
            "Interrupted. Run the same command again to go on from here.",
            "已中断。重新运行同一命令即可继续。",
        )
    return 0


def set_up(part: str) -> None:
    started = time.monotonic()
    make_environment()
    for old in PARTS:
        stamp(old).unlink(missing_ok=True)
    LOG.write_text("", encoding="utf-8")
    forget_half_installed()
    install_torch()
    install_project(part)
    for done in PARTS[: PARTS.index(part) + 1]:
        write_stamp(done)
    seconds = round(time.monotonic() - started)
    say(f"The environment is ready ({seconds} s).", f"环境已就绪（用时 {seconds} 秒）。")


def say(english: str, chinese: str) -> None:
    print(f"==> {english}\n    {chinese}", flush=True)


def fail(english: str, chinese: str) -> NoReturn:
    print(f"error: {english}\n错误：{chinese}", file=sys.stderr, flush=True)
    raise SystemExit(1)


# What is done already


def key() -> str:
    """Hash what a finished environment depends on: these files, its Python, and its place."""
    digest = hashlib.sha256(os.fsencode(VENV))
    for file in (ROOT / "pyproject.toml", Path(__file__), VENV / "pyvenv.cfg"):
        digest.update(file.read_bytes() if file.exists() else b"")
    return digest.hexdigest()


def stamp(part: str) -> Path:
    return VENV / f"hanlin-{part}.done"


def write_stamp(part: str) -> None:
    fresh = stamp(part).with_suffix(".new")
    fresh.write_text(key())
    fresh.replace(stamp(part))


def is_done(part: str) -> bool:
    """Whether `part`, or a part that includes it, was finished from just these files."""
    stamps = [stamp(p) for p in PARTS[PARTS.index(part) :]]
    return environment_works() and any(s.exists() and s.read_text() == key() for s in stamps)


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold a lock, so that two makes in two terminals do not install into each other."""
    if os.name == "nt":
        yield
        return
    import fcntl

    with (VENV / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(
                "Another set-up is at work; waiting.",
                "另一个安装正在进行，等待其完成。",
            )
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# The environment


def environment_works() -> bool:
    """Whether `.venv` is whole and its Python starts and is of the version running this."""
    if UNFINISHED.exists() or not PYTHON.exists():
        return False
    answer = output_of(PYTHON, "-c", "import sys; print(*sys.version_info[:2])")
    return answer.stdout.split() == [str(n) for n in sys.version_info[:2]]


def make_environment() -> None:
    """Create `.venv`, or create it anew where it is broken, unfinished, or of another Python."""
    if environment_works() and output_of(PYTHON, "-m", "pip", "--version").returncode == 0:
        return
    version = platform.python_version()
    say(
        f"Making the environment .venv (Python {version}).",
        f"正在创建环境 .venv（Python {version}）。",
    )
    for old in VENV.iterdir():
        if old.name != "setup.lock":
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    UNFINISHED.touch()
    made = output_of(Path(sys.executable).resolve(), "-m", "venv", VENV)
    if made.returncode != 0:
        print(made.stdout[-2000:], file=sys.stderr)
        fail(
            "Python could not make a virtual environment. On Debian and Ubuntu: apt install"
            " python3-venv. Elsewhere: make sure that the disk is not full, or reinstall Python.",
            "Python 无法创建虚拟环境。Debian/Ubuntu 请执行 apt install python3-venv;"
            "其他系统请检查磁盘空间，或重新安装 Python。",
        )
    UNFINISHED.unlink()


def forget_half_installed() -> None:
    """Remove the metadata of packages whose installation was cut off, so that pip installs them.

    Installers write INSTALLER after a package's files; without it pip would take a package with
    half its files for installed.
    """
    for metadata in VENV.glob("**/site-packages/*.dist-info"):
        if not (metadata / "INSTALLER").exists():
            shutil.rmtree(metadata)


def output_of(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=environment(),
    )


def environment() -> dict[str, str]:
    """The environment of our child processes, without what would lead pip out of `.venv`."""
    foreign = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER")
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    return kept | {"PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


# Installing


def pyproject() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def install_torch() -> None:
    """Install PyTorch unless one that fits is there: without a GPU, the build without CUDA."""
    wanted = next(d for d in pyproject()["project"]["dependencies"] if d.startswith("torch"))
    if (
        output_of(PYTHON, "-m", "pip", "--isolated", "install", "--no-index", wanted).returncode
        == 0
    ):
        return
    system, gpu, channel = platform.system(), find_gpu(), os.environ.get("TORCH_INDEX", "")
    if gpu == "amd" and not channel:
        say(
            "There is an AMD GPU, but its PyTorch has a channel of its own: stop and run make demo"
            " TORCH_INDEX=<address from pytorch.org, Get Started> to use it. Going on for the CPU.",
            "本机有 AMD GPU，但其 PyTorch 在单独的渠道发布：如需使用，请停止并执行 make demo"
            " TORCH_INDEX=<pytorch.org 的 Get Started 页所列地址>。现在按 CPU 继续。",
        )
    first, *others = torch_choices(system, gpu=gpu, channel=channel, wanted=wanted)
    say(f"Installing PyTorch ({first}).", f"正在安装 PyTorch（{first}）。")
    extra = {"PIP_EXTRA_INDEX_URL": channel} if channel else {}
    output = pip("install", first, extra=extra)
    if output is None:
        return
    if not others or remedy_for(output).cause != "no version":
        fail_with(output)
    say(
        "pip does not reach PyTorch's CPU builds, so it now fetches the one with CUDA: several GB,"
        " which work here but are not needed. To avoid it, stop (Ctrl-C) and run make demo"
        " TORCH_INDEX=<address of the CPU channel>; pytorch.org lists it under Get Started.",
        "pip 访问不到 PyTorch 的 CPU 版本，因此将下载带 CUDA 的版本：有数 GB，能用，但本机"
        "并不需要。如要避免，请停止（Ctrl-C）并执行 make demo TORCH_INDEX=<CPU 渠道地址>，地址见"
        " pytorch.org 的 Get Started 页。",
    )
    install(*others)


def torch_choices(system: str, *, gpu: Gpu, channel: str, wanted: str) -> list[str]:
    """Return the requirements to try in order, for a `platform.system()` and what was asked for."""
    if gpu == "nvidia" or (gpu == "amd" and channel):
        return [wanted]
    plain = f"torch=={TESTED_TORCH}"
    # Only on Linux does the plain wheel bring CUDA; elsewhere it is the CPU (or Metal) build.
    return [f"{plain}+cpu", plain] if system == "Linux" else [plain]


def find_gpu() -> Gpu:
    if Path("/dev/nvidia0").exists():
        return "nvidia"
    if shutil.which("nvidia-smi") and "GPU " in output_of("nvidia-smi", "-L").stdout:
        return "nvidia"
    return "amd" if Path("/dev/kfd").exists() else "none"


def install_project(part: str) -> None:
    """Install hanlin in place with what `part` needs, leaving PyTorch as it is."""
    version = output_of(PYTHON, "-c", "from importlib.metadata import *; print(version('torch'))")
    torch_stays = VENV / "torch-stays.txt"
    torch_stays.write_text(f"torch=={version.stdout.strip()}\n")
    if part == "core":
        say("Installing hanlin and its few dependencies.", "正在安装 hanlin 及其少量依赖。")
    else:
        say(
            "Installing hanlin with what its tests and checks need (about 1 GB).",
            "正在安装 hanlin 及其测试与检查所需的软件包（约 1 GB）。",
        )
    # Built with these tools and not in isolation: repeating it then needs no network. The second
    # is what hatchling asks for when it installs in place.
    install(*pyproject()["build-system"]["requires"], "editables>=0.5,<1")
    project = f"{ROOT}[dev]" if part == "dev" else str(ROOT)
    install("--no-build-isolation", "--constraint", str(torch_stays), "--editable", project)


def install(*arguments: str) -> None:
    output = pip("install", *arguments)
    if output is not None:
        fail_with(output)


def pip(*arguments: str, extra: dict[str, str] | None = None) -> str | None:
    """Run pip quietly, showing on a terminal what it is at; return its output if it failed."""
    command = [str(PYTHON), "-m", "pip", *arguments]
    started, lines, live = time.monotonic(), [f"$ pip {' '.join(arguments)}\n"], sys.stdout.isatty()
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment() | (extra or {}),
    )
    assert child.stdout is not None
    with child, LOG.open("a", encoding="utf-8") as log:
        log.write(lines[0])
        for line in child.stdout:
            lines.append(line)
            log.write(line)
            log.flush()
            at_work = AT_WORK.match(line)
            if live and at_work:
                seconds = time.monotonic() - started
                print(f"\r\x1b[K    {seconds:3.0f} s  {at_work[1][:66]}", end="", flush=True)
    if live:
        print("\r\x1b[K", end="", flush=True)
    return None if child.returncode == 0 else "".join(lines)


def fail_with(output: str) -> NoReturn:
    """Show the end of what pip said, and what to do about it."""
    print("".join(f"    {line}\n" for line in output.splitlines()[-12:]), end="", file=sys.stderr)
    remedy = remedy_for(output)
    fail(remedy.english, remedy.chinese)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
