"""hanlin's models under lm-evaluation-harness (Gao et al. 2021), as its model ``hanlin``.

    lm = HarnessModel("runs/assistant/model")
    lm_eval.simple_evaluate(model=lm, tasks=["arc_easy"])

or, from a shell, its own command with this module imported first:

    python -m hanlin.evaluation.harness run --model hanlin --model_args pretrained=DIR --tasks ...

Needs ``pip install 'hanlin[harness]'``. The harness's three questions are answered as its own
``hf`` model answers them; options after the same text share the reading of it.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hanlin.errors import ConfigError, InputError
from hanlin.evaluation.benchmarks.continuations import continued
from hanlin.evaluation.benchmarks.options import Choice, Pairs, score_options
from hanlin.progress import Progress
from hanlin.tasks import LanguageModel, load
from hanlin.tasks.scoring import Asked, log_probabilities

try:
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
except ImportError as error:
    raise ConfigError(
        f"lm-evaluation-harness cannot be imported ({error}). Install it: "
        "pip install 'hanlin[harness]'."
    ) from error

if TYPE_CHECKING:
    from hanlin.tasks import Model

_UNLIMITED = 4096
"""Tokens of context of a model that has no limit of its own."""
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""What the tasks of the harness call the number of tokens to generate, by precedence."""


@register_model("hanlin")
class HarnessModel(LM):  # type: ignore[misc]
    """A language model as the harness asks it."""

    def __init__(
        self,
        pretrained: "str | Path | Model",
        *,
        batch_size: int | str = 32,
        dtype: str = "float32",
        max_length: int | None = None,
        max_gen_toks: int = 256,
        seed: int = 0,
        device: str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        """A model, or what `hanlin.load` takes.

        batch_size: rows computed together ("auto" is 32); no answer depends on it beyond rounding.
        max_length: tokens of context (default: the model's). max_gen_toks: where a task names none.
        seed: of what is drawn. Raises `ConfigError` for another device than the processor and
        `InputError` for what is no language model.
        """
        super().__init__()
        if device not in (None, "cpu"):
            # The harness's command means the first GPU where nothing is said.
            raise ConfigError(
                f"hanlin computes on the processor, not on {device!r}. Give --device cpu."
            )
        if max_batch_size is not None:
            raise ConfigError("The batch size is not searched for. Leave max_batch_size out.")
        text = str(batch_size).partition(":")[0]
        if text != "auto" and not (text.isdigit() and int(text) > 0):
            raise ConfigError(f"batch_size is {batch_size!r}; it must be at least 1, or auto.")
        named = isinstance(pretrained, str | Path)
        model = load(pretrained, dtype=dtype) if isinstance(pretrained, str | Path) else pretrained
        if not isinstance(model, LanguageModel):
            raise InputError(f"{model.name} is {model.kind}. The harness asks a language model.")
        if not named and dtype != "float32":
            raise ConfigError("The model is loaded already, so dtype would be ignored.")
        longest = model.context or _UNLIMITED
        if max_length is not None and not 1 <= int(max_length) <= longest:
            raise ConfigError(f"max_length is {max_length}; {model.name} reads at most {longest}.")
        self.lm = model
        self.batch_size = 32 if text == "auto" else int(text)
        self.max_length = longest if max_length is None else int(max_length)
        self.max_gen_toks = int(max_gen_toks)
        self._seed = int(seed)
        self._pairs = Pairs(model)

    # What the harness asks

    def loglikelihood(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Of each (text, continuation): the log likelihood, and whether it is the greedy one."""
        asked: dict[str, dict[str, None]] = {}
        for request in requests:
            text, continuation = request.args
            asked.setdefault(text, {})[continuation] = None
        choices = [Choice(text, tuple(options)) for text, options in asked.items()]
        with self._progress("log likelihoods", len(choices), silent=disable_tqdm) as progress:
            scored = score_options(
                self.lm,
                choices,
                batch=self.batch_size,
                context=self.max_length,
                progress=progress.advance,
            )
        found = {
            (choice.text, option): (one.log_likelihood, one.is_greedy)
            for choice, options in zip(choices, scored, strict=True)
            for option, one in zip(choice.options, options, strict=True)
        }
        return [
            self._kept("loglikelihood", request.args, found[tuple(request.args)])
            for request in requests
        ]

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """Of each text as a whole: its log likelihood, read in the harness's own windows."""
        if self._pairs.reads_apart:
            raise ConfigError(
                f"{self.lm.name} is an encoder-decoder: it gives a text no likelihood of its own. "
                "Choose tasks with a question and an answer."
            )
        asked, counts = [], []
        for request in requests:
            [text] = request.args
            pieces = get_rolling_token_windows(
                token_list=self._pairs.text_ids(text),
                prefix_token=self._pairs.start(),
                max_seq_len=self.max_length,
                context_len=1,
            )
            windows = [make_disjoint_window(piece) for piece in pieces]
            asked += [Asked([*before, *after], len(before)) for before, after in windows]
            counts.append(len(windows))
        order = sorted(range(len(asked)), key=lambda i: -len(asked[i].ids))
        sums = [0.0] * len(asked)
        with self._progress("texts", len(asked), silent=disable_tqdm) as progress:
            for first in range(0, len(order), self.batch_size):
                some = order[first : first + self.batch_size]
                scored = log_probabilities(
                    self.lm.network, [asked[i] for i in some], context=self.max_length
                )
                for i, one in zip(some, scored, strict=True):
                    sums[i] = float(one.logprobs.sum())
                progress.advance(len(some))
        each = iter(sums)
        return [
            self._kept("loglikelihood_rolling", request.args, sum(next(each) for _ in range(count)))
            for request, count in zip(requests, counts, strict=True)
        ]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each text, up to one of the strings at which it is to end."""
        groups: dict[str, tuple[Mapping[str, Any], Counter[str]]] = {}
        for request in requests:
            text, settings = request.args
            groups.setdefault(repr(settings), (settings, Counter()))[1][text] += 1
        written: dict[tuple[str, str], list[str]] = {}
        with self._progress("writing", len(requests), silent=disable_tqdm) as progress:
            for key, (settings, texts) in groups.items():
                for text, answers in self._written(settings, texts, progress):
                    written[key, text] = answers
        # Asked several times, a question gets one draw after the other.
        answers = []
        for request in requests:
            text, settings = request.args
            answer = written[repr(settings), text].pop(0)
            answers.append(self._kept("generate_until", request.args, answer))
        return answers

    def _written(
        self, settings: Mapping[str, Any], texts: Counter[str], progress: Progress
    ) -> list[tuple[str, list[str]]]:
        options = dict(settings)
        lengths = [options.pop(name, None) for name in _LENGTHS]
        tokens = int(next((one for one in lengths if one is not None), self.max_gen_toks))
        stop = options.pop("until", None) or []
        stop = [one for one in ([stop] if isinstance(stop, str) else stop) if one]
        draws = options.pop("do_sample", float(options.get("temperature") or 0) > 0)
        if draws:
            options.setdefault("temperature", 1.0)
        else:
            options = {k: v for k, v in options.items() if k not in ("top_k", "top_p", "min_p")}
            options["temperature"] = 0.0
        if not 0 < tokens < self.max_length:
            raise ConfigError(
                f"{tokens} tokens are to be generated, but the context has {self.max_length} in "
                "all. Set max_gen_toks lower."
            )
        results = []
        for times in sorted(set(texts.values())):
            same = [text for text in texts if texts[text] == times]
            several = {"n": times} if draws and times > 1 else {}
            sampling = self.lm.settings(
                **options,
                **several,
                **({"seed": self._seed} if draws else {}),
                max_new_tokens=tokens,
                stop=tuple(stop),
            )

            def told(prompts: int, times: int = times) -> None:
                progress.advance(prompts * times)

            written = continued(
                self.lm,
                same,
                sampling,
                batch=self.batch_size,
                context=self.max_length,
                progress=told,
            )
            for text, found in zip(same, written.texts, strict=True):
                results.append((text, found if several else found * times))
        return results

    # Conversations

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The text of a conversation, up to where the answer begins or, without
        `add_generation_prompt`, to the end of what the last message says, to be gone on with."""
        text = self.lm.tokenizer.apply_chat(
            chat_history, add_generation_prompt=add_generation_prompt
        )
        if add_generation_prompt:
            return text
        last = chat_history[-1]["content"].strip()
        return text[: text.rindex(last) + len(last)]

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template's source, which the harness notes. Raises `ConfigError` for a name."""
        if chat_template is False or chat_template is None:
            return None
        if isinstance(chat_template, str):
            raise ConfigError(
                f"There is no chat template {chat_template!r}: a model has one. Give True."
            )
        template = self.lm.tokenizer.chat_template
        if template is None:
            raise ConfigError(f"{self.lm.name} has no chat template. Leave it out.")
        return template.source

    @property
    def tokenizer_name(self) -> str:
        """The model's name, which the harness puts into names of cached requests."""
        return f"{Path(self.lm.name).name}-{self.lm.tokenizer.hash[:8]}"

    def get_model_info(self) -> dict[str, Any]:
        """What the harness writes beside its results."""
        network = self.lm.network
        return {
            "model_num_parameters": sum(p.numel() for p in network.parameters()),
            "model_dtype": str(network.dtype),
            "model_revision": "",
            "model_sha": "",
        }

    def _kept(self, what: str, arguments: Any, answer: Any) -> Any:
        self.cache_hook.add_partial(what, arguments, answer)
        return answer

    def _progress(self, title: str, total: int, *, silent: bool) -> Progress:
        return Progress(title, total=total, silent_for=float("inf") if silent else 2.0)


def main() -> None:
    """The harness's own command, with ``--model hanlin`` known to it and ``--device cpu`` given."""
    from lm_eval.__main__ import cli_evaluate

    sys.argv[0] = "lm_eval"
    if "hanlin" in sys.argv and "--device" not in sys.argv:
        sys.argv += ["--device", "cpu"]
    cli_evaluate()


if __name__ == "__main__":
    main()
