"""A run put together from its settings, and gone through: `hanlin.train`.

result = hanlin.train("train.yaml", overrides=["duration=2000 steps"])
result = hanlin.train("runs/first/config.yaml", resume=True)
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hanlin.config import write_config
from hanlin.data.loader import Loader
from hanlin.models.exchange import write_text
from hanlin.reports.words import locale_language
from hanlin.training.averaging import Average
from hanlin.training.beginning import CONFIG, alone, begin, device_of, settings_of
from hanlin.training.budget import Budget
from hanlin.training.checkpoints import Checkpoint, Checkpoints, restore
from hanlin.training.config import TrainConfig
from hanlin.training.corpus import read_corpus, size_of
from hanlin.training.cost import machine_peak
from hanlin.training.distributed import LossOf, World, gather_model, join, spread
from hanlin.training.ending import learnt_length, leave_model
from hanlin.training.events import TrainResult, Watcher
from hanlin.training.guard import Guard
from hanlin.training.judging import Judge, judging
from hanlin.training.memory import keep_freed_memory
from hanlin.training.objectives import Distil
from hanlin.training.objectives.distilling import Lessons
from hanlin.training.optimizers import build_optimizer
from hanlin.training.place import rate
from hanlin.training.plans import plan_of
from hanlin.training.rates import optimizer_of
from hanlin.training.remembering import check_remembered
from hanlin.training.replay import Replayed
from hanlin.training.resuming import identity, refuse_another_run
from hanlin.training.samples import sampler
from hanlin.training.starting_model import starting_model, with_reference
from hanlin.training.trainer import Loop, Trainer
from hanlin.training.validation import Validation
from hanlin.training.watch import watchers as usual_watchers

_PEAK = 0.2  # seconds for which the machine's peak is measured


def train(
    config: str | Path | Mapping[str, Any] | TrainConfig,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    watchers: Sequence[Watcher] | None = None,
    judge: Judge | None = None,
) -> TrainResult:
    """Train a model; its directory is `TrainResult.output`, which `hanlin.load` takes.

    config: a YAML file, a mapping, or a `TrainConfig`; overrides: ``key.path=value``. With `resume`
    an earlier run in the same output goes on where its newest whole checkpoint is. watchers: told
    what happens; those of `hanlin.training.watch` when None. judge: measures a task's model at
    every look at the validation part. SIGINT and SIGTERM save a checkpoint and return a result that
    is not `finished`.

    Raises `ConfigError` for settings that are wrong, an output that holds another run, or a resumed
    run that is not the same; `HanlinError` where the disk is full or the guard gives up.
    """
    settings, choice = settings_of(config, overrides, resume=resume)
    if settings.budget is not None and (cores := Budget.parse(settings.budget).cores):
        torch.set_num_threads(cores)
    world = join(settings.distributed, device=device_of(settings))
    told: Sequence[Watcher] = ()
    if world.first:
        told = usual_watchers(settings.track) if watchers is None else watchers
    for line in choice.lines(locale_language()) if choice else ():
        for watcher in told:
            watcher.message(line)
    keep_freed_memory()
    with alone(settings.output, world):
        checkpoints = Checkpoints(
            settings.output / "checkpoints",
            world,
            keep=settings.checkpoint.keep,
            keep_every=settings.checkpoint.keep_every,
        )
        found = begin(settings, checkpoints, world, told, resume=resume)
        result = _run(settings, checkpoints, found, world, told, judge)
    for watcher in told:
        watcher.end(result)
    world.leave()
    return result


def _run(
    settings: TrainConfig,
    checkpoints: Checkpoints,
    found: Checkpoint | None,
    world: World,
    told: Sequence[Watcher],
    judge: Judge | None,
) -> TrainResult:
    def tell(text: str) -> None:
        for watcher in told:
            watcher.message(text)

    if not world.first:
        world.wait()  # the first process prepares the text, the others read what it made
    corpus = read_corpus(settings, again=found is not None or not world.first, tell=tell)
    if world.first:
        world.wait()
    bf16 = settings.precision == "bf16"
    network, objective, parents = starting_model(
        settings, settings.objective.build(), corpus.records, corpus.tokenizer, found, tell=tell
    )
    objective = with_reference(settings, objective)
    # What a student learns is its task, whoever teaches it.
    learnt = objective.task if isinstance(objective, Distil) else objective
    # Kept by checkpoints: the model it began with need not be there when it goes on.
    length = learnt_length(settings) if found is None else found.state["length"]
    mine = identity(settings, corpus, network.config) | {"parents": parents, "length": length}
    if found is None:
        check_remembered(settings, learnt, corpus.tokenizer, network.config)
    else:
        refuse_another_run(found.state, mine)
        if torch.get_num_threads() != found.state["threads"]:
            tell(
                f"This run used {found.state['threads']} threads and now has "
                f"{torch.get_num_threads()}: sums may round otherwise than they would have."
            )
    network.checkpointing = settings.checkpoint.activation
    if settings.compile:
        network.compile_blocks()
    measure, measures = getattr(objective, "measure", None), getattr(objective, "measures", ())
    loss = spread(LossOf(network, objective.loss, measure), world, bf16=bf16)
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
    new = examples = objective.examples(corpus.train, **cut)
    if isinstance(new, Lessons):
        new = new.examples
    if settings.data.replay is not None:
        old = objective.examples(corpus.replay, **cut)
        share = settings.data.replay.share
        examples = Replayed(examples, old, share=share, seed=settings.seed)
    loader = Loader(examples, objective.collate, **common)
    for note in loader.notes:
        tell(note)
    epochs = 1 / loader.steps_per_epoch
    tokens = size_of(corpus.train, examples)[0] * epochs
    step = settings.duration.ratio(step=1, epochs=epochs, tokens=tokens)
    optimizer = build_optimizer(network, optimizer_of(settings, network, step=step, tell=tell))
    held = validation = None
    if corpus.validation is not None:
        held = objective.examples(corpus.validation, validation=True, **cut)
        looking = Loader(held, objective.collate, **common)
        validation = Validation(
            looking, tokens=settings.evaluate.tokens, bf16=bf16, measures=measures
        )
    if found is not None:
        restore(found, network, optimizer)
    peak = machine_peak(settings.precision, seconds=_PEAK) if world.first else None
    plan = plan_of(settings, corpus, network, loader, held, world, peak=peak)
    trainer = Trainer(
        Loop(
            duration=settings.duration,
            save_every=settings.checkpoint.every,
            evaluate_every=settings.evaluate.every,
            evaluate_start=settings.evaluate.start,
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
        judge=judging(judge, network, corpus.tokenizer, learnt, corpus.validation, world)
        if judge is not None and not measures and isinstance(corpus.validation, list)
        else None,
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
        leave_model(
            whole,
            settings,
            objective=objective,
            learnt=learnt,
            corpus=corpus,
            examples=new,
            held=held,
            result=result,
            parents=parents,
            length=length,
            tell=tell,
        )
    world.wait()
    return result


def resume_command(output: Path) -> str:
    """The command line that goes on with the run in `output`."""
    return f"hanlin train {shlex.quote(str(output / CONFIG))} --resume"
