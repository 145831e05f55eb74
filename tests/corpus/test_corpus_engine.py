from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flyweight.base import UserError, write_json
from flyweight.corpus.engine import (
    InProcess,
    Job,
    LocalPool,
    Turn,
    finished,
    finished_folder,
    job_key,
    run_jobs,
)

sys.path.insert(0, str(Path(__file__).parent))
import engine_jobs as jobs


def silent(share: float) -> None:
    pass


@pytest.fixture(scope="module", params=["in process", "pool"])
def executor(request):
    with InProcess() if request.param == "in process" else LocalPool(2) as opened:
        yield opened


def test_results_come_in_the_order_of_the_jobs(executor):
    todo = [Job(jobs.slow_first, (number,), "waiting") for number in range(6)]
    assert run_jobs(executor, todo, silent) == list(range(6))


def test_progress_rises_to_one(executor):
    shares: list[float] = []
    run_jobs(executor, [Job(jobs.square, (n,), "squares", size=n + 1) for n in range(5)], shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_jobs_that_are_not_needed_do_not_run(executor):
    kept: dict[int, int] = {}
    todo = [Job(jobs.square, (n,), "squares") for n in range(40)]
    results = run_jobs(
        executor, todo, silent, lambda number: Turn.NEVER if kept else Turn.NOW, kept.__setitem__
    )
    assert results[0] == 0
    assert results[-1] is None


def test_a_lane_that_waits_holds_up_no_other(executor):
    order: list[int] = []
    lanes = ["a", "a", "b", "b"]
    todo = [Job(jobs.square, (n,), "squares", lane=lane) for n, lane in enumerate(lanes)]

    def turn(number: int) -> Turn:
        return Turn.LATER if number == 1 and 3 not in order else Turn.NOW

    results = run_jobs(executor, todo, silent, turn, lambda number, _: order.append(number))
    assert results == [0, 1, 4, 9]
    assert order.index(1) > order.index(3)


def test_a_refusal_of_what_turns_out_not_to_be_needed_fails_nothing(executor):
    kept: list[int] = []
    todo = [
        Job(jobs.slow_first, (0,), "slow"),
        Job(jobs.refuse, (), "refusing"),
        Job(jobs.square, (2,), "squares"),
    ]

    def turn(number: int) -> Turn:
        return Turn.NEVER if 0 in kept and number else Turn.NOW

    assert run_jobs(executor, todo, silent, turn, lambda number, _: kept.append(number))[0] == 0


def test_a_refusal_of_what_is_needed_is_raised_when_those_before_it_have_ended(executor):
    kept: list[int] = []
    todo = [Job(jobs.slow_first, (0,), "slow"), Job(jobs.refuse, (), "refusing")]
    with pytest.raises(UserError, match="no such file"):
        run_jobs(executor, todo, silent, keep=lambda number, _: kept.append(number))
    assert kept == [0]


def test_a_refusal_is_passed_on_at_once(executor):
    with pytest.raises(UserError, match="no such file"):
        run_jobs(executor, [Job(jobs.refuse, (), "refusing")], silent)


def test_a_fault_of_ours_keeps_its_type(executor):
    with pytest.raises(ZeroDivisionError):
        run_jobs(executor, [Job(jobs.break_down, (), "breaking")], silent)


def test_an_error_that_goes_away_is_tried_again(executor, tmp_path):
    assert run_jobs(executor, [Job(jobs.fail_twice, (str(tmp_path / "mark"),), "trying")], silent) == [
        "there"
    ]


def test_a_killed_worker_costs_nothing_but_time(tmp_path):
    with LocalPool(2) as pool:
        todo = [Job(jobs.die_once, (n, str(tmp_path / "mark")), "dying") for n in range(8)]
        assert run_jobs(pool, todo, silent) == list(range(8))
    assert (tmp_path / "mark").exists()


def test_a_job_that_always_kills_its_worker_is_given_up():
    with LocalPool(2) as pool, pytest.raises(UserError, match=r"was killed 3 times.*execution\.workers"):
        run_jobs(pool, [Job(jobs.die, (), "reading books, part 0")], silent)


def test_a_job_that_always_lacks_memory_is_given_up(executor):
    with pytest.raises(UserError, match=r"want of memory.*execution\.workers"):
        run_jobs(executor, [Job(jobs.need_too_much, (), "reading books, part 0")], silent)


def test_workers_do_not_start_threads_of_their_own():
    with LocalPool(2) as pool:
        assert run_jobs(pool, [Job(jobs.environment, (), "looking")], silent) == ["false"]


def test_a_finished_folder_is_recognised_by_its_key_alone(tmp_path):
    with finished_folder(tmp_path / "part", job_key("read", 1)) as temporary:
        write_json(temporary / "result.json", 7)
    assert finished(tmp_path / "part", job_key("read", 1))
    assert not finished(tmp_path / "part", job_key("read", 2))
    assert not finished(tmp_path / "other", job_key("read", 1))


def test_half_a_folder_is_no_folder(tmp_path):
    def broken():
        with finished_folder(tmp_path / "part", "key") as temporary:
            (temporary / "half").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert not finished(tmp_path / "part", "key")
    assert not list(tmp_path.iterdir())


ORPHANS = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import engine_jobs as jobs
from flyweight.corpus.engine import Job, LocalPool, run_jobs

if __name__ == "__main__":
    with LocalPool(2) as pool:
        run_jobs(pool, [Job(jobs.square, (n,), "squares") for n in range(4)], lambda share: None)
        print(*(process.pid for process in pool._pool._processes.values()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(ORPHANS)
    command = [sys.executable, str(script), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    workers = [int(word) for word in done.stdout.split()]
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(is_alive(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker lives on without its parent"
        time.sleep(0.1)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # A process that has ended stays in the table until somebody asks for its exit code.
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False
    )
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")
