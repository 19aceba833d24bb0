"""From raw files to token shards, or to clean documents: the whole of the data stage in one call.

Files are read one after the other; small ones whole in the workers, large ones in blocks that the
workers clean and encode. Results are written in order, so that the bytes do not depend on the
number of workers or on how often the work was killed. What one run finished the next takes over.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hanlin.data.draft import UNITS, Draft, Layout, Store, read_units, writing
from hanlin.data.manifest import Prepared, dropped_reasons, result, source_list, write_manifest
from hanlin.data.plan import Planned, Step, continues, plan, recorded, settings_hash, spool, steps
from hanlin.data.shards import TOKENIZER, end_token, read_manifest, token_dtype
from hanlin.data.units import Job
from hanlin.data.workers import perform
from hanlin.errors import ConfigError, InputError
from hanlin.progress import Progress
from hanlin.provenance import record, usable_cores, versions
from hanlin.text.reading import ReadSettings
from hanlin.text.sources import Sources, find
from hanlin.text.stages import Stage, key

if TYPE_CHECKING:
    from hanlin.tokenizers import Tokenizer

SIDES = ("train", "validation")
_LOCK = "lock"
SHARD_TOKENS = 1 << 26
SHARD_BYTES = 1 << 28
_FEW = 1 << 22
"""Bytes of sources that one process reads faster than several start."""
_SYNC_EVERY = 10.0
"""Seconds between the moments at which the disk is known to have everything."""


def prepare(
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    tokenizer: "Tokenizer | str | Path | None" = None,
    format: str | None = None,
    field: str | None = None,
    split: str = "file",
    header: bool | None = None,
    encoding: str | None = None,
    stages: Sequence[Stage] = (),
    validation: float = 0.0,
    seed: int = 0,
    workers: int | None = None,
    licence: str | None = None,
    shard_size: int | None = None,
    progress: bool = False,
) -> Prepared:
    """Turn text files into token shards in `output`, or without a tokenizer into JSON lines.

    `sources` are files, folders, globs or ``-`` for standard input; `format`, `field`, `split`,
    `header` and `encoding` say how to read them (see `ReadSettings`). `stages` clean each document
    in turn. With `validation`, about that share of the documents (0 to 1, chosen by their hash and
    `seed`) goes to ``output/validation`` and the rest to ``output/train``. `shard_size` is the
    tokens (bytes, of documents) at which a shard is full.

    The result is the same for any number of `workers` (all cores when None). When it is killed, the
    same call goes on where it was; when a source or a setting has changed, only what depends on it
    is made again. `output` appears when it is whole; until then the work lies beside it in
    ``.NAME.partial``.

    Raises `NotFoundError` for sources that do not exist, `ConfigError` for settings that contradict
    each other or an output that is something else, `InputError` where no document could be read,
    and `HanlinError` where the disk is full.
    """
    started = time.monotonic()
    read = ReadSettings(format=format, field=field, split=split, header=header, encoding=encoding)
    if not 0 <= validation < 1:
        raise ConfigError(f"The share for validation is {validation}. Give 0 up to below 1.")
    if workers is not None and workers < 1:
        raise ConfigError(f"{workers} workers can do nothing. Give 1 or more.")
    if shard_size is not None and shard_size < 1:
        raise ConfigError(f"A shard of {shard_size} tokens holds nothing. Give 1 or more.")
    target = Path(output).expanduser().absolute()
    listed = [sources] if isinstance(sources, str | Path) else list(sources)
    check_output(target)
    loaded = load_tokenizer(tokenizer)
    dtype = None if loaded is None else token_dtype(loaded).str
    layout = Layout(
        sides=SIDES if validation else ("",),
        dtype=dtype,
        shard_size=shard_size or (SHARD_BYTES if loaded is None else SHARD_TOKENS),
    )
    settings = {
        "tokenizer": None if loaded is None else loaded.hash,
        "end": None if loaded is None else end_token(loaded),
        "stages": [key(stage) for stage in stages],
        "validation": validation,
        "seed": seed if validation else 0,
    }
    if "-" not in map(str, listed):
        find(listed, format=format)  # what does not exist is said before anything is made
    partial = target.parent / f".{target.name}.partial"
    with _place(partial):
        stdin = _standard_input(listed, partial)
        found = find(listed, format=format, stdin=stdin)
        planned = _hashed(found, settings_hash(read, settings), progress)
        stores = _stores(target, partial, layout, planned)
        old = stores[0] if stores and stores[0].directory == target else None
        stated = {**vars(read), **settings, "licence": licence}
        if old and old.layout == layout and _same(old, planned, stated):
            shutil.rmtree(partial)
            return result(target, layout, old.records, hidden=found.hidden, made=0, started=started)
        job = Job(
            read=read,
            stages=tuple(stages),
            tokenizer_directory=_kept_tokenizer(loaded, partial),
            share=validation,
            seed=seed,
        )
        with Draft(partial, layout) as draft:
            made = _work(draft, planned, stores, job, workers, progress)
            _nothing_left(draft.units, found)
            draft.sync()
            facts = {
                "hanlin": versions().get("hanlin"),
                "settings": stated,
                "sources": source_list(planned, draft.units, licence),
                "provenance": record(config={"sources": list(found.named), **vars(read)}),
            }
            _both_sides(draft)
            for number in range(len(layout.sides)):
                write_manifest(draft, number, loaded, facts)
        _publish(partial, target, keep_out=stdin)
        return result(target, layout, draft.units, hidden=found.hidden, made=made, started=started)


def check_output(target: Path) -> None:
    """Raise `ConfigError` where `target` is something that preparing did not make."""
    if target.exists() and not (target / UNITS).is_file():
        if not target.is_dir():
            raise ConfigError(f"{target} is a file. Name a directory.")
        if any(target.iterdir()):
            raise ConfigError(
                f"{target} holds something that hanlin prepare did not make. Name another "
                "directory."
            )


def load_tokenizer(given: "Tokenizer | str | Path | None") -> "Tokenizer | None":
    """Return the tokenizer that was named: by a directory, a file, or the name of a model."""
    if not isinstance(given, str | Path):
        return given
    from hanlin.models.named import resolve
    from hanlin.tokenizers import Tokenizer

    return Tokenizer.load(resolve(str(given)))


def _kept_tokenizer(tokenizer: "Tokenizer | None", partial: Path) -> Path | None:
    """Where the workers find the tokenizer: in the draft."""
    if tokenizer is None:
        return None
    directory = partial / TOKENIZER
    with writing(directory):
        tokenizer.save(directory)
    from hanlin.tokenizers import Tokenizer

    if Tokenizer.load(directory).hash != tokenizer.hash:
        raise ConfigError(
            "The tokenizer changes when it is saved and read again, so its ids cannot be trusted. "
            "Load it from a tokenizer.json."
        )
    return directory


def _standard_input(sources: Sequence[str | Path], partial: Path) -> Path | None:
    if "-" not in map(str, sources):
        return None
    path = partial / "stdin"
    spool(sys.stdin.buffer, path)
    return path


def _hashed(found: Sources, settings: Callable[[Any], str], progress: bool) -> list[Planned]:
    total = sum(file.size for file in found.files)
    with _progress("hashing", total, progress) as bar:
        return plan(found.files, settings, read=bar.advance)


def _stores(target: Path, partial: Path, layout: Layout, planned: Sequence[Planned]) -> list[Store]:
    """Where units may be copied from: the result before this one, and drafts that stopped fitting.

    A draft that does not begin as this plan does is moved aside to become one of them.
    """
    header, units, _ = read_units(partial / UNITS)
    if header is not None and not (header == layout.header() and continues(units, planned)):
        aside = partial / f"old-{time.time_ns()}"
        with writing(aside):
            aside.mkdir()
            for path in list(partial.iterdir()):
                if not path.name.startswith("old-") and path.name not in (_LOCK, "stdin"):
                    path.rename(aside / path.name)
    places = [target, *sorted(partial.glob("old-*"))]
    stores = [Store(place) for place in places if (place / UNITS).is_file()]
    return [
        store
        for store in stores
        if store.layout is not None
        and (store.layout.sides, store.layout.dtype) == (layout.sides, layout.dtype)
    ]


def _same(old: Store, planned: Sequence[Planned], settings: dict[str, Any]) -> bool:
    """Whether an earlier result is just what is planned, and whole."""
    finished = sum(record["last"] for record in old.records)
    return finished == len(planned) and continues(old.records, planned) and _whole(old, settings)


def _whole(store: Store, settings: dict[str, Any]) -> bool:
    assert store.layout is not None
    for side in store.layout.sides:
        manifest = read_manifest(store.directory / side)
        if manifest is None or manifest["settings"] != settings:
            return False
        for shard in manifest["shards"]:
            for name, facts in shard["files"].items():
                path = store.directory / side / name
                if not path.is_file() or path.stat().st_size != facts["bytes"]:
                    return False
    return True


def _work(
    draft: Draft,
    planned: Sequence[Planned],
    stores: Sequence[Store],
    job: Job,
    workers: int | None,
    progress: bool,
) -> int:
    """Make and write every unit that is not there; return how many were made."""
    total = sum(one.file.size for one in planned)
    if workers is None:
        workers = 1 if total <= _FEW else usable_cores()
    made = 0
    before = sum(
        one.file.size for one, own in recorded(planned, draft.units) if own and own[-1]["last"]
    )
    synced = time.monotonic()
    todo: Iterator[Step] = steps(planned, list(draft.units), stores, job.read)
    with (
        _progress("preparing", total, progress) as bar,
        closing(perform(job, todo, workers=workers)) as done,
    ):
        bar.update(before)
        for step, results in done:
            if step.ready is not None:
                results = [step.ready]
            else:
                made += len(results)
            for (one, unit_key, last), (runs, account) in zip(step.units, results, strict=True):
                draft.append(unit_key, last=last, runs=runs, account=account)
                if last:
                    before += one.file.size
            inside = 0 if step.units[-1][2] else step.position
            bar.update(before + inside)
            if time.monotonic() - synced > _SYNC_EVERY:
                draft.sync()
                synced = time.monotonic()
    return made


def _progress(title: str, total: int, shown: bool) -> Progress:
    return Progress(title, total=total, unit="B", silent_for=2.0 if shown else float("inf"))


def _nothing_left(units: Sequence[dict[str, Any]], found: Sources) -> None:
    """Raise `InputError` where nothing at all was kept, with the reasons."""
    if any(unit["account"]["bytes"] for unit in units):
        return
    problems = [problem for unit in units for problem in unit["account"]["problems"]]
    if problems:
        raise InputError(f"No document could be read. {problems[0]}")
    dropped = dropped_reasons(units)
    if dropped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise InputError(f"No document is left; dropped: {reasons}. Change the stages or the text.")
    hidden = f" ({found.hidden} hidden ones were left out)" if found.hidden else ""
    where = ", ".join(found.named)
    if not found.files:
        raise InputError(f"There are no files in {where}{hidden}. Name others.")
    raise InputError(f"There is no text in {where}: every file is empty. Name others.")


def _both_sides(draft: Draft) -> None:
    """Raise `ConfigError` where nothing was chosen for one side."""
    for number, side in enumerate(draft.layout.sides):
        if not draft.text_bytes(number):
            raise ConfigError(
                f"No document was chosen for {side}: there are too few. Split the text into more "
                "(such as --split paragraph), change the share, or leave validation out."
            )


def _publish(partial: Path, target: Path, *, keep_out: Path | None) -> None:
    """Put the whole draft in the place of the output."""
    with writing(target):
        for path in partial.glob("old-*"):
            shutil.rmtree(path)
        if keep_out is not None:
            keep_out.unlink()
        old = target.parent / f".{target.name}.old"
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
        partial.rename(target)
        (target / _LOCK).unlink()
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _place(partial: Path) -> Iterator[None]:
    """Make the draft's directory and hold it alone; one without anything of use goes again.

    Raises `ConfigError` where another process holds it.
    """
    with writing(partial):
        partial.mkdir(parents=True, exist_ok=True)
    with (partial / _LOCK).open("wb") as file:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ConfigError(
                    f"Another process is preparing {partial.name[1:].removesuffix('.partial')} "
                    "right now. Wait for it, or name another directory."
                ) from error
        try:
            yield
        except BaseException as error:
            started = read_units(partial / UNITS)[1] or any(partial.glob("old-*"))
            if isinstance(error, InputError) or not started:
                shutil.rmtree(partial, ignore_errors=True)
            raise
