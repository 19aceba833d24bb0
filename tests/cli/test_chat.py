"""A conversation: what is kept, what the / commands do, what Ctrl-C stops."""

import builtins
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

import hanlin as library
from hanlin.cli.chat import COMMANDS, Talk
from hanlin.cli.conversation import Conversation
from hanlin.errors import ConfigError, FormatError, HanlinError, InputError
from tiny_models import CONTEXT

GREEDY = ("--temperature", 0, "--max-new-tokens", 5)


@pytest.fixture(scope="module")
def lm(tiny_llama):
    return library.load(tiny_llama)


@pytest.fixture
def talk(lm, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    return Talk(lm, Conversation(), {"temperature": 0, "max_new_tokens": 5})


def roles(conversation):
    return [turn["role"] for turn in conversation.messages()]


# Messages given, not typed


def test_one_message_is_answered_as_the_library_answers(hanlin, tiny_llama, lm):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    want = lm.chat(messages, temperature=0, max_new_tokens=5)
    arguments = ("chat", tiny_llama, "--message", "Hello", "--system", "Be brief.", *GREEDY)
    assert hanlin(*arguments).out == want.text + "\n"
    data = hanlin(*arguments, "--json").json
    assert data["outputs"][0]["text"] == want.text
    assert data["usage"] == {
        "prompt_tokens": want.prompt_tokens,
        "completion_tokens": len(want.tokens),
    }


def test_each_line_of_a_pipe_is_a_message_of_one_conversation(hanlin, tiny_llama, lm):
    outcome = hanlin("chat", tiny_llama, *GREEDY, "--json", stdin="你好\n\nA token?\n".encode())
    first, second = (json.loads(line) for line in outcome.out.splitlines())
    messages = [
        {"role": "user", "content": "你好"},
        {"role": "assistant", "content": first["outputs"][0]["text"]},
        {"role": "user", "content": "A token?"},
    ]
    want = lm.chat(messages, temperature=0, max_new_tokens=5)
    assert second["outputs"][0]["tokens"] == list(want.tokens)


# What is kept


def test_the_oldest_turns_go_when_the_context_is_full(talk, lm, capsys):
    talk.conversation.system = "Be brief."
    for number in range(12):
        talk.answer(f"Q{number}")
    assert "dropped" in capsys.readouterr().err
    messages = talk.conversation.messages()
    assert roles(talk.conversation)[:2] == ["system", "user"]
    assert messages[-2]["content"] == "Q11"
    assert len(lm.encode_chat(messages[:-1])) + 5 <= CONTEXT


def test_no_more_turns_go_than_must(lm):
    turns = [
        {"role": role, "content": f"{role} number {number}"}
        for number in range(9)
        for role in ("user", "assistant")
    ][:-1]
    conversation = Conversation("Be brief.", list(turns))
    dropped = conversation.fit(lm, answer_tokens=10)
    assert dropped > 0
    assert conversation.turns == turns[dropped:]
    one_less = Conversation("Be brief.", turns[dropped - 2 :])
    assert len(lm.encode_chat(conversation.messages())) <= CONTEXT - 10
    assert len(lm.encode_chat(one_less.messages())) > CONTEXT - 10


def test_a_question_that_cannot_be_answered_is_taken_back(talk):
    talk.answer("Hello")
    with pytest.raises(InputError, match=f"{CONTEXT}"):
        talk.answer("word " * 300)
    assert roles(talk.conversation)[-1] == "assistant"


def test_undo_retry_reset_and_system(talk):
    talk.answer("Hello")
    first = list(talk.conversation.turns)
    talk.answer("More")
    talk.obey("/undo")
    assert talk.conversation.turns == first
    talk.obey("/retry")
    assert talk.conversation.turns == first, "greedy answers are the same again"
    talk.obey("/system Be kind.")
    assert talk.conversation.messages()[0] == {"role": "system", "content": "Be kind."}
    talk.obey("/reset")
    assert roles(talk.conversation) == ["system"]
    with pytest.raises(InputError, match="no question"):
        talk.obey("/retry")


def test_a_conversation_is_saved_and_goes_on(talk, tmp_path, capsys):
    file = tmp_path / "talk.json"
    talk.obey("/system 请用中文")
    talk.answer("你好")
    talk.obey(f"/save {file}")
    saved = talk.conversation.messages()
    assert json.loads(file.read_text(encoding="utf-8"))["messages"] == saved
    talk.conversation = Conversation()
    talk.obey(f"/load {file}")
    assert talk.conversation.messages() == saved
    assert "你好" in capsys.readouterr().out
    for content in ("{", "[]", '{"messages": [{"role": "user"}]}', '{"messages": 3}'):
        file.write_text(content)
        with pytest.raises(FormatError, match="not a saved conversation"):
            talk.obey(f"/load {file}")
    assert talk.conversation.messages() == saved, "a file that cannot be read changes nothing"
    with pytest.raises(HanlinError, match="Could not write"):
        talk.obey(f"/save {tmp_path / 'no' / 'talk.json'}")


def test_settings_are_changed_whole_or_not_at_all(talk, capsys):
    talk.obey("/settings temperature=0.5 seed=3 stop=end")
    assert talk.settings["temperature"] == 0.5
    assert talk.settings["seed"] == 3
    before = dict(talk.settings)
    for wrong in ("temprature=1", "temperature=-1", "temperature=hot", "top_k", "n=2"):
        with pytest.raises(ConfigError):
            talk.obey(f"/settings temperature=0.9 {wrong}")
        assert talk.settings == before
    talk.obey("/settings")
    assert "temperature = 0.5" in capsys.readouterr().err


def test_commands_are_listed_and_wrong_ones_corrected(talk, capsys, monkeypatch):
    talk.obey("/help")
    shown = capsys.readouterr().err
    assert all(name in shown for name in COMMANDS)
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    talk.obey("/help")
    assert "退出" in capsys.readouterr().err
    with pytest.raises(InputError, match="'/undo'"):
        talk.obey("/und")
    with pytest.raises(InputError, match="takes nothing"):
        talk.obey("/undo that")
    with pytest.raises(InputError, match="needs a file"):
        talk.obey("/save")
    assert talk.obey("/exit") is False


# Keys


def type_in(monkeypatch, *entries):
    """Let `input` give these one after the other; exceptions are raised."""
    waiting = iter(entries)

    def entry(prompt=""):
        value = next(waiting)
        if isinstance(value, type):
            raise value
        return value

    monkeypatch.setattr(builtins, "input", entry)
    return waiting


def test_ctrl_c_at_the_prompt_leaves_only_the_second_time(talk, monkeypatch):
    stop = KeyboardInterrupt
    waiting = type_in(monkeypatch, stop, "/system Be brief.", stop, stop, "never read")
    talk.loop()
    assert list(waiting) == ["never read"]
    assert talk.conversation.system == "Be brief."


def test_errors_are_shown_and_the_conversation_goes_on(talk, monkeypatch, capsys):
    type_in(monkeypatch, "/nonsense", "a\udce9", "", "Hello", EOFError)
    talk.loop()
    shown = capsys.readouterr()
    assert shown.err.count("hanlin: ") == 2
    assert roles(talk.conversation) == ["user", "assistant"]


def test_ctrl_c_stops_the_answer_and_not_the_program(tiny_llama):
    """The real thing: a process on a terminal of its own, and the key pressed while it writes."""
    master, terminal = pty.openpty()
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"}
    code = (
        "import hanlin.tasks.language as language, time\n"
        "from hanlin.generation import Piece\n"
        "original = language.stream\n"
        "def slow(*arguments, **settings):\n"
        "    yield Piece('ANSWER', (1,))\n"
        "    for piece in original(*arguments, **settings):\n"
        "        yield piece\n"
        "        time.sleep(0.1)\n"
        "language.stream = slow\n"
        "from hanlin.cli import main; main()\n"
    )
    arguments = ["chat", str(tiny_llama), "--max-new-tokens", "60", "--temperature", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: _take_terminal(terminal),
    )
    os.close(terminal)
    try:
        _expect(master, b"you> ")
        os.write(master, b"Hello\n")
        _expect(master, b"ANSWER")
        os.write(master, b"\x03")
        _expect(master, b"[stopped]")
        _expect(master, b"you> ")
        assert process.poll() is None
        os.write(master, b"/exit\n")
        assert process.wait(timeout=60) == 0
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        os.close(master)


def _take_terminal(terminal):
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def _read(master, *, seconds=90.0):
    ready, _, _ = select.select([master], [], [], seconds)
    return os.read(master, 4096) if ready else b""


_unread = {}
"""By terminal: what came behind the text that was last waited for."""


def _expect(master, wanted, *, seconds=120.0):
    """Read until `wanted` has been written."""
    seen, end = _unread.pop(master, b""), time.monotonic() + seconds
    while wanted not in seen:
        assert time.monotonic() < end, f"waited for {wanted!r}, saw {seen!r}"
        seen += _read(master, seconds=1.0)
    _unread[master] = seen[seen.index(wanted) + len(wanted) :]
    return seen
