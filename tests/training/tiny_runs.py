"""A whole training run of a few thousand weights, put together by hand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hanlin.data.batch import Batch
from hanlin.data.loader import Loader
from hanlin.data.tokens import TokenArray
from hanlin.models.new import new_config
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.tokenizers import train as learn
from hanlin.training.checkpoints import Checkpoints, restore
from hanlin.training.config import GuardSettings, OptimizerSettings
from hanlin.training.distributed import LossOf, World, spread
from hanlin.training.durations import Duration
from hanlin.training.events import EvaluationRecord, Plan, StepRecord, TrainResult
from hanlin.training.guard import Guard
from hanlin.training.objectives import OBJECTIVES, Objective
from hanlin.training.optimizers import build_optimizer
from hanlin.training.place import rate
from hanlin.training.schedules import Schedule
from hanlin.training.trainer import Loop, Trainer
from hanlin.training.validation import Validation
from tiny_models import CORPUS, word_tokenizer

FAMILIES = {"causal-lm": "gpt2", "masked-lm": "bert", "span-corruption": "t5", "denoising": "bart"}


def objective_and_tokenizer(name: str) -> tuple[Objective, Tokenizer]:
    """An objective with its defaults, and a small tokenizer that suits it."""
    if name == "masked-lm":
        return OBJECTIVES[name](), word_tokenizer()
    special = ["<|endoftext|>", "<pad>", "<mask>", *(f"<extra_id_{i}>" for i in range(20))]
    tokenizer = learn(CORPUS, kind="bpe", vocab_size=400, special_tokens=special)
    return OBJECTIVES[name](), tokenizer


TWELVE, FOUR, FIVE = Duration(steps=12), Duration(steps=4), Duration(steps=5)
ADAMW, COSINE, GUARD, ALONE = OptimizerSettings(), Schedule(), GuardSettings(), World()


@dataclass
class Recorder:
    """A watcher that keeps what it is told, and may do something at each step."""

    at_step: Callable[[StepRecord], None] = lambda record: None
    steps: list[StepRecord] = field(default_factory=list)
    evaluations: list[EvaluationRecord] = field(default_factory=list)
    saves: list[int] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def start(self, plan: Plan) -> None:
        pass

    def step(self, record: StepRecord) -> None:
        self.steps.append(record)
        self.at_step(record)

    def evaluation(self, record: EvaluationRecord) -> None:
        self.evaluations.append(record)

    def saved(self, step: int, path: Path) -> None:
        self.saves.append(step)

    def message(self, text: str) -> None:
        self.messages.append(text)

    def end(self, result: TrainResult) -> None:
        pass


def tiny_trainer(
    output: Path,
    *,
    objective: str = "causal-lm",
    duration: Duration = TWELVE,
    sequences: int = 4,
    micro: int | None = 2,
    length: int = 24,
    dropout: float = 0.1,
    optimizer: OptimizerSettings = ADAMW,
    schedule: Schedule = COSINE,
    guard: GuardSettings = GUARD,
    save_every: Duration = FOUR,
    evaluate_every: Duration | None = FIVE,
    evaluate_start: bool = False,
    world: World = ALONE,
    watchers: Sequence[Any] = (),
    bf16: bool = False,
    resume: bool = False,
    keep: int = 2,
    loss: Callable[[Objective, Transformer, Batch], torch.Tensor] | None = None,
    seed: int = 0,
) -> Trainer:
    """A trainer over the corpus of `tiny_models`; with `resume` where its last checkpoint is."""
    task, tokenizer = objective_and_tokenizer(objective)
    source = TokenArray.encode(CORPUS, tokenizer)
    config = new_config(
        FAMILIES[objective], tokenizer=tokenizer, hidden_size=32, num_layers=2, num_heads=4,
        max_context=64, dropout=dropout,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = Transformer(config)
    examples = task.examples(source, tokenizer=tokenizer, length=length, seed=seed)
    held = task.examples(source, tokenizer=tokenizer, length=length, seed=seed, validation=True)
    place = {"rank": world.rank, "world": world.size}
    loader = Loader(examples, task.collate, sequences=sequences, micro=micro, seed=seed, **place)
    looking = Loader(held, task.collate, sequences=sequences, seed=seed, **place)

    def own_loss(model: Transformer, batch: Batch) -> torch.Tensor:
        return task.loss(model, batch) if loss is None else loss(task, model, batch)

    wrapped = spread(LossOf(model, own_loss), world, bf16=bf16)
    stepper = build_optimizer(model, optimizer)
    checkpoints = Checkpoints(output / "checkpoints", world, keep=keep)
    plan = Plan(
        output=output, config={}, objective=objective, shape=config.shape, parameters=1,
        flops_per_token=1.0, train_tokens=source.tokens, train_documents=source.documents,
        validation_tokens=source.tokens, validation_documents=source.documents,
        tokens_per_step=sequences * length, steps_per_epoch=loader.steps_per_epoch,
        duration=str(duration), total_steps=duration.steps,
    )  # fmt: skip
    loop = Loop(
        duration=duration, save_every=save_every, evaluate_every=evaluate_every, bf16=bf16,
        rate=rate(schedule, duration), seed=seed, clip=optimizer.clip,
        evaluate_start=evaluate_start,
    )  # fmt: skip
    trainer = Trainer(
        loop, model=model, loss=wrapped, optimizer=stepper, loader=loader, guard=Guard(guard),
        checkpoints=checkpoints, tokenizer=tokenizer, plan=plan, identity={}, world=world,
        validation=Validation(looking, tokens=None, bf16=bf16), watchers=watchers,
    )  # fmt: skip
    if resume:
        newest = checkpoints.whole()[-1]
        restore(newest, model, stepper)
        trainer.restore(newest)
    return trainer


def weights(model: Transformer) -> dict[str, torch.Tensor]:
    """Copies of a model's parameters, by name."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}
