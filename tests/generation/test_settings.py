"""Settings are validated by name; a generation_config.json means here what it means elsewhere."""

import dataclasses
from typing import Any

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from hanlin.errors import ConfigError
from hanlin.generation import Sampling

WRONG = {
    "max_new_tokens": [0, -1, 2.5, True, "9", None],
    "min_new_tokens": [-1, 1.5],
    "max_length": [0],
    "min_length": [-3],
    "temperature": [-0.1, float("nan"), float("inf"), "hot", None],
    "top_k": [-1, 1.5],
    "top_p": [0, 1.1, -0.5],
    "min_p": [-0.1, 1.5],
    "typical_p": [0, 2],
    "repetition_penalty": [0, -1],
    "frequency_penalty": [-2.1, 3],
    "presence_penalty": [-2.1, 3],
    "no_repeat_ngram": [-1],
    "logit_bias": [{-1: 2.0}, {"a": 1.0}, {3: "b"}, {3: float("nan")}, {3: float("inf")}],
    "banned": [((),), ((-1,),), (("a",),)],
    "forced_first": [-1, 0.5],
    "forced_last": [-1],
    "stop": ["one string", ("",), (3,)],
    "stop_ids": [(-1,), ("a",), (True,)],
    "eos_ids": [(-1,)],
    "ignore_eos": [1, None],
    "seed": [-1, 2**64, 0.5],
    "n": [0, 1.5],
    "beams": [0],
    "length_penalty": [float("nan"), "long"],
    "early_stopping": ["always", None],
    "logprobs": [-1, 21, True],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_setting_out_of_range_is_an_error_that_names_it(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        Sampling(**{name: value})


def test_every_setting_has_its_wrong_values_above() -> None:
    assert {f.name for f in dataclasses.fields(Sampling)} == set(WRONG)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"n": 3, "beams": 2}, "n is 3"),
        ({"beams": 2, "top_p": 0.5}, "top_p"),
        ({"beams": 2, "temperature": 0.7}, "temperature"),
        ({"beams": 2, "seed": 4}, "seed"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "min_new_tokens 9"),
    ],
)
def test_settings_that_contradict_each_other_are_an_error(settings: dict, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Sampling(**settings)


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'temperature'"):
        Sampling().with_changes(temprature=1)


@given(st.integers(), st.floats(allow_nan=True), st.integers(), st.floats())
def test_any_numbers_either_pass_or_raise_config_error(tokens, heat, k, p) -> None:
    try:
        settings = Sampling(max_new_tokens=tokens, temperature=heat, top_k=k, top_p=p)
    except ConfigError:
        return
    assert settings.max_new_tokens >= 1
    assert settings.temperature >= 0
    assert settings.top_k >= 0
    assert 0 < settings.top_p <= 1


def test_the_generation_configs_of_real_models() -> None:
    llama = {
        "bos_token_id": 128000, "do_sample": True, "eos_token_id": [128001, 128008, 128009],
        "temperature": 0.6, "top_p": 0.9, "transformers_version": "4.45.0.dev0",
    }  # fmt: skip
    assert Sampling.from_generation_config(llama) == Sampling(
        temperature=0.6, top_p=0.9, eos_ids=(128001, 128008, 128009)
    )
    qwen = {
        "bos_token_id": 151643, "pad_token_id": 151643, "do_sample": True,
        "eos_token_id": [151645, 151643], "repetition_penalty": 1.05, "temperature": 0.7,
        "top_p": 0.8, "top_k": 20, "transformers_version": "4.37.0",
    }  # fmt: skip
    assert Sampling.from_generation_config(qwen) == Sampling(
        temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.05, eos_ids=(151645, 151643)
    )
    bart = {
        "_from_model_config": True, "bos_token_id": 0, "decoder_start_token_id": 2,
        "early_stopping": True, "eos_token_id": 2, "forced_bos_token_id": 0,
        "forced_eos_token_id": 2, "length_penalty": 2.0, "max_length": 142, "min_length": 56,
        "no_repeat_ngram_size": 3, "num_beams": 4, "pad_token_id": 1,
    }  # fmt: skip
    assert Sampling.from_generation_config(bart) == Sampling(
        temperature=0, early_stopping=True, eos_ids=(2,), forced_first=0, forced_last=2,
        length_penalty=2.0, max_length=142, max_new_tokens=142, min_length=56, no_repeat_ngram=3,
        beams=4,
    )  # fmt: skip
    marian = {
        "bad_words_ids": [[65000]], "bos_token_id": 0, "decoder_start_token_id": 65000,
        "eos_token_id": 0, "forced_eos_token_id": 0, "max_length": 512, "num_beams": 6,
        "pad_token_id": 65000, "renormalize_logits": True,
    }  # fmt: skip
    assert Sampling.from_generation_config(marian, max_new_tokens=9) == Sampling(
        temperature=0, banned=((65000,),), eos_ids=(0,), forced_last=0, max_new_tokens=9, beams=6
    )


def test_transformers_own_defaults_mean_greedy() -> None:
    written = transformers.GenerationConfig().to_dict()
    assert Sampling.from_generation_config(written) == Sampling(temperature=0)
    sampled = transformers.GenerationConfig(do_sample=True, temperature=0.7).to_dict()
    assert Sampling.from_generation_config(sampled) == Sampling(temperature=0.7)


def test_an_override_wins_and_a_temperature_turns_sampling_on() -> None:
    config = {"temperature": 0.6, "top_p": 0.9, "eos_token_id": 7}
    assert Sampling.from_generation_config(config).temperature == 0
    warm = Sampling.from_generation_config(config, temperature=0.8)
    assert (warm.temperature, warm.top_p, warm.eos_ids) == (0.8, 0.9, (7,))
    greedy = Sampling.from_generation_config({**config, "do_sample": True}, temperature=0)
    assert greedy.temperature == 0


@pytest.mark.parametrize(
    "option", [{"penalty_alpha": 0.6}, {"begin_suppress_tokens": [220]}, {"made_up_option": 1}]
)
def test_an_option_we_lack_is_an_error_unless_it_is_neutral(option: dict) -> None:
    [name] = option
    with pytest.raises(ConfigError, match=name):
        Sampling.from_generation_config(option)


def test_settings_can_be_had_without_torch() -> None:
    import subprocess
    import sys

    code = "import sys; from hanlin.generation import Sampling; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("override", [{"temperature": "x"}, {"beams": "x"}, {"temperature": None}])
def test_an_override_of_the_wrong_type_is_named(override: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(override))):
        Sampling.from_generation_config({}, **override)
