"""What a run will come to, before it begins: ``--dry-run``.

Parameters and operations are counted, speed and activations measured on a few steps of the very
model, the loss is the range of a scaling law (`scaling.py`) and said to be one.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hanlin.models.config import ModelConfig
from hanlin.provenance import machine
from hanlin.training.config import TrainConfig
from hanlin.training.cost import (
    count,
    flops_per_token,
    machine_peak,
    optimizer_bytes,
    outline,
)
from hanlin.training.measuring import Measured, measure
from hanlin.training.scaling import expected_loss


@dataclass(frozen=True, kw_only=True)
class CorpusFacts:
    """What there is to learn from."""

    tokens: int
    """Of the training part."""
    bytes: int
    """UTF-8 bytes these stand for."""
    documents: int = 0
    difficulty: float = 1.0
    """How hard the text is to predict beside English prose; see `scaling.difficulty`."""
    estimated: bool = False
    """Told from a sample."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A run as it can be foreseen. Bytes, seconds, operations a second."""

    parameters: int
    embedding_parameters: int
    flops_per_token: float
    """Of a training step, per token read."""
    tokens_per_step: int
    steps: int
    tokens: int
    epochs: float
    seconds: float
    """Training alone, without evaluations and saves."""
    tokens_per_second: float
    peak_flops: float
    """What large matrix products reach on this machine in this precision."""
    share_of_peak: float
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    """Of one micro-batch of one process."""
    memory_bytes: int
    """All of these together."""
    available_bytes: int | None
    """Memory of this machine."""
    checkpoint_bytes: int
    disk_bytes: int
    """Of all checkpoints that are kept, one more while it is written, and the final model."""
    loss: tuple[float, float] | None
    """Lowest and highest bits per byte to expect on held-out text; None where no law is known."""

    def to_dict(self) -> dict[str, Any]:
        """The fields for JSON."""
        return asdict(self)

    def lines(self, language: str = "en") -> list[str]:
        """The forecast for a person, in English or Chinese ("zh")."""
        zh = language == "zh"
        blocks = self.parameters - self.embedding_parameters
        share = f"{self.share_of_peak:.0%}"
        loss = "没有可用的经验规律" if zh else "no law is known for it"
        if self.loss is not None:
            low, high = self.loss
            loss = f"{low:.2f} – {high:.2f}" + (
                "，外推自更大规模的规律（Kaplan 2020, Muennighoff 2023），仅供参考"
                if zh
                else ", from laws of larger runs (Kaplan 2020, Muennighoff 2023): a rough guide"
            )
        memory = (
            f"{_bytes(self.weight_bytes)} + {_bytes(self.gradient_bytes)} + "
            f"{_bytes(self.optimizer_bytes)} + {_bytes(self.activation_bytes)}"
        )
        if zh:
            return [
                f"参数：{_short(self.parameters)}，其中 {_short(blocks)} 在各层，"
                f"{_short(self.embedding_parameters)} 在词表",
                f"计算：每个词元 {_short(self.flops_per_token)} 次浮点运算；"
                f"每秒 {_short(self.tokens_per_second)} 个词元，"
                f"达到实测峰值 {_short(self.peak_flops)}FLOP/s 的 {share}",
                f"时间：{_time(self.seconds, zh=True)}，{self.steps} 步，"
                f"{_short(self.tokens)} 个词元，{self.epochs:.2f} 轮",
                f"内存：{_bytes(self.memory_bytes)}（权重 + 梯度 + 优化器 + 激活：{memory}）",
                f"磁盘：每个检查点 {_bytes(self.checkpoint_bytes)}，共 {_bytes(self.disk_bytes)}",
                f"预计验证集每字节比特：{loss}",
                *self._warnings(zh=True),
            ]
        return [
            f"parameters: {_short(self.parameters)}, of which {_short(blocks)} in the blocks and "
            f"{_short(self.embedding_parameters)} in tables of the vocabulary",
            f"compute: {_short(self.flops_per_token)} operations a token; "
            f"{_short(self.tokens_per_second)} tokens/s, {share} of the measured peak of "
            f"{_short(self.peak_flops)}FLOP/s",
            f"time: {_time(self.seconds)}, {self.steps} steps, {_short(self.tokens)} tokens, "
            f"{self.epochs:.2f} epochs",
            f"memory: {_bytes(self.memory_bytes)} (weights + gradients + optimiser + activations: "
            f"{memory})",
            f"disk: {_bytes(self.checkpoint_bytes)} a checkpoint, {_bytes(self.disk_bytes)} in all",
            f"bits per byte to expect on the validation part: {loss}",
            *self._warnings(zh=False),
        ]

    def _warnings(self, *, zh: bool) -> list[str]:
        if self.available_bytes is None or self.memory_bytes < 0.9 * self.available_bytes:
            return []
        have = _bytes(self.available_bytes)
        if zh:
            return [f"这台机器只有 {have} 内存：请减小 batch.micro，或打开 checkpoint.activation。"]
        return [
            f"This machine has {have} of memory: lower batch.micro, or set checkpoint.activation."
        ]


def forecast(
    config: TrainConfig,
    model: ModelConfig,
    corpus: CorpusFacts,
    *,
    measured: Measured | None = None,
    peak: float | None = None,
    world: int = 1,
    tokens_per_step: int | None = None,
) -> Forecast:
    """Foresee the run of `config` with this model on this text and machine, in some seconds.

    measured, peak: what was measured already. world: processes, each with a machine like this one.
    tokens_per_step: padding included, where texts are shorter than batch.length.
    """
    whole = outline(model)
    parameters = count(whole)
    learnt = parameters.total
    if config.method.kind == "lora":
        from hanlin.models.lora import apply_lora

        apply_lora(whole, config.method)
        learnt = sum(p.numel() for p in whole.parameters() if p.requires_grad)
    per_step = (
        tokens_per_step or config.batch.tokens or config.batch.sequences * config.batch.length
    )
    length = config.batch.length
    if tokens_per_step is not None:
        length = min(length, -(-tokens_per_step // config.batch.sequences))
    name = config.objective.name
    flops = flops_per_token(whole, objective=name, length=length)
    measured = measured or measure(model, config)
    peak = peak or machine_peak(config.precision)
    step_seconds = measured.token_seconds * per_step / world + measured.step_seconds
    speed = per_step / step_seconds
    seconds = min(
        {
            "steps": amount * step_seconds,
            "tokens": amount / speed,
            "epochs": amount * corpus.tokens / speed,
            "seconds": amount,
        }[unit]
        for unit, amount in config.duration.amounts.items()
    )
    steps = max(1, round(seconds / step_seconds))
    tokens = steps * per_step
    micro = config.batch.micro or -(-config.batch.sequences // world)
    shared = world if config.distributed == "fsdp" else 1
    weights = 4 * parameters.total // shared
    averages = optimizer_bytes(whole, config.optimizer) // shared
    activations = round(measured.token_bytes * per_step * micro / config.batch.sequences)
    loss = None
    if config.fresh and name == "causal-lm" and corpus.tokens:
        read = tokens * corpus.bytes / corpus.tokens
        loss = expected_loss(
            parameters=parameters.blocks,
            read_bytes=read,
            unique_bytes=corpus.bytes,
            difficulty=corpus.difficulty,
        )
    checkpoint = 4 * learnt + optimizer_bytes(whole, config.optimizer)
    have = machine().get("memory_bytes")
    return Forecast(
        parameters=parameters.total,
        embedding_parameters=parameters.embedding,
        flops_per_token=flops,
        tokens_per_step=per_step,
        steps=steps,
        tokens=tokens,
        epochs=tokens / max(corpus.tokens, 1),
        seconds=steps * step_seconds,
        tokens_per_second=speed,
        peak_flops=peak * world,
        share_of_peak=speed * flops / (peak * world),
        weight_bytes=weights,
        gradient_bytes=4 * learnt // shared,
        optimizer_bytes=averages,
        activation_bytes=activations,
        memory_bytes=weights + 4 * learnt // shared + averages + activations,
        available_bytes=have if isinstance(have, int) else None,
        checkpoint_bytes=checkpoint,
        disk_bytes=checkpoint * (config.checkpoint.keep + 1) + 4 * learnt,
        loss=loss,
    )


def _short(number: float) -> str:
    for scale, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= scale:
            return f"{number / scale:.3g} {letter}"
    return f"{number:.3g} "


def _bytes(number: float) -> str:
    return f"{_short(number)}B"


def _time(seconds: float, *, zh: bool = False) -> str:
    units: Mapping[str, str] = {"hours": "小时", "minutes": "分钟", "seconds": "秒"}
    for unit, scale in (("hours", 3600), ("minutes", 60), ("seconds", 1)):
        if seconds >= 2 * scale or unit == "seconds":
            return f"{seconds / scale:.3g} {units[unit] if zh else unit}"
    raise AssertionError
