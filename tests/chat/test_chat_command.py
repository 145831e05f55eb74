"""The command as users start it: a process of its own, ended with Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAM = f"""
import sys, webbrowser
sys.path.insert(0, {str(Path(__file__).parent)!r})
from scripted_model import ScriptedModel, scripted_tokenizer
import flyweight.inference
from flyweight import cli
flyweight.inference.load_model = lambda *_, **__: ScriptedModel(scripted_tokenizer(), "It is so.")
webbrowser.open = lambda url: print("OPENED", url, file=sys.stderr)
cli.main()
"""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def run(*words: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, "chat", "scripted", *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_page_is_served_until_ctrl_c(start: Callable):
    process = start(
        "--web", "--port", "0", "--temperature", "0", "--top-k", "7", "--system", "Be brief.", "--open"
    )
    url = first_line(process)
    assert url.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(f"{url}api/model", timeout=20) as response:
        about = json.load(response)
    assert about["system"] == "Be brief."
    values = {setting["name"]: setting["value"] for setting in about["settings"]}
    assert (values["temperature"], values["top_k"]) == (0, 7)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert err == f"OPENED {url}\n"  # and no warning: nobody else reaches it


def test_other_machines_only_with_a_warning(start: Callable):
    process = start("--web", "--host", "0.0.0.0", "--port", "0")
    assert first_line(process).startswith("http://localhost:")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert "warning: --host 0.0.0.0: everybody who can reach this machine can use the model" in err
    assert len(err.splitlines()) == 1


def test_a_port_that_is_taken_is_told(start: Callable):
    port = first_line(start("--web", "--port", "0")).rstrip("/").rpartition(":")[2]
    second = start("--web", "--port", port)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 2
    assert err == (
        f"flyweight: --port {port}: another program listens there already; name another, or 0 for any that is free.\n"
    )


def test_a_pipe_gets_answers(start: Callable):
    process = start("--temperature", "0", "--max-new-tokens", "2")
    out, err = process.communicate("Is it so?\nAnd now?\n", timeout=60)
    assert (process.returncode, err) == (0, "")
    assert len(out.splitlines()) == 2
    assert all(line and "It is so.".startswith(line) for line in out.splitlines())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--port", "1"], "--port goes with --web"),
        (["--host", "localhost"], "--host goes with --web"),
        (["--open"], "--open goes with --web"),
        (["--temperature", "-1"], "temperature is -1.0; expected a number from 0 to 100"),
        (["--top-p", "0"], "top_p is 0.0; expected a number above 0 to 1"),
        (["--web", "--port", "70000"], "--port is 70000; expected a number from 0"),
        (["--raw", "--system", "Be brief."], "is asked to go on with texts (--raw)"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(start: Callable, words: list[str], told: str):
    process = start(*words)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert out == ""
    assert told in err
    assert len(err.splitlines()) == 1
