"""PEFT's adapter_config.json, in and out: what is understood is taken, all else is refused.

PEFT has some thirty kinds of adapters and some forty settings of LoRA. hanlin computes LoRA, DoRA
and rank-stabilised LoRA of linear layers; a setting that would change what is computed and that it
does not know is an error that names it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hanlin.errors import FormatError
from hanlin.models.config import HeadKind, ModelConfig
from hanlin.models.directory import read_json

CONFIG = "adapter_config.json"

# Of training, of speed, or read from the tensors themselves.
_BOOKKEEPING = frozenset(
    """auto_mapping base_model_name_or_path exclude_modules fan_in_fan_out inference_mode
    init_lora_weights layers_pattern layers_to_transform megatron_core modules_to_save peft_type
    peft_version qalora_group_size r revision target_modules task_type ephemeral_gpu_offload
    runtime_config loftq_config eva_config corda_config
    lora_ga_config ensure_weight_tying""".split()
)
_TAKEN = frozenset(
    "lora_alpha lora_dropout use_rslora use_dora rank_pattern alpha_pattern bias".split()
)
_PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
"""Ways to draw the first weights that leave the base as it is."""

_TASKS: dict[str, HeadKind] = {
    "CAUSAL_LM": "language-model",
    "SEQ_2_SEQ_LM": "language-model",
    "SEQ_CLS": "classify",
    "TOKEN_CLS": "tag",
    "QUESTION_ANS": "extract",
    "FEATURE_EXTRACTION": "none",
}


@dataclass(frozen=True, kw_only=True)
class PeftConfig:
    """What hanlin reads of an adapter_config.json."""

    base: str
    """The model it belongs to: a name or a path; empty where it does not say."""
    alpha: float
    alphas: Mapping[str, float]
    """Of modules whose name matches a pattern."""
    dropout: float
    dora: bool
    rank_stabilised: bool
    head: HeadKind | None
    """What the network ends in; None where the task does not say."""

    def alpha_of(self, module: str) -> float:
        """The alpha of a module, by transformers' name."""
        for pattern, alpha in self.alphas.items():
            if re.fullmatch(rf"(.*\.)?({pattern})", module):
                return alpha
        return self.alpha


def is_adapter(path: Path) -> bool:
    """Whether a directory holds an adapter and no model."""
    return (path / CONFIG).is_file() and not any(path.glob("model*.safetensors*"))


def read_peft_config(directory: Path) -> PeftConfig:
    """Read it; raises `FormatError` naming what hanlin does not compute."""
    path = directory / CONFIG
    raw = read_json(path)
    kind = raw.get("peft_type")
    if kind != "LORA":
        raise FormatError(
            f"{path} describes an adapter of the kind {kind}, and hanlin computes LORA (with DoRA "
            "and rank-stabilised scaling). Merge it with PEFT, and load the merged model."
        )
    if raw.get("bias", "none") != "none":
        raise FormatError(
            f"{path} sets bias to {raw['bias']!r}: it changes biases of the base model, which "
            "hanlin does not. Merge it with PEFT, and load the merged model."
        )
    start = raw.get("init_lora_weights")
    if start not in _PLAIN_STARTS:
        raise FormatError(
            f"{path} sets init_lora_weights to {start!r}: the adapter belongs to a changed base "
            "model. Convert it with PEFT (path_initial_model_for_weight_conversion)."
        )
    odd = [name for name, value in raw.items() if value and name not in _BOOKKEEPING | _TAKEN]
    if odd:
        raise FormatError(
            f"{path} sets {odd[0]} to {raw[odd[0]]!r}, which hanlin does not compute. Merge it "
            "with PEFT, and load the merged model."
        )
    alpha, alphas = raw.get("lora_alpha", 8), raw.get("alpha_pattern") or {}
    for value in (alpha, *(alphas.values() if isinstance(alphas, dict) else [alphas])):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FormatError(f"{path}: {value!r} is no lora_alpha. Write or fetch it again.")
    for pattern in alphas:
        try:
            re.compile(pattern)
        except re.error as error:
            raise FormatError(
                f"{path}: alpha_pattern has {pattern!r}, which is no pattern ({error}). Write or "
                "fetch it again."
            ) from error
    return PeftConfig(
        base=str(raw.get("base_model_name_or_path") or ""),
        alpha=float(alpha),
        alphas={str(name): float(value) for name, value in alphas.items()},
        dropout=float(raw.get("lora_dropout") or 0.0),
        dora=bool(raw.get("use_dora")),
        rank_stabilised=bool(raw.get("use_rslora")),
        head=_TASKS.get(str(raw.get("task_type"))),
    )


def task_type(config: ModelConfig) -> str | None:
    """The inverse: PEFT's name for what a network does; None where it has none."""
    if config.shape == "encoder-decoder" and config.head == "language-model":
        return "SEQ_2_SEQ_LM"
    return next((task for task, head in _TASKS.items() if head == config.head), None)
