"""Tiny random models, ours and transformers' with the same weights, and a vocabulary of bytes."""

import codecs

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from hanlin.models.config import ModelConfig
from hanlin.models.transformer import Transformer

VOCABULARY = 64


class Bytes:
    """Token i stands for one given string of bytes; text is their concatenation."""

    def __init__(self, spellings: list[bytes], *, eos_ids: tuple[int, ...] = ()) -> None:
        self.spellings = spellings
        self.eos_ids = eos_ids

    def stream(self) -> "_Stream":
        return _Stream(self)

    def token_bytes(self, token: int) -> bytes:
        return self.spellings[token]

    def decode(self, tokens: list[int]) -> str:
        return b"".join(self.spellings[t] for t in tokens).decode("utf-8", "replace")


class _Stream:
    def __init__(self, vocabulary: Bytes) -> None:
        self.vocabulary = vocabulary
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        return self.decoder.decode(self.vocabulary.spellings[token])

    def finish(self) -> str:
        return self.decoder.decode(b"", final=True)


def letters(size: int = VOCABULARY, eos_ids: tuple[int, ...] = ()) -> Bytes:
    """Every token is one visible character."""
    return Bytes([chr(48 + i).encode() for i in range(size)], eos_ids=eos_ids)


def decoder_pair(
    seed: int, *, eos: int | list[int] | None = 2, context: int = 128, spread: float = 0.3
) -> tuple[Transformer, LlamaForCausalLM]:
    """A two-layer Llama here and there; `spread` sets how peaked its predictions are."""
    torch.manual_seed(seed)
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=context,
            bos_token_id=1,
            eos_token_id=eos,
            pad_token_id=0,
            initializer_range=spread,
            tie_word_embeddings=False,
        )
    ).eval()
    ends = () if eos is None else tuple(eos) if isinstance(eos, list) else (eos,)
    ours = Transformer(
        ModelConfig(
            family="llama",
            shape="decoder",
            head="language-model",
            vocab_size=VOCABULARY,
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            num_kv_heads=2,
            intermediate_size=48,
            max_context=context,
            norm_eps=theirs.config.rms_norm_eps,
            tie_embeddings=False,
            bos_id=1,
            eos_ids=ends,
            pad_id=0,
        )
    ).eval()
    weights = theirs.state_dict()
    with torch.no_grad():
        ours.embedding.weight.copy_(weights["model.embed_tokens.weight"])
        ours.head.projection.weight.copy_(weights["lm_head.weight"])
        ours.decoder.final_norm.weight.copy_(weights["model.norm.weight"])
        for i, block in enumerate(ours.decoder.layers):
            _copy_block(block, weights, f"model.layers.{i}.")
    return ours, theirs


def _copy_block(block: nn.Module, weights: dict[str, torch.Tensor], prefix: str) -> None:
    def joined(*names: str) -> torch.Tensor:
        return torch.cat([weights[f"{prefix}{name}.weight"] for name in names])

    attention = [f"self_attn.{x}_proj" for x in "qkv"]
    block.attention.qkv.weight.copy_(joined(*attention))
    block.attention.out.weight.copy_(joined("self_attn.o_proj"))
    block.mlp.up.weight.copy_(joined("mlp.gate_proj", "mlp.up_proj"))
    block.mlp.down.weight.copy_(joined("mlp.down_proj"))
    block.attention_norm.weight.copy_(joined("input_layernorm"))
    block.mlp_norm.weight.copy_(joined("post_attention_layernorm"))
