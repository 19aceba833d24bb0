"""A run put together from its settings, and gone through: `hanlin.train`.

result = hanlin.train("train.yaml", overrides=["duration=2000 steps"])
result = hanlin.train("runs/first/config.yaml", resume=True)
"""

import contextlib
import hashlib
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hanlin.config import read_config, read_mapping, to_plain, write_config
from hanlin.data.loader import Loader
from hanlin.errors import ConfigError
from hanlin.models import load as load_model
from hanlin.models.config import ModelConfig
from hanlin.models.directory import read_config as read_model_config
from hanlin.models.exchange import write_text
from hanlin.models.named import resolve
from hanlin.models.new import new_config
from hanlin.models.stack import Block
from hanlin.models.transformer import Transformer
from hanlin.provenance import file_hash, record, versions
from hanlin.reports.words import locale_language
from hanlin.training.averaging import Average
from hanlin.training.budget import Budget, Choice, merge, settle
from hanlin.training.checkpoints import Checkpoint, Checkpoints, restore
from hanlin.training.config import TrainConfig
from hanlin.training.corpus import Corpus, read_corpus, size_of
from hanlin.training.cost import count, flops_per_token, machine_peak
from hanlin.training.distributed import LossOf, World, gather_model, join, spread
from hanlin.training.events import Plan, TrainResult, Watcher
from hanlin.training.finishing import write_model
from hanlin.training.guard import Guard
from hanlin.training.optimizers import build_optimizer
from hanlin.training.place import rate
from hanlin.training.resuming import identity, refuse_another_run
from hanlin.training.samples import sampler
from hanlin.training.trainer import Loop, Trainer
from hanlin.training.validation import Validation
from hanlin.training.watch import watchers as usual_watchers

CONFIG = "config.yaml"
_PEAK = 0.2  # seconds for which the machine's peak is measured
_TRACES = (CONFIG, "checkpoints", "config.json", "metrics.jsonl")


def train(
    config: str | Path | Mapping[str, Any] | TrainConfig,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    watchers: Sequence[Watcher] | None = None,
) -> TrainResult:
    """Train a model; its directory is `TrainResult.output`, which `hanlin.load` takes.

    config: a YAML file, a mapping, or a `TrainConfig`; overrides: ``key.path=value``. With `resume`
    an earlier run in the same output goes on where its newest whole checkpoint is. watchers: told
    what happens; those of `hanlin.training.watch` when None. SIGINT and SIGTERM save a checkpoint
    and return a result that is not `finished`.

    Raises `ConfigError` for settings that are wrong, an output that holds another run, or a resumed
    run that is not the same; `HanlinError` where the disk is full or the guard gives up.
    """
    settings, choice = _settle(config, overrides, resume=resume)
    if settings.budget is not None and (cores := Budget.parse(settings.budget).cores):
        torch.set_num_threads(cores)
    world = join(settings.distributed, device=_device(settings))
    told: Sequence[Watcher] = ()
    if world.first:
        told = usual_watchers(settings.track) if watchers is None else watchers
    for line in choice.lines(locale_language()) if choice else ():
        for watcher in told:
            watcher.message(line)
    with _alone(settings.output, world):
        checkpoints = Checkpoints(
            settings.output / "checkpoints",
            world,
            keep=settings.checkpoint.keep,
            keep_every=settings.checkpoint.keep_every,
        )
        found = _begin(settings, checkpoints, world, told, resume=resume)
        result = _run(settings, checkpoints, found, world, told)
    for watcher in told:
        watcher.end(result)
    world.leave()
    return result


def _settle(
    config: str | Path | Mapping[str, Any] | TrainConfig, overrides: Sequence[str], *, resume: bool
) -> tuple[TrainConfig, Choice | None]:
    """The settings, with what a budget chooses; a run that goes on keeps what was chosen."""
    given = to_plain(config) if isinstance(config, TrainConfig) else config
    raw = read_mapping(given, overrides, into=TrainConfig)
    if raw.get("budget") is not None:
        if resume and (kept := Path(str(raw.get("output"))) / CONFIG).is_file():
            chosen = read_mapping(kept, into=TrainConfig)
            if raw.get("duration") is not None:
                del chosen["duration"]
            return read_config(merge(chosen, raw), into=TrainConfig), None
        if raw.get("duration") is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError(
                "A budget is spent by one process, and torchrun started several. See what "
                "`hanlin train CONFIG --dry-run` chooses, and put that into the configuration."
            )
    return settle(raw)


def _device(settings: TrainConfig) -> str:
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is cuda, and PyTorch finds none here. Set device: cpu.")
    if settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return settings.device


@contextlib.contextmanager
def _alone(output: Path, world: World) -> Iterator[None]:
    """Hold the output alone; raises `ConfigError` where another process trains there."""
    if sys.platform == "win32" or not world.first:
        yield
        return
    import fcntl

    output.mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"Another process is training in {output} right now. Wait for it, or name another "
                "output."
            ) from error
        yield


def _begin(
    settings: TrainConfig,
    checkpoints: Checkpoints,
    world: World,
    told: Sequence[Watcher],
    *,
    resume: bool,
) -> Checkpoint | None:
    """The checkpoint to go on from; raises `ConfigError` where another run would be harmed."""
    output = settings.output
    world.wait()
    if not resume:
        if world.first and (traces := [name for name in _TRACES if (output / name).exists()]):
            raise ConfigError(
                f"{output} holds a run already ({traces[0]}). Go on with it by --resume, or name "
                "another output."
            )
        return None
    whole = checkpoints.whole()
    if whole:
        for watcher in told:
            watcher.message(f"Going on from step {whole[-1].step}: {whole[-1].path}")
        return whole[-1]
    for watcher in told:
        watcher.message(f"There is no checkpoint in {output}: starting from the beginning.")
    return None


def _run(
    settings: TrainConfig,
    checkpoints: Checkpoints,
    found: Checkpoint | None,
    world: World,
    told: Sequence[Watcher],
) -> TrainResult:
    def tell(text: str) -> None:
        for watcher in told:
            watcher.message(text)

    if not world.first:
        world.wait()  # the first process prepares the text, the others read what it made
    corpus = read_corpus(settings, again=found is not None or not world.first, tell=tell)
    if world.first:
        world.wait()
    objective = settings.objective.build()
    bf16 = settings.precision == "bf16"
    network, parents = _model(settings, corpus, found)
    mine = identity(settings, corpus, network.config) | {"parents": parents}
    if found is not None:
        refuse_another_run(found.state, mine)
        if torch.get_num_threads() != found.state["threads"]:
            tell(
                f"This run used {found.state['threads']} threads and now has "
                f"{torch.get_num_threads()}: sums may round otherwise than they would have."
            )
    network.checkpointing = settings.checkpoint.activation
    if settings.compile:
        for module in network.modules():
            if isinstance(module, Block):
                module.compile()
    loss = spread(LossOf(network, objective.loss), world, bf16=bf16)
    optimizer = build_optimizer(network, settings.optimizer)
    common: dict[str, Any] = {"seed": settings.seed, "rank": world.rank, "world": world.size}
    if settings.batch.tokens is not None:
        common |= {"tokens": settings.batch.tokens}
    else:
        common |= {"sequences": settings.batch.sequences, "micro": settings.batch.micro}
    cut: dict[str, Any] = {
        "tokenizer": corpus.tokenizer,
        "length": settings.batch.length,
        "seed": settings.seed,
    }
    examples = objective.examples(corpus.train, **cut)
    loader = Loader(examples, objective.collate, **common)
    for note in loader.notes:
        tell(note)
    held = validation = None
    if corpus.validation is not None:
        held = objective.examples(corpus.validation, validation=True, **cut)
        looking = Loader(held, objective.collate, **common)
        validation = Validation(looking, tokens=settings.evaluate.tokens, bf16=bf16)
    if found is not None:
        restore(found, network, optimizer)
    plan = _plan(settings, corpus, network, loader, world)
    trainer = Trainer(
        Loop(
            duration=settings.duration,
            save_every=settings.checkpoint.every,
            evaluate_every=settings.evaluate.every,
            rate=rate(settings.schedule, settings.duration),
            clip=settings.optimizer.clip,
            bf16=bf16,
            seed=settings.seed,
        ),
        model=network,
        loss=loss,
        optimizer=optimizer,
        loader=loader,
        guard=Guard(settings.guard),
        checkpoints=checkpoints,
        tokenizer=corpus.tokenizer,
        plan=plan,
        identity=mine,
        world=world,
        validation=validation,
        samples=sampler(
            network,
            objective,
            corpus.tokenizer,
            prompts=settings.evaluate.prompts,
            samples=settings.evaluate.samples,
            held=corpus.validation,
            examples=held,
            world=world,
            seed=settings.seed,
        ),
        average=None if settings.average is None else Average(optimizer, decay=settings.average),
        watchers=told,
    )
    if found is not None:
        trainer.restore(found)
    if trainer.over:
        tell(
            f"This run is finished: {settings.duration} are over after {trainer.place.step} steps. "
            "Give a longer duration to go on."
        )
    if world.first:
        write_text(settings.output / CONFIG, write_config(settings))
    result = trainer.run()
    if not result.finished:
        tell(f"Stopped after step {result.steps}. To go on: {resume_command(settings.output)}")
        return result
    whole = gather_model(network, world)
    if world.first:
        made = record(
            config=to_plain(settings),
            parents=parents,
            data=dict(corpus.hashes),
        )
        results = {k: v for k, v in result.as_json().items() if k != "output"}
        write_model(
            whole,
            settings.output,
            tokenizer=corpus.tokenizer,
            provenance={"task": objective.name, "provenance": made, "results": results},
        )
    world.wait()
    return result


def resume_command(output: Path) -> str:
    """The command line that goes on with the run in `output`."""
    return f"hanlin train {shlex.quote(str(output / CONFIG))} --resume"


def _model(
    settings: TrainConfig, corpus: Corpus, found: Checkpoint | None
) -> tuple[Transformer, dict[str, str]]:
    """The network to be trained in float32, and the hashes of what it was made from.

    That of a checkpoint has no weights yet: they are put back by `restore`.
    """
    if isinstance(settings.model, str):
        if found is not None:
            network = Transformer(read_model_config(found.path))
            parents = found.state["parents"]
        else:
            network = load_model(settings.model, dtype="float32")
            parents = {settings.model: _hash(resolve(settings.model))}
            for parameter in network.parameters():
                # Mapped from a file until now: training writes, and needs memory of its own.
                parameter.data = parameter.data.clone()
        _check_shape(settings, network.config)
        if corpus.tokenizer.vocab_size > network.config.vocab_size:
            raise ConfigError(
                f"The tokenizer has {corpus.tokenizer.vocab_size} tokens, {settings.model} embeds "
                f"{network.config.vocab_size}. Leave tokenizer out to use the model's own."
            )
        return network, parents
    given = dict(settings.model)
    family = given.pop("family")
    config = new_config(family, tokenizer=corpus.tokenizer, **given)
    torch.manual_seed(settings.seed)
    return Transformer(config), {}


def _hash(path: Path) -> str:
    """Of a model's weights: its file, or all files of its directory that hold some."""
    if path.is_file():
        return file_hash(path)
    files = sorted(path.glob("*.safetensors"))
    return hashlib.sha256("".join(map(file_hash, files)).encode()).hexdigest()


def _check_shape(settings: TrainConfig, config: ModelConfig) -> None:
    objective = settings.objective.build()
    if config.shape not in objective.shapes:
        raise ConfigError(
            f"{settings.model} is {'an' if config.shape[0] == 'e' else 'a'} {config.shape}, and "
            f"{objective.name} trains a {' or '.join(objective.shapes)}. Choose another objective."
        )


def _plan(
    settings: TrainConfig, corpus: Corpus, network: Transformer, loader: Loader, world: World
) -> Plan:
    duration = settings.duration
    return Plan(
        output=settings.output,
        config=to_plain(settings),
        objective=settings.objective.name,
        shape=network.config.shape,
        parameters=count(network).total,
        flops_per_token=flops_per_token(
            network, objective=settings.objective.name, length=settings.batch.length
        ),
        train_tokens=size_of(corpus.train)[0],
        train_documents=size_of(corpus.train)[1],
        validation_tokens=size_of(corpus.validation)[0],
        validation_documents=size_of(corpus.validation)[1],
        tokens_per_step=settings.batch.tokens or settings.batch.sequences * settings.batch.length,
        steps_per_epoch=loader.steps_per_epoch,
        duration=str(duration),
        total_steps=duration.steps,
        device=str(world.device),
        precision=settings.precision,
        peak_flops=machine_peak(settings.precision, seconds=_PEAK) if world.first else None,
        world=world.size,
        versions=versions(),
        seed=settings.seed,
    )
