"""``hanlin chat``: a conversation, streamed; its history, its / commands, and how it is stopped."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hanlin.cli import options
from hanlin.cli.conversation import Conversation
from hanlin.cli.generate import as_object, speed
from hanlin.cli.kinds import expect
from hanlin.cli.language import say
from hanlin.cli.output import check_text, coloured, decode, emit, note
from hanlin.errors import ConfigError, HanlinError, InputError, nearest

if TYPE_CHECKING:
    from hanlin.tasks import LanguageModel

_ANSWER_TOKENS = 512
"""Of an answer, where neither the user nor the model's directory says."""

COMMANDS: dict[str, tuple[str, str, str]] = {
    "/help": ("", "show these commands", "显示这些命令"),
    "/reset": ("", "forget what was said", "忘记之前的对话"),
    "/system": ("TEXT", "set or show the instructions", "设定或显示系统指令"),
    "/undo": ("", "take back the last question", "撤回上一个问题"),
    "/retry": ("", "answer the last question again", "重新回答上一个问题"),
    "/save": ("FILE", "save the conversation", "保存对话"),
    "/load": ("FILE", "go on with a saved one", "载入已保存的对话"),
    "/settings": ("KEY=VALUE", "set or show settings", "设定或显示生成参数"),
    "/exit": ("", "leave", "退出"),
}
"""Command -> its argument, and what it does in English and Chinese."""


@click.command(
    help=say(
        "Talk with MODEL. Type /help inside; Ctrl-C stops an answer, Ctrl-D leaves. "
        "From a pipe, each line is a message.",
        "与 MODEL 对话。输入 /help 查看命令；Ctrl-C 停止回答，Ctrl-D 退出。"
        "从管道输入时，每行是一条消息。",
    )
)
@click.argument("model")
@click.option("--message", help=say("Answer this and exit.", "回答这一条后退出。"))
@click.option("--system", help=say("Instructions for the model.", "给模型的系统指令。"))
@options.sampling
@options.dtype
@options.as_json
def command(
    model: str, message: str | None, system: str | None, dtype: str, as_json: bool, **settings: Any
) -> None:
    """Load the model and talk."""
    terminal = sys.stdin.isatty()
    if as_json and message is None and terminal:
        raise ConfigError("--json has no meaning in a conversation you type. Give a --message.")
    if message is not None and not check_text(message, name="--message").strip():
        raise InputError("The message is empty. Give it some words.")
    if system is not None:
        check_text(system, name="--system")

    from hanlin.tasks import LanguageModel, load

    lm = expect(load(model, dtype=dtype), LanguageModel, verb="chat", instead="`hanlin predict`")
    wanted = options.given(settings)
    options.note_unused_seed(wanted, lm.settings(**wanted))
    talk = Talk(lm, Conversation(system), wanted, as_json=as_json)
    if message is not None:
        talk.answer(message)
    elif terminal:
        talk.loop()
    else:
        for line in _piped_lines():
            talk.answer(line)


def _piped_lines() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, 1):
        text = decode(line, name=f"Line {number} of standard input").strip()
        if text:
            yield text


class Talk:
    """A conversation with a model over the terminal."""

    def __init__(
        self,
        lm: "LanguageModel",
        conversation: Conversation,
        settings: dict[str, Any],
        *,
        as_json: bool = False,
    ) -> None:
        self.lm = lm
        self.conversation = conversation
        self.settings = settings
        self.as_json = as_json
        if "max_new_tokens" not in settings and not (lm.defaults or {}).get("max_new_tokens"):
            self.settings = {"max_new_tokens": _ANSWER_TOKENS, **settings}
        lm.encode_chat(".")  # without a chat template it is refused before the first question

    def answer(self, text: str) -> None:
        """Ask the model and print its answer; a question that cannot be answered is taken back."""
        self.conversation.ask(text)
        try:
            self._respond()
        except (HanlinError, KeyboardInterrupt):
            self.conversation.undo()
            raise

    def _respond(self) -> None:
        limit = self.lm.settings(**self.settings).max_new_tokens
        if dropped := self.conversation.fit(self.lm, answer_tokens=limit):
            note(
                say(
                    f"(The conversation is full: its {dropped} oldest messages were dropped.)",
                    f"（对话过长：已丢弃最早的 {dropped} 条消息。）",
                )
            )
        messages = self.conversation.messages()
        if self.as_json:
            result = self.lm.chat(messages, **self.settings)
            self.conversation.answer(result.text)
            emit(as_object([result]), as_json=True, text="")
            return
        self._stream(messages)

    def _stream(self, messages: list[dict[str, str]]) -> None:
        start, tokens, parts = time.perf_counter(), 0, []
        reason = None
        try:
            for piece in self.lm.stream_chat(messages, **self.settings):
                parts.append(piece.text)
                print(piece.text, end="", flush=True)
                tokens += len(piece.tokens)
                reason = piece.finish_reason
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
            print(coloured(say(" [stopped]", " [已停止]"), "2"), flush=True)
            if parts:
                self.conversation.answer("".join(parts))
            else:
                self.conversation.undo()
            return
        print(flush=True)
        self.conversation.answer("".join(parts))
        if sys.stderr.isatty():
            cut = ""
            if reason == "length":
                cut = say(
                    " (cut; see /settings max_new_tokens)",
                    "（被截断；见 /settings max_new_tokens）",
                )
            line = speed(tokens, time.perf_counter() - start) + cut
            note(coloured(line, "2", stream=sys.stderr))

    def loop(self) -> None:
        """Read and answer until the user leaves."""
        _line_editing()
        note(
            say(
                f"Talking with {self.lm.name}. /help shows commands, Ctrl-D leaves.",
                f"正在与 {self.lm.name} 对话。/help 显示命令，Ctrl-D 退出。",
            )
        )
        leaving = False
        while True:
            try:
                text = input(say("you> ", "你> ")).strip()
            except EOFError:
                print()
                return
            except UnicodeDecodeError:
                note(say("That is not UTF-8.", "输入不是 UTF-8。"))
                continue
            except KeyboardInterrupt:
                print()
                if leaving:
                    return
                leaving = True
                note(say("(Ctrl-C again leaves.)", "（再按一次 Ctrl-C 退出。）"))
                continue
            leaving = False
            if not text:
                continue
            try:
                if not text.startswith("/"):
                    self.answer(check_text(text, name=say("That", "输入")))
                elif not self.obey(text):
                    return
            except KeyboardInterrupt:
                print()
            except HanlinError as error:
                note(f"hanlin: {error}")

    def obey(self, line: str) -> bool:
        """Carry out a / command; return whether the conversation goes on. Raises `HanlinError`."""
        name, _, argument = line.partition(" ")
        argument = argument.strip()
        if name not in COMMANDS:
            raise InputError(
                f"There is no command {name}.{nearest(name, list(COMMANDS))} See /help."
            )
        if argument and not COMMANDS[name][0]:
            raise InputError(f"{name} takes nothing after it. See /help.")
        if name in ("/save", "/load") and not argument:
            raise InputError(f"{name} needs a file. Write {name} FILE.")
        match name:
            case "/help":
                self._help()
            case "/reset":
                self.conversation.turns.clear()
            case "/system":
                self._system(argument)
            case "/undo":
                self._undo()
            case "/retry":
                self._retry()
            case "/save":
                self.conversation.save(Path(argument))
                note(say(f"Saved in {argument}.", f"已保存到 {argument}。"))
            case "/load":
                self._load(Path(argument))
            case "/settings":
                self._set(argument)
        return name != "/exit"

    def _help(self) -> None:
        for name, (argument, english, chinese) in COMMANDS.items():
            note(f"  {f'{name} {argument}':<20} {say(english, chinese)}")

    def _system(self, text: str) -> None:
        if text:
            self.conversation.system = text
        else:
            note(self.conversation.system or say("(no instructions)", "（无系统指令）"))

    def _undo(self) -> None:
        taken = self.conversation.undo()
        note(
            say("There is nothing to take back.", "没有可撤回的内容。")
            if taken is None
            else say(f"Taken back: {taken}", f"已撤回：{taken}")
        )

    def _retry(self) -> None:
        asked = self.conversation.undo()
        if asked is None:
            raise InputError("There is no question to answer again. Ask one first.")
        self.answer(asked)

    def _load(self, path: Path) -> None:
        self.conversation = Conversation.load(path)
        for turn in self.conversation.turns:
            mark = say("you> ", "你> ") if turn["role"] == "user" else ""
            print(f"{mark}{turn['content']}")

    def _set(self, argument: str) -> None:
        if not argument:
            settings = self.lm.settings(**self.settings)
            for name in _SHOWN:
                note(f"  {name} = {getattr(settings, name)}")
            return
        new = dict(self.settings)
        for word in argument.split():
            name, equals, value = word.partition("=")
            if not equals:
                raise ConfigError(
                    f"{word!r} is not a setting. Write KEY=VALUE, e.g. temperature=0."
                )
            new[name] = (value,) if name == "stop" else _value(value)
        sampling = self.lm.settings(**new)
        if sampling.n > 1 or sampling.beams > 1:
            raise ConfigError("A conversation gets one answer at a time. Leave n and beams at 1.")
        self.settings = new


_SHOWN = (
    "max_new_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "stop",
    "seed",
)


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def _line_editing() -> None:
    """Give `input` its history and editing keys, where Python was built with them."""
    try:
        import readline
    except ImportError:
        return  # plain input still works
    readline.parse_and_bind("set enable-bracketed-paste off")
