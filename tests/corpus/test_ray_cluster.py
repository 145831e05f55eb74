"""The engine on a real Ray cluster of two workers, one of which is killed while it works."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from flyweight.base import UserError
from flyweight.corpus import prepare, verify
from flyweight.corpus.engine import Job, ray_tasks, run_jobs
from flyweight.corpus.reading import files

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray", reason='Ray is not installed: pip install "flyweight[ray]"')


@pytest.fixture
def cluster(monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parent))  # for the jobs' module
    # Nothing runs on the head, so that the killed node is one of the two that work.
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.workers = [made.add_node(num_cpus=1), made.add_node(num_cpus=1)]
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def make_files(folder: Path) -> Path:
    rng = random.Random(0)
    words = ["river", "stone", "walks", "under", "bright", "light", "bread", "baked", "children", "houses"]
    folder.mkdir()
    for number in range(12):
        texts = [" ".join(rng.choices(words, k=2_000)) + f" {number} {n}" for n in range(40)]
        lines = "".join(json.dumps({"text": text}) + "\n" for text in [*texts, texts[0]])
        (folder / f"{number}.jsonl").write_text(lines)
    return folder


def test_a_killed_node_changes_nothing(cluster, tmp_path, make_recipe, monkeypatch):
    monkeypatch.setattr(files, "PART_BYTES", 300_000)
    sources = {"many": {"kind": "files", "path": str(make_files(tmp_path / "many"))}}
    recipe = make_recipe(
        sources, corpus={"near_duplicates": "remove", "held_out": 0.05}, execution={"workers": 1}
    )
    expected = prepare(recipe, tmp_path / "one process").fingerprint
    killed = []

    def kill_in_the_middle(stage: str, share: float) -> None:
        if stage == "reading" and 0 < share < 0.8 and not killed:
            killed.append(share)
            cluster.remove_node(cluster.workers[1], allow_graceful=False)

    spread = make_recipe(
        sources, corpus={"near_duplicates": "remove", "held_out": 0.05}, execution={"workers": 2}
    )
    corpus = prepare(spread, tmp_path / "cluster", kill_in_the_middle, engine="ray")
    assert killed
    assert corpus.fingerprint == expected
    verify(corpus.folder)
    deadline = time.monotonic() + 90  # the head notices a missing node by its silence
    while len([node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_machines_of_other_versions_are_refused(cluster, monkeypatch):
    import engine_jobs as jobs

    monkeypatch.setattr(ray_tasks, "CODE", "another version")
    with ray_tasks.RayTasks(None) as executor, pytest.raises(UserError, match="another version of Flyweight"):
        run_jobs(executor, [Job(jobs.square, (1,), "squares")], lambda share: None)


def test_a_killed_worker_process_is_replaced(cluster, tmp_path):
    import engine_jobs as jobs

    with ray_tasks.RayTasks(None) as executor:
        assert executor.workers == 2
        todo = [Job(jobs.die_once, (n, str(tmp_path / "mark")), "dying") for n in range(6)]
        assert run_jobs(executor, todo, lambda share: None) == list(range(6))
    assert (tmp_path / "mark").exists()
    assert ray.is_initialized()  # a cluster that was there before stays
