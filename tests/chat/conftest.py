from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scripted_model import ScriptedModel, scripted_tokenizer

from flyweight.chat import Place, Playground, Server, Settings
from flyweight.corpus import TextTokenizer
from flyweight.inference import LanguageModel

GREEDY = Settings(temperature=0.0)


@pytest.fixture(autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """Tests that a shell runs in the background begin with SIGINT ignored, and so would the programs they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def tokenizer() -> TextTokenizer:
    return scripted_tokenizer()


@pytest.fixture
def scripted(tokenizer: TextTokenizer) -> Callable[..., ScriptedModel]:
    return lambda *scripts, **options: ScriptedModel(tokenizer, *scripts, **options)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Serves a model in a thread."""
    running: list[tuple[Server, threading.Thread]] = []

    def start(model: LanguageModel, settings: Settings = GREEDY, **options: Any) -> Server:
        server = Server(Playground(model, settings, **options), Place())
        thread = threading.Thread(target=server.serve)
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join(timeout=20)
        assert not thread.is_alive()
