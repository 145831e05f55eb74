"""The terminal: real ones (pseudo-terminals), with keys pressed, and pipes."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from flyweight.base import UserError
from flyweight.chat import Playground, Settings, Terminal
from flyweight.chat.answer import Ending
from flyweight.chat.terminal import INTERRUPTED

HERE = Path(__file__).parent
PROGRAM = """
import sys, time
sys.path.insert(0, {here!r})
from scripted_model import ScriptedModel, scripted_tokenizer
from flyweight.chat import Playground, Settings, Terminal
model = ScriptedModel(scripted_tokenizer(), *{scripts!r}, chat={chat}, before=lambda step: time.sleep({pause}))
code = Terminal(Playground(model, Settings(temperature=0.0))).run()
print("SHOWN", model.prompts())
print("ENDED", code, flush=True)
"""


class Screen:
    """A program in a terminal of its own."""

    def __init__(self, *scripts: str, chat: bool = True, pause: float = 0.0, **environment: str) -> None:
        self.own, theirs = pty.openpty()
        program = PROGRAM.format(here=str(HERE), scripts=scripts, chat=chat, pause=pause)
        variables = {**os.environ, "TERM": "xterm", "COLUMNS": "200", **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=theirs, stdout=theirs, stderr=theirs, env=variables,
            start_new_session=True, preexec_fn=_take_terminal,
        )  # fmt: skip
        os.close(theirs)
        self.seen = ""

    def until(self, text: str, seconds: float = 60) -> str:
        """What is on the screen after the last call, up to `text`."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            ready, _, _ = select.select([self.own], [], [], 0.1)
            if ready:
                try:
                    self.seen += os.read(self.own, 65536).decode(errors="replace")
                except OSError:
                    assert text in self.seen, self.seen
        shown, _, self.seen = self.seen.partition(text)
        return shown + text

    def type(self, keys: str) -> None:
        os.write(self.own, keys.encode())

    def interrupt_prompt(self) -> None:
        """Ctrl-C; Python's readline overlooks one between its prompt and its first look at the keyboard."""
        time.sleep(0.5)
        self.type("\x03")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.own)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def screen() -> Iterator[Callable[..., Screen]]:
    opened: list[Screen] = []

    def start(*scripts: str, **options) -> Screen:
        opened.append(Screen(*scripts, **options))
        opened[-1].until("> ")
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_a_conversation_in_a_terminal(screen, tmp_path: Path):
    file = tmp_path / "talk.json"
    shown = screen("No: it is not so.", "It is.")
    shown.type("Is it so?\n")
    answer = shown.until("> ")
    assert "No: it is not so." in answer
    assert "bits a token" in answer
    shown.type("/retry\n")
    assert "It is." in shown.until("> ")
    shown.type("/set temperature 7x\n")
    assert "expected a number from 0 to 100" in shown.until("> ")
    shown.type("/set top_k 3\n")
    assert "top_k is 3 from the next answer on" in shown.until("> ")
    shown.type("/nonsense\n")
    assert "there is no command /nonsense" in shown.until("> ")
    shown.type("/system Be brief.\n")
    shown.until("> ")
    shown.type("//usr\n")
    shown.until("> ")
    shown.type(f"/save {file}\n")
    assert "saved" in shown.until("> ")
    shown.type("/undo\n")
    assert "taken back: /usr" in shown.until("> ")
    shown.type("/quit\n")
    prompts = shown.until("ENDED 0")
    assert "system\\nBe brief." in prompts
    saved = json.loads(file.read_text())
    assert [message["content"] for message in saved["messages"]] == [
        "Be brief.", "Is it so?", "It is.", "/usr", "No: it is not so.",
    ]  # fmt: skip
    assert saved["settings"]["top_k"] == 3


def test_ctrl_c_stops_the_answer_and_not_the_program(screen):
    shown = screen("so " * 100, "It is.", pause=0.05)
    shown.type("Is it so?\n")
    shown.until("so so ")
    shown.type("\x03")
    assert "stopped" in shown.until("> ")
    shown.type("And now?\n")
    assert "It is." in shown.until("> ")
    shown.type("/quit\n")
    prompts = shown.until("ENDED 0")
    assert (
        "assistant\\nso so" in prompts
    )  # what was written before it was stopped is part of the conversation


def test_a_second_ctrl_c_leaves(screen):
    shown = screen("so " * 100, pause=0.05)
    shown.type("Is it so?\n")
    shown.until("so so ")
    shown.type("\x03")
    shown.until("> ")
    shown.interrupt_prompt()
    shown.until("ENDED 0")


def test_ctrl_c_at_the_prompt_only_clears_the_line(screen):
    shown = screen("It is.")
    shown.type("half a mess")
    shown.interrupt_prompt()
    assert "Ctrl-C again leaves" in shown.until("> ")
    shown.type("Is it so?\n")
    shown.until("> ")
    shown.interrupt_prompt()
    shown.until("> ")
    shown.interrupt_prompt()
    prompts = shown.until("ENDED 0")
    assert "user\\nIs it so?<" in prompts


def test_ctrl_d_leaves(screen):
    shown = screen("It is.")
    shown.type("\x04")
    shown.until("ENDED 0")


@pytest.mark.parametrize("bracketed", [True, False])
def test_a_pasted_text_of_many_lines_is_one_message(screen, bracketed: bool):
    shown = screen("It is.")
    pasted = "Is it so?\n\n  /quit\nAnd now?"
    shown.type(f"\x1b[200~{pasted}\x1b[201~\n" if bracketed else pasted + "\n")
    shown.until("It is.")
    shown.until("> ")
    shown.type("/quit\n")
    prompts = shown.until("ENDED 0")
    assert prompts.count("user") == 1
    assert "Is it so?\\n\\n  /quit\\nAnd now?<|im_end|>" in prompts


def test_what_is_typed_during_an_answer_is_taken_line_by_line(screen):
    shown = screen("so " * 20, "It is.", pause=0.05)
    shown.type("Is it so?\n")
    shown.until("so so ")
    shown.type("And now?\n/quit\n")
    shown.until("It is.")
    assert "user\\nAnd now?<|im_end|>" in shown.until("ENDED 0")


def test_a_base_model_goes_on_with_a_text(screen):
    shown = screen(" sat on", " the mat", chat=False)
    assert shown.process.poll() is None
    shown.type("The cat\n")
    shown.until(" sat on")
    shown.until("> ")
    shown.type("\n")
    shown.until(" the mat")
    shown.until("> ")
    shown.type("/system x\n")
    assert "no system message" in shown.until("> ")
    shown.type("/quit\n")
    assert "'<|eot|>The cat', '<|eot|>The cat sat on'" in shown.until("ENDED 0")


def test_colours_only_where_they_are_wanted(screen):
    coloured, plain = (Screen("x", **more) for more in ({}, {"NO_COLOR": "1"}))
    try:
        for shown in (coloured, plain):
            shown.until("> ")
            shown.type("/nonsense\n")
        assert "\x1b[31m" in coloured.until("> ")
        assert "\x1b[31m" not in plain.until("> ")
    finally:
        coloured.close()
        plain.close()


def test_what_a_model_writes_does_not_steer_the_terminal(screen):
    shown = screen("a\x1b]0;title\x07b")
    shown.type("Is it so?\n")
    written = shown.until("> ")
    assert "a␛]0;title␇b" in written
    assert "\x1b]0;" not in written


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("how", ["stopped", "error"])
def test_a_retry_that_brings_nothing_leaves_the_answer(scripted, monkeypatch, capsys, chat: bool, how: str):
    def fail(step: int) -> None:
        if len(model.shown) == 2:
            raise UserError("out of order.")

    model = scripted("No.", chat=chat, before=fail if how == "error" else lambda step: None)
    playground = Playground(model, Settings(temperature=0.0))
    monkeypatch.setattr("flyweight.chat.terminal.is_interactive", lambda: True)
    lines = iter(["Is it so?", "/retry", "And now?"])

    def read_message(prompt: str) -> str:
        line = next(lines, "/quit")
        if how == "stopped":  # before the first token, as Ctrl-C while a long prompt is made
            write, ending = Playground.write, [Ending("stopped", "", 0, 0.0, 0.0)]
            answers = (lambda *_: iter(ending)) if line == "/retry" else partial(write, playground)
            monkeypatch.setattr(playground, "write", answers)
        return line

    monkeypatch.setattr("flyweight.chat.terminal.read_message", read_message)
    terminal = Terminal(playground)
    assert terminal.run() == 0
    assert "the earlier answer stays" in capsys.readouterr().err
    said = [message["content"] for message in terminal.talk.conversation.messages]
    assert said == ["Is it so?", "No.", "And now?", "No."]


def run_piped(monkeypatch, capsys, playground: Playground, text: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    code = Terminal(playground).run()
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_every_line_of_a_pipe_is_a_message_and_only_answers_come_out(scripted, monkeypatch, capsys):
    model = scripted("No\x1b[1m.", "It is.", "So.")
    playground = Playground(model, Settings(temperature=0.0))
    code, out, err = run_piped(monkeypatch, capsys, playground, "Is it so?\n\n/quit\r\nAnd now?")
    assert (code, out, err) == (0, "No\x1b[1m.\nIt is.\nSo.\n", "")
    assert model.prompts()[2].count("<|im_start|>user") == 3
    assert "user\n/quit<" in model.prompts()[1]


def test_a_pipe_to_a_base_model_says_on_standard_error_what_it_is(scripted, monkeypatch, capsys):
    model = scripted(" sat.", " ran.", chat=False)
    playground = Playground(model, Settings(temperature=0.0))
    code, out, err = run_piped(monkeypatch, capsys, playground, "The cat\nThe dog\n")
    assert (code, out) == (0, " sat.\n ran.\n")
    assert "knows no conversations" in err
    assert model.prompts() == ["<|eot|>The cat", "<|eot|>The dog"]


def test_ctrl_c_ends_a_pipe(scripted, monkeypatch, capsys):
    def interrupt(step: int) -> None:
        if step == 2:
            signal.raise_signal(signal.SIGINT)

    playground = Playground(scripted("so so so so so", before=interrupt), Settings(temperature=0.0))
    code, out, _ = run_piped(monkeypatch, capsys, playground, "Is it so?\nAnd now?\n")
    assert code == INTERRUPTED
    assert out.count("\n") == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path):
    program = PROGRAM.format(here=str(HERE), scripts=("so " * 50,), chat=True, pause=0.01)
    command = f"yes 'Is it so?' | {sys.executable} -c \"$PROGRAM\" | head -c 5"
    done = subprocess.run(
        command,
        shell=True,
        env={**os.environ, "PROGRAM": program},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "so so"
    assert done.stderr == ""


def test_bytes_that_are_no_text_do_not_end_it():
    program = PROGRAM.format(here=str(HERE), scripts=("é.",), chat=True, pause=0)
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=b"Is it \xff so?\n",
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        timeout=60,
    )
    assert done.stdout.startswith(b"?.\n")
    assert b"ENDED 0" in done.stdout
