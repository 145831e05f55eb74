"""Machines that share a study through PostgreSQL: each trial once, whoever is killed, and plain words for what fails.

A machine is a process with a study folder of its own; the server is a real one, thrown away afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

pytest.importorskip("optuna")
pytest.importorskip("psycopg", reason="psycopg is missing: pip install 'flyweight[postgres]'")

import optuna
from windtunnel_setup import tunnel_recipe

from flyweight.base import UserError
from flyweight.corpus import open_corpus
from flyweight.windtunnel.machines import INSTEAD_OF, LOST
from flyweight.windtunnel.study import Study, open_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PASSWORD = "s3cret{wing}/%"
QUOTED = "s3cret%7Bwing%7D%2F%25"


def _programs() -> Path | None:
    """The folder of the server's programs, which Debian keeps out of PATH."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    kept = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return kept[-1].parent if kept else None


def _user() -> str | None:
    """Who runs the server: it refuses root."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """The port of a server on this machine, of which `wing` is the owner."""
    programs, user = _programs(), _user()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed: apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as name, socket.socket() as free:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        if user is not None:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()

        def run(*words: str) -> None:
            done = subprocess.run(
                [str(programs / words[0]), *words[1:]], user=user, cwd=folder, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr

        data = str(folder / "data")
        run(*f"initdb -D {data} -U wing -A scram-sha-256 --pwfile password -N -E UTF8".split())
        settings = (
            f"-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        )
        run("pg_ctl", "start", "-w", "-D", data, "-l", str(folder / "log"), "-o", settings)
        try:
            yield port
        finally:
            run("pg_ctl", "stop", "-m", "immediate", "-D", data)


@pytest.fixture
def database(server: int) -> Iterator[str]:
    """The URL of a new, empty database."""
    import psycopg

    name = f"lab_{time.monotonic_ns()}"
    administration = f"host=127.0.0.1 port={server} user=wing password={PASSWORD} dbname=postgres"
    with psycopg.connect(administration, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield f"postgresql+psycopg://wing:{QUOTED}@127.0.0.1:{server}/{name}"


SETTINGS = {"trials": 8, "startup_trials": 4, "confirm": 2, "seeds": 2, "prune": "none", "rungs": 2}
SETTINGS["proxy"] = {"hidden_size": 32, "tokens": 64 * 4 * 32, "batch_size": 4}

DRIVER = """
from flyweight.windtunnel import machines, search
machines.BEAT_SECONDS = 0.5
machines.LOST_SECONDS = search.LOST_SECONDS = {lost}
if __name__ == "__main__":
    from flyweight.cli import main
    main()
"""
"""Signs of life are fast, so that the test need not wait; workers run this file's first lines too."""


class Machine:
    """A study folder, and the command that is run there."""

    def __init__(
        self, folder: Path, texts: Path, shards: Path, database: str, lost: float, **changed
    ) -> None:
        folder.mkdir()
        self.study, self.log = folder / "study", folder / "log"
        self.recipe = tunnel_recipe(texts, **{**SETTINGS, **changed})
        with (folder / "recipe.yaml").open("w") as file:
            YAML(typ="safe", pure=True).dump(self.recipe.to_dict(), file)
        (folder / "driver.py").write_text(DRIVER.format(lost=lost))
        self.command = [
            sys.executable, str(folder / "driver.py"), "tunnel", str(folder / "recipe.yaml"),
            "--study", str(self.study), "--corpus", str(shards), "--workers", "1", "--storage", database,
        ]  # fmt: skip
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(self.command, start_new_session=True, stdout=log, stderr=log)

    def end(self) -> None:
        assert self.process is not None
        assert self.process.wait(400) == 0, self.log.read_text()

    def kill(self) -> None:
        """As when the machine loses its power."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def trials(self) -> dict[int, int]:
        """The trials of this folder, and how often each was begun or gone on with."""
        events = sorted((self.study / "trials").glob("*/events.jsonl"))
        return {int(path.parent.name): path.read_text().count('"run_started"') for path in events}

    def finished(self) -> set[int]:
        return {int(path.parent.name) for path in (self.study / "trials").glob("*/outcome.json")}

    def result(self) -> list:
        return json.loads((self.study / "result.json").read_text())["candidates"]


Machines = Callable[..., Machine]


@pytest.fixture
def machine(texts: Path, shards: Path, tmp_path: Path, database: str) -> Iterator[Machines]:
    made: list[Machine] = []

    def make(name: str, lost: float = 100.0, **changed) -> Machine:
        made.append(Machine(tmp_path / name, texts, shards, database, lost, **changed))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                one.kill()


@pytest.fixture
def study(texts: Path, shards: Path, tmp_path: Path, database: str) -> Callable[[], Study]:
    def opened() -> Study:
        recipe = tunnel_recipe(texts, **SETTINGS)
        return open_study(recipe, open_corpus(shards), tmp_path / "observer", database)

    return opened


def _until(condition: Callable[[], bool], machine: Machine, seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert machine.process is not None
        assert machine.process.poll() is None, machine.log.read_text()
        assert time.monotonic() < end, machine.log.read_text()
        time.sleep(0.05)


def _is_training(machine: Machine) -> Callable[[], bool]:
    """Whether a trial is in the middle, not at its end."""

    def look() -> bool:
        open_trials = machine.trials().keys() - machine.finished()
        paths = [machine.study / "trials" / f"{number:04d}" / "events.jsonl" for number in open_trials]
        return any('"step"' in path.read_text() for path in paths)

    return look


def test_two_machines_share_a_study(machine: Machines, study: Callable[[], Study]):
    one, two = machine("one"), machine("two")
    one.start()
    two.start()
    one.end()
    two.end()
    trials = study().load().get_trials()
    counted = [trial for trial in trials if trial.state.name != "FAIL"]
    assert [trial.state.name for trial in counted] == ["COMPLETE"] * 8
    assert one.finished()  # both did some
    assert two.finished()
    assert not one.finished() & two.finished()  # and none was done twice
    assert one.finished() | two.finished() == {trial.number for trial in counted}
    assert one.result() == two.result()
    assert len(one.result()) == 2


def test_a_killed_machine_goes_on_with_its_trial(machine: Machines, study: Callable[[], Study]):
    one, two = machine("one"), machine("two")
    one.start()
    two.start()
    _until(_is_training(one), one)
    one.kill()
    (mine,) = one.trials().keys() - one.finished()
    one.start()
    one.end()
    two.end()
    trials = study().load().get_trials()
    counted = [trial for trial in trials if trial.state.name != "FAIL"]
    assert [trial.state.name for trial in counted] == ["COMPLETE"] * 8
    assert not any(INSTEAD_OF in trial.user_attrs for trial in trials)
    assert mine in one.finished()  # by the machine that began it
    assert one.trials()[mine] > 1
    assert not one.finished() & two.finished()


def test_the_trial_of_a_machine_that_never_comes_back_is_done_again(
    machine: Machines, study: Callable[[], Study]
):
    one, two = machine("one", lost=5), machine("two", lost=5)
    one.start()
    _until(_is_training(one), one)
    one.kill()
    (lost,) = one.trials().keys() - one.finished()
    two.start()
    two.end()
    trials = study().load().get_trials()
    counted = [trial for trial in trials if trial.state.name != "FAIL"]
    assert [trial.state.name for trial in counted] == ["COMPLETE"] * 8
    assert trials[lost].state.name == "FAIL"
    assert "nothing was heard of it" in trials[lost].user_attrs[LOST]
    (again,) = (trial for trial in trials if INSTEAD_OF in trial.user_attrs)
    assert again.user_attrs[INSTEAD_OF] == lost
    assert again.params == trials[lost].params
    one.start()  # late: nothing is left to do, and what it had begun does not count
    one.end()
    assert len(study().load().get_trials()) == len(trials)
    assert one.result() == two.result()
    assert lost not in one.finished()


def test_a_machine_that_was_only_asleep_leaves_its_trial_to_the_other(
    machine: Machines, study: Callable[[], Study]
):
    one, two = machine("one", lost=5), machine("two", lost=5)
    one.start()
    _until(_is_training(one), one)
    assert one.process is not None
    os.killpg(one.process.pid, signal.SIGSTOP)
    (lost,) = one.trials().keys() - one.finished()
    two.start()
    two.end()
    os.killpg(one.process.pid, signal.SIGCONT)
    one.end()
    trials = study().load().get_trials()
    counted = [trial for trial in trials if trial.state.name != "FAIL"]
    assert [trial.state.name for trial in counted] == ["COMPLETE"] * 8
    assert trials[lost].state.name == "FAIL"
    assert one.result() == two.result()


def test_another_study_of_the_same_name_is_refused(texts: Path, shards: Path, tmp_path: Path, database: str):
    corpus = open_corpus(shards)
    open_study(tunnel_recipe(texts), corpus, tmp_path / "one", database)
    open_study(tunnel_recipe(texts), corpus, tmp_path / "two", database)
    with pytest.raises(
        UserError, match=r"in this database was made otherwise \(search\.sampler: tpe -> random\)"
    ):
        open_study(tunnel_recipe(texts, sampler="random"), corpus, tmp_path / "three", database)
    proxy = {"hidden_size": 64, "tokens": 24 * 4 * 32, "batch_size": 4}
    with pytest.raises(UserError, match=r"recipe\.model\.hidden_size: 32 -> 64"):
        open_study(tunnel_recipe(texts, proxy=proxy), corpus, tmp_path / "four", database)
    with pytest.raises(UserError, match="on record in a database; give its URL with --storage"):
        open_study(tunnel_recipe(texts), corpus, tmp_path / "one")
    open_study(tunnel_recipe(texts), corpus, tmp_path / "five")
    with pytest.raises(UserError, match="on record in a journal here"):
        open_study(tunnel_recipe(texts), corpus, tmp_path / "five", database)
    assert not (tmp_path / "three").exists() or not list((tmp_path / "three").glob("study.json"))


def test_a_study_of_somebody_else_is_refused(texts: Path, shards: Path, tmp_path: Path, database: str):
    from flyweight.windtunnel.database import open_database

    other = optuna.create_study(study_name="wing-proxy", storage=open_database(database))
    other.ask()
    with pytest.raises(UserError, match="was not made by Flyweight"):
        open_study(tunnel_recipe(texts), open_corpus(shards), tmp_path / "study", database)


def test_what_is_wrong_with_a_database_is_told_without_the_password(
    texts: Path, shards: Path, tmp_path: Path, server: int, database: str
):
    corpus = open_corpus(shards)
    name = database.rpartition("/")[2]
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = unused.getsockname()[1]
    place = f"127.0.0.1:{server}"
    for url, message in (
        (
            f"postgresql+psycopg://wing:hunter2@{place}/{name}",
            r"wing:\*\*\*@.*password authentication failed",
        ),
        (f"postgresql+psycopg://wing@{place}/{name}", "password supplied.*pgpass"),
        (f"postgresql://wing:{QUOTED}@{place}/nowhere", '"nowhere" does not exist.*createdb'),
        (f"postgresql+psycopg://wing:{QUOTED}@127.0.0.1:{nobody}/{name}", "refused.*Is the server running"),
        (f"postgresql+psycopg://wing:hunter2@{place}@x/{name}", "more than one @"),
        (f"hunter2@{place}", "no URL of a database"),
        (f"orcale://wing:hunter2@{place}/{name}", r"no such kind of database \(orcale\)"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            open_study(tunnel_recipe(texts), corpus, tmp_path / "study", url)
        told = str(caught.value)
        assert told.startswith("--storage: ")
        assert not any(word in told for word in ("hunter2", PASSWORD, QUOTED, "s3cret"))
        assert "\n" not in told
        assert len(told) < 350
