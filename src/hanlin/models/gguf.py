"""A language model inside one ``.gguf`` file, seen as the Hugging Face model it was converted from.

Tensors get back their Hugging Face names, row order (llama.cpp interleaves the rotary halves of
queries and keys in Llama files) and offsets (Gemma's norms are stored plus one). Nothing is read
until it is asked for.

Names: the GGUF specification's "standardized tensor names".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hanlin.errors import FormatError, NotFoundError, nearest
from hanlin.formats.gguf import GGMLType, GGUFFile, TensorInfo
from hanlin.kernels.dequantise import SUPPORTED, dequantise
from hanlin.models.gguf_config import hf_config

_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_QK_NORM = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_FOUR_NORMS = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_LAYER_NAMES: dict[str, dict[str, str]] = {
    "llama": _LAYER,
    "qwen2": _LAYER,
    "qwen3": _LAYER | _QK_NORM,
    "gemma": _LAYER,
    "gemma2": _LAYER | _FOUR_NORMS,
    "gemma3": _LAYER | _FOUR_NORMS | _QK_NORM,
}
"""Parts of a block: GGUF's name to Hugging Face's, by architecture."""

_ROPE_FACTORS = "rope_freqs.weight"


@dataclass(frozen=True)
class GGUFModel:
    """A model in a GGUF file: its configuration, and its tensors on demand."""

    file: GGUFFile
    hf_config: dict[str, Any]
    """The equivalent Hugging Face ``config.json``."""
    stored: Mapping[str, TensorInfo]
    """By Hugging Face name: where the tensor lies in the file, under its own name."""
    architecture: str
    """GGUF's name for it, e.g. ``gemma3``."""

    @property
    def tensor_names(self) -> list[str]:
        """Hugging Face names, in the file's order."""
        return list(self.stored)

    @property
    def tokenizer_metadata(self) -> Mapping[str, Any]:
        """The file's metadata; ``tokenizer.*`` describes the tokenizer and chat template."""
        return self.file.metadata

    def raw_type(self, hf_name: str) -> GGMLType:
        """Return how a tensor is stored; raises `NotFoundError`."""
        return self._info(hf_name).type

    def shape(self, hf_name: str) -> tuple[int, ...]:
        """Return a tensor's shape; raises `NotFoundError`."""
        return self._info(hf_name).shape

    def raw(self, hf_name: str) -> Tensor:
        """Return a matrix as stored, uint8 [rows, bytes of a row], rows in Hugging Face's order.

        What `kernels` that multiply quantised blocks need. Queries and keys of Llama files are
        copied, others are views of the file. Raises `NotFoundError`.
        """
        info = self._info(hf_name)
        rows = self.file.raw(info.name).reshape(prod(info.shape[:-1]), -1)
        heads = self._interleaved_heads(info.name)
        if heads is not None:
            # llama.cpp rotates neighbouring channels, transformers the two halves of a head.
            rows = rows.reshape(heads, -1, 2, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)
        return torch.from_numpy(rows)

    def tensor(self, hf_name: str, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return a tensor's numbers, rounded once from float32 to `dtype`.

        Stored as asked for, it is a copy-on-write view of the file. Raises `NotFoundError`.
        """
        info = self._info(hf_name)
        if self.architecture.startswith("gemma") and info.name.endswith("norm.weight"):
            return (self._numbers(info, torch.float32) - 1).to(dtype)
        if self._interleaved_heads(info.name) is None:
            return self._numbers(info, dtype)
        if len(info.shape) == 1:  # a bias: one number is no whole block, so order the numbers
            return self._numbers(info, dtype).view(-1).index_select(0, self._bias_order(info))
        return dequantise(self.raw(hf_name).view(-1), info.type, info.shape, dtype=dtype)

    def _numbers(self, info: TensorInfo, dtype: torch.dtype) -> Tensor:
        return dequantise(self.file.raw(info.name), info.type, info.shape, dtype=dtype)

    def _bias_order(self, info: TensorInfo) -> Tensor:
        heads = self._interleaved_heads(info.name)
        assert heads is not None
        return torch.arange(info.shape[0]).view(heads, -1, 2).transpose(1, 2).reshape(-1)

    def _interleaved_heads(self, name: str) -> int | None:
        """How many heads' channels a tensor interleaves; None when it is in order."""
        if self.architecture != "llama":
            return None
        part = name.split(".")[-2]
        keys = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}
        return self.hf_config[keys[part]] if part in keys else None

    def _info(self, hf_name: str) -> TensorInfo:
        info = self.stored.get(hf_name)
        if info is None:
            raise NotFoundError(
                f"{self.file.path} has no tensor {hf_name!r}.{nearest(hf_name, self.tensor_names)} "
                "See `.tensor_names`."
            )
        return info


def read_gguf(path: str | Path) -> GGUFModel:
    """Open a model in a GGUF file and check that it is whole; tensors are read when asked for.

    Raises `NotFoundError` when there is no such file, `FormatError` naming the key or tensor that
    is missing, unknown, of the wrong shape, or of a type that has no reader.
    """
    file = GGUFFile.open(path)
    embedding = file.tensors.get("token_embd.weight")
    factors = None
    if (info := file.tensors.get(_ROPE_FACTORS)) is not None:
        factors = dequantise(file.raw(info.name), info.type, info.shape).numpy().astype(np.float32)
    config = hf_config(
        file.metadata,
        path=file.path,
        tensor_names=frozenset(file.tensors),
        vocab_rows=embedding.shape[0] if embedding and embedding.shape else 0,
        rope_factors=factors,
    )
    architecture: str = file.metadata["general.architecture"]
    expected = _expected(config, architecture)
    return GGUFModel(file, config, _match(file, expected), architecture)


def _expected(config: dict[str, Any], architecture: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """GGUF name -> Hugging Face name and shape, for every tensor the configuration implies."""
    hidden, width, vocab = (
        config["hidden_size"], config["intermediate_size"], config["vocab_size"],
    )  # fmt: skip
    head_dim = config.get("head_dim", hidden // config["num_attention_heads"])
    query = config["num_attention_heads"] * head_dim
    key = config["num_key_value_heads"] * head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "attn_q": (query, hidden),
        "attn_k": (key, hidden),
        "attn_v": (key, hidden),
        "attn_output": (hidden, query),
        "ffn_gate": (width, hidden),
        "ffn_up": (width, hidden),
        "ffn_down": (hidden, width),
        "attn_q_norm": (head_dim,),
        "attn_k_norm": (head_dim,),
    }
    biased: tuple[str, ...] = ()
    if architecture == "qwen2" or config.get("attention_bias"):
        biased += ("attn_q", "attn_k", "attn_v")
    if config.get("attention_bias"):
        biased += ("attn_output",)
    if config.get("mlp_bias"):
        biased += ("ffn_gate", "ffn_up", "ffn_down")
    expected = {
        "token_embd.weight": ("model.embed_tokens.weight", (vocab, hidden)),
        "output_norm.weight": ("model.norm.weight", (hidden,)),
    }
    if not config["tie_word_embeddings"]:
        expected["output.weight"] = ("lm_head.weight", (vocab, hidden))
    for layer in range(config["num_hidden_layers"]):
        for part, hf_part in _LAYER_NAMES[architecture].items():
            name, hf_name = f"blk.{layer}.{part}", f"model.layers.{layer}.{hf_part}"
            shape = shapes.get(part, (hidden,))
            expected[f"{name}.weight"] = (f"{hf_name}.weight", shape)
            if part in biased:
                expected[f"{name}.bias"] = (f"{hf_name}.bias", shape[:1])
    return expected


def _match(
    file: GGUFFile, expected: dict[str, tuple[str, tuple[int, ...]]]
) -> dict[str, TensorInfo]:
    if missing := [name for name in expected if name not in file.tensors]:
        raise FormatError(
            f"{file.path} lacks {len(missing)} of its {len(expected)} tensors, the first "
            f"{missing[0]!r}. Download or convert it again."
        )
    stored: dict[str, TensorInfo] = {}
    for name, info in file.tensors.items():
        if name == _ROPE_FACTORS:
            continue
        if name not in expected:
            raise FormatError(
                f"{file.path} has the tensor {name!r}, which its architecture does not use here. "
                "It may be a variant of the model that is not supported."
            )
        hf_name, shape = expected[name]
        if info.shape != shape:
            raise FormatError(
                f"{file.path}: tensor {name!r} has shape {list(info.shape)}, its metadata implies "
                f"{list(shape)}. Download or convert it again."
            )
        if info.type not in SUPPORTED:
            raise FormatError(
                f"{file.path}: tensor {name!r} is of type {info.type.name}, which is not "
                f"supported. Use a file quantised as one of "
                f"{', '.join(kind.name for kind in SUPPORTED)}."
            )
        stored[hf_name] = info
    return stored
