"""The loop: batches by step number, gradients, one optimiser step; saving, looking, stopping.

A step's loss is the sum over its targets divided by their number, of all micro-batches and all
processes, so that how a batch is cut changes nothing but rounding. Nothing in the loop depends on
its own history beyond weights, optimiser and counters: batches are a function of the step number,
dropout of (seed, step, micro-batch, process), the learning rate of how much of the run is over.
That is what makes a resumed run the same run.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hanlin.data.batch import Batch
from hanlin.data.loader import Loader
from hanlin.errors import HanlinError
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.averaging import Average
from hanlin.training.checkpoints import Checkpoint, Checkpoints
from hanlin.training.distributed import World, gathering
from hanlin.training.durations import Duration
from hanlin.training.events import EvaluationRecord, Plan, Sample, StepRecord, TrainResult, Watcher
from hanlin.training.guard import Guard
from hanlin.training.optimizers import Optimizer, clip_gradients
from hanlin.training.place import Place
from hanlin.training.signals import Signals
from hanlin.training.validation import Validation

Batches = Generator[tuple[int, list[Batch]], None, None]
_RECENT = 100  # steps that the loss of the result is a mean over, at most


@dataclass(frozen=True, kw_only=True)
class Loop:
    """The settings of the loop itself."""

    duration: Duration
    save_every: Duration
    evaluate_every: Duration | None = None
    """None: ten times over the run."""
    evaluate_start: bool = False
    """Before the first step too."""
    rate: Callable[[Place, Place], float]
    """Factor of the highest learning rate for the step between two places."""
    clip: float | None = 1.0
    bf16: bool = False
    seed: int = 0


class Trainer:
    """One run in one process; `run` goes through it, from the start or from a checkpoint."""

    def __init__(
        self,
        loop: Loop,
        *,
        model: Transformer,
        loss: nn.Module,
        optimizer: Optimizer,
        loader: Loader,
        guard: Guard,
        checkpoints: Checkpoints,
        tokenizer: Tokenizer,
        plan: Plan,
        identity: Mapping[str, Any],
        world: World,
        validation: Validation | None = None,
        samples: Callable[[], Sequence[Sample]] | None = None,
        judge: Callable[[bool], Mapping[str, float]] | None = None,
        average: Average | None = None,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        """`loss` is the model with its objective, spread over the processes: `distributed.spread`.

        `identity` goes into every checkpoint: what must be the same for the run to go on.
        """
        self.loop = loop
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.loader = loader
        self.guard = guard
        self.checkpoints = checkpoints
        self.tokenizer = tokenizer
        self.plan = plan
        self.identity = identity
        self.world = world
        self.validation = validation
        self.samples = samples
        self.judge = judge
        self.average = average
        self.watchers = watchers if world.first else ()
        self.place = Place()
        self.evaluations: dict[int, dict[str, float]] = {}
        """Step -> what was found there."""
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._took = 0.0  # by the last step
        self._saved = -1
        self._owed = loop.evaluate_start
        """An evaluation is due before the next step; it was when the last checkpoint was saved."""

    def restore(self, checkpoint: Checkpoint) -> None:
        """Stand where the checkpoint was written; `checkpoints.restore` puts the tensors back."""
        state = checkpoint.state
        self.place = Place(**state["place"])
        self.guard.restore(state["guard"])
        self._recent.extend(state["recent"])
        self._owed = state["evaluation_due"]
        self._saved = self.place.step
        self.evaluations = self.checkpoints.evaluations(self.place.step)
        self.checkpoints.clear(self._best)  # what a killed process was about to delete

    def run(self) -> TrainResult:
        """Train to the end, or until a signal. Raises `HanlinError` where the guard gives up."""
        plan = replace(
            self.plan,
            start_step=self.place.step,
            start_tokens=self.place.tokens,
            start_seconds=self.place.seconds,
        )
        for watcher in self.watchers:
            watcher.start(plan)
        with torch.random.fork_rng(devices=[]), Signals() as signals:
            if self._owed and self.place.step not in self.evaluations:
                self._evaluate()
            self._train(signals)
            stopped = self._agree(signals) and not self._is_over()
            if stopped:
                self._save(evaluation_due=False)
            else:
                self._save(evaluation_due=self.validation is not None)
                if self.place.step not in self.evaluations:
                    self._evaluate(everything=True)
                if self.average is not None:
                    self.average.keep()
        signal = (signals.received or 15) if stopped else None
        return self._result(signal)

    @property
    def over(self) -> bool:
        """Whether the duration is over."""
        return self._is_over()

    def _is_over(self) -> bool:
        return self.place.share(self.loop.duration) >= 1

    def _train(self, signals: Signals) -> None:
        self.loss.train()
        batches = self.loader.prefetch(self.place.step)
        begin = self.place
        try:
            while not self._is_over() and not self._agree(signals):
                before = self.place
                record = self._step(batches, signals)
                if record is None:
                    return
                left = self._left(begin)
                for watcher in self.watchers:
                    watcher.step(replace(record, eta_seconds=left))
                if self.guard.exhausted:
                    self._give_up(record)
                if self._is_over():
                    return
                look = self._evaluation_due(before)
                if look or self.place.passed(self.loop.save_every, before):
                    self._save(evaluation_due=look)
                if look:
                    self._evaluate()
                    self.loss.train()
        finally:
            batches.close()

    def _agree(self, signals: Signals) -> bool:
        """Whether any process was asked to leave."""
        return self.world.sum([signals.received is not None])[0] > 0

    def _step(self, batches: Batches, signals: Signals) -> StepRecord | None:
        """One step of the optimiser; None where a signal came before it was whole."""
        begin = time.monotonic()
        number, micro = next(batches)
        assert number == self.place.step
        counts = [[b.target_tokens, b.target_bytes, b.tokens] for b in micro]
        targets, size, tokens = self.world.sum(
            [sum(column) for column in zip(*counts, strict=True)]
        )
        losses = []
        for index, batch in enumerate(micro):
            if signals.received is not None and self.world.size == 1:
                self.optimizer.zero_grad()  # the half step is not lost: it is made anew
                return None
            last = index == len(micro) - 1
            torch.manual_seed(noise_seed(self.loop.seed, number, index, self.world.rank))
            losses.append(self._backward(batch, 1 / max(targets, 1), last=last))
        [total] = self.world.sum([torch.stack(losses).double().sum().item()])
        loss = total / max(targets, 1)
        norm = float(clip_gradients(self.model.parameters(), self.loop.clip))
        self.optimizer.set_lr(self.loop.rate(self.place, self._next(int(tokens), self._took)))
        reason = self.guard.check(loss, norm)
        if not reason:
            self.optimizer.step()
            if self.average is not None:
                self.average.update(number)
        self.optimizer.zero_grad()
        # The first one's clock, for all: what is due, and the rate, must be the same everywhere.
        mine = time.monotonic() - begin if self.world.first else 0.0
        [took] = self.world.sum([mine])
        self._took = took
        self.place = self._next(int(tokens), took)
        if not reason:
            self._recent.append(loss)
        speed = tokens / took
        peak = self.plan.peak_flops
        return StepRecord(
            step=self.place.step,
            tokens=self.place.tokens,
            epoch=self.place.epoch,
            loss=loss,
            bits_per_byte=total / math.log(2) / size if size else None,
            lr=self.optimizer.lr,
            grad_norm=norm,
            tokens_per_second=speed,
            share_of_peak=speed * self.plan.flops_per_token / peak / self.world.size
            if peak
            else None,
            seconds=self.place.seconds,
            progress=self.place.share(self.loop.duration),
            eta_seconds=None,
            skipped=bool(reason),
            reason=reason,
            targets=int(targets),
        )

    def _next(self, tokens: int, seconds: float) -> Place:
        """The place after the step that is being made."""
        return Place(
            step=self.place.step + 1,
            tokens=self.place.tokens + tokens,
            epoch=self.loader.epoch_at(self.place.step + 1),
            seconds=self.place.seconds + seconds,
        )

    def _backward(self, batch: Batch, scale: float, *, last: bool) -> Tensor:
        """Add a micro-batch's gradients; returns the sum of its losses."""
        batch = batch.to(self.world.device)
        autocast = torch.autocast(
            self.world.device.type,
            torch.bfloat16,
            enabled=self.loop.bf16 and self.world.kind != "fsdp",
        )
        with gathering(self.loss, last=last):
            with autocast:
                loss: Tensor = self.loss(batch)
            # DDP and FSDP take the mean over processes; what is wanted is the sum.
            torch.autograd.backward(loss * (scale * self.world.size))
        return loss.detach()

    def _evaluation_due(self, before: Place) -> bool:
        if self.validation is None:
            return False
        if self.loop.evaluate_every is not None:
            return self.place.passed(self.loop.evaluate_every, before)
        now, then = (p.share(self.loop.duration) for p in (self.place, before))
        return math.floor(now * 10) > math.floor(then * 10)

    def _evaluate(self, *, everything: bool = False) -> None:
        """Look at the validation part; saved first, so that nothing is lost should this fail."""
        if self.validation is None:
            return
        begin = time.monotonic()
        self.loss.eval()
        # Batches of other sizes and single tokens would each be compiled for, a minute at a time.
        averaged: AbstractContextManager[None] = nullcontext()
        if self.average is not None:
            averaged = self.average.applied()
        with torch.compiler.set_stance("force_eager"), averaged:
            found = self.validation.look(self.loss, self.world, everything=everything)
            samples = tuple(self.samples()) if self.samples else ()
            metrics = dict(self.judge(everything)) if self.judge else {}
        metrics |= {name: found[name] for name in self.validation.measures}
        self.evaluations[self.place.step] = {**metrics, **found}
        record = EvaluationRecord(
            step=self.place.step,
            tokens=self.place.tokens,
            loss=found["loss"],
            perplexity=found["perplexity"],
            bits_per_byte=found.get("bits_per_byte"),
            seconds=self.place.seconds,
            samples=samples,
            targets=int(found["targets"]),
            best=self._best == self.place.step,
            took=time.monotonic() - begin,
            metrics=metrics,
        )
        for watcher in self.watchers:
            watcher.evaluation(record)
        # Noted when it has been told: killed in between, a run looks again, and tells it once. What
        # was found before the first step is noted with the next.
        if self.world.first and self.place.step:
            self.checkpoints.note(self.evaluations)
            self.checkpoints.clear(self._best)

    @property
    def _best(self) -> int | None:
        """The trained step of the lowest loss, of those over as much text as the first."""
        found = {step: one for step, one in self.evaluations.items() if step}
        alike = [s for s in found if found[s]["targets"] == found[min(found)]["targets"]]
        return min(alike, key=lambda s: found[s]["loss"], default=None)

    def _save(self, *, evaluation_due: bool) -> None:
        if self._saved == self.place.step:
            return
        state = {
            "place": vars(self.place),
            "guard": self.guard.state(),
            "recent": list(self._recent),
            "evaluation_due": evaluation_due,
            "threads": torch.get_num_threads(),
            "world": self.world.size,
            **self.identity,
        }
        step = self.place.step
        path = self.checkpoints.save(
            step, self.model, self.optimizer, state, tokenizer=self.tokenizer
        )
        self._saved = step
        self.checkpoints.clear(self._best)
        for watcher in self.watchers:
            watcher.saved(step, path)

    def _give_up(self, record: StepRecord) -> None:
        self._save(evaluation_due=False)
        for watcher in self.watchers:
            watcher.end(replace(self._result(None), finished=False))
        raise HanlinError(
            f"Training stopped at step {record.step}: {self.guard.row} steps in a row were "
            f"left out ({record.reason}). Start a new run with a lower optimizer.lr; "
            f"{self.checkpoints.place(record.step)} holds the model as it was before them."
        )

    def _left(self, begin: Place) -> float | None:
        """Seconds to the end at the pace since `begin`."""
        now, then = self.place.share(self.loop.duration), begin.share(self.loop.duration)
        if now <= then:
            return None
        return (self.place.seconds - begin.seconds) / (now - then) * (1 - now)

    def _result(self, signal: int | None) -> TrainResult:
        wanted = max(1, min(_RECENT, self.place.step // 10))
        recent = list(self._recent)[-wanted:]
        found = self.evaluations.get(max(self.evaluations, default=-1), {})
        return TrainResult(
            output=self.plan.output,
            steps=self.place.step,
            tokens=self.place.tokens,
            train_loss=sum(recent) / len(recent) if recent else math.nan,
            validation=found,
            seconds=self.place.seconds,
            finished=signal is None,
            signal=signal,
        )


def noise_seed(seed: int, step: int, micro: int, rank: int) -> int:
    """The seed of dropout for one micro-batch of one process: a function of where it stands."""
    words = np.random.SeedSequence((seed, step, micro, rank)).generate_state(2, np.uint32)
    return int(words[0]) << 31 | int(words[1]) >> 1
