"""The command line: answers for programs, one sentence and exit code 2 for a user's mistake."""

from __future__ import annotations

import io
import json
import random
import sys
from pathlib import Path

import pytest

from flyweight import cli

TEXT = "one small model reads many words and writes some of them again with care"


def flyweight(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    """Run a command in this process: exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["flyweight", *words])
    code = 0
    try:
        cli.main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(bool(error.code))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def run(monkeypatch, capsys):
    return lambda *words: flyweight(monkeypatch, capsys, *map(str, words))


def texts(folder: Path, count: int = 120, words: int = 80) -> Path:
    rng = random.Random(0)
    vocabulary = TEXT.split()
    folder.mkdir(exist_ok=True)
    with (folder / "texts.jsonl").open("w") as file:
        for _ in range(count):
            text = " ".join(rng.choice(vocabulary) for _ in range(words)) + f" {rng.random()}."
            file.write(json.dumps({"text": text}) + "\n")
    return folder


def tiny_recipe(folder: Path, source: Path) -> Path:
    file = folder / "tiny.yaml"
    file.write_text(
        f"""
name: tiny
model: {{vocab_size: 300, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2,
         num_key_value_heads: 1, head_dim: 16, max_position_embeddings: 64}}
tokenizer: {{vocab_size: 300}}
sources:
  own: {{kind: files, path: "{source}"}}
corpus: {{held_out: 0.05}}
training:
  tokens: 20 x 4 x 32
  sequence_length: 32
  batch_size: 4
  mixture: [{{at: 0, weights: {{own: 1.0}}}}]
  learning_rate: {{wsd: {{peak: 1e-2, warmup: 10%, decay_start: 80%}}}}
execution: {{device: cpu, threads: 1, precision: float32, tensorboard: false}}
"""
    )
    return file


def test_plan_answers_programs(run):
    code, out, _ = run("plan", "gpt-x2-125m", "--json")
    plan = json.loads(out)
    assert code == 0
    assert plan["parameters"] == {
        "total": 125_081_664, "embedding": 18_874_368, "per_block": 3_540_224, "blocks": 106_206_720,
        "final_norm": 576, "lm_head": 0,
    }  # fmt: skip
    assert plan["steps"] == 143_051
    assert plan["tokens"]["total"] == sum(plan["tokens"]["by_source"].values())
    assert {"flops_per_token", "memory_bytes", "disk_bytes"} <= plan.keys()


def test_every_recipe_plans(run):
    from flyweight.recipe import packaged_recipes

    assert len(packaged_recipes()) == 8
    for name in packaged_recipes():
        code, out, _ = run("plan", name)
        assert code == 0
        assert name in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["plan", "nothing"], "no such recipe file, and no recipe of that name"),
        (
            ["plan", "gpt-s-5m", "model.hiden_size=3"],
            "unknown key; the nearest known key is model.hidden_size",
        ),
        (["plan", "gpt-s-5m", "model.num_key_value_heads=4"], "is not divisible by"),
        (["plan", "gpt-s-5m", "--factor", "2"], "--factor goes with --scaled"),
        (["plan", "gpt-s-5m", "--scaled", "5 apples"], "'5 apples' is not a number such as 75B"),
        (["generate", "no/such/run"], "no such folder"),
        (["chat", "no/such/run"], "no such folder"),
        (["evaluate", "no/such/run"], "no such folder"),
        (["evaluate"], "evaluate needs a checkpoint, or --compare A B"),
        (["evaluate", "x", "--suite", "gpt-9"], "there is no suite 'gpt-9'; expected gpt-x2"),
        (["evaluate", "x", "--context-law"], "--context-law needs a text"),
        (["evaluate", "x", "--tasks", "piqa", "--calibration"], "needs a task with lettered answers: mmlu"),
        (["evaluate", "x", "--text", "no/such.txt"], "no/such.txt"),
        (["evaluate", "x", "--limit", "0"], "the limit is 0"),
        (["evaluate", "--compare", "no/a", "no/b"], "no/a"),
        (["export", "no/such/run", "out"], "no such folder"),
        (["average", "no/such/run", "out"], "say which, --last K"),
        (["average", "no/such/run", "out", "--last", "2", "--ema"], "say which, --last K"),
        (["average", "no/such/run", "out", "--last", "1"], "expected at least 2 checkpoints"),
        (["average", "no/such/run", "out", "--last", "2"], "no such folder"),
        (["average", "no/such/run", "out", "--ema"], "no such folder"),
        (["report", "no/such/run"], "no/such/run"),
        (["quickstart", "--data", "no/such/folder"], "no such file or folder"),
        (["prepare", "gpt-x2-125m", "--out", "shards", "sources.fineweb-edu.path=nowhere"], "does not exist"),
    ],
)
def test_a_users_mistake_is_one_sentence_and_exit_code_2(run, monkeypatch, tmp_path, words, sentence):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*words)
    assert code == 2
    assert sentence in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_generate_steers_no_terminal_and_changes_nothing_in_a_file(
    monkeypatch, terminal: bool, encoding: str
):
    import flyweight.inference

    monkeypatch.setattr(flyweight.inference, "load_model", lambda *_, **__: None)
    monkeypatch.setattr(flyweight.inference, "generate_stream", lambda *_: iter(["\x1b]0;", "x\x07", "ü\n"]))
    monkeypatch.setattr(sys, "argv", ["flyweight", "generate", "foreign", "--prompt", "é"])
    stream = io.TextIOWrapper(io.BytesIO(), encoding, newline="\n")
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    expected = "é␛]0;x␇ü\n\n" if terminal else "é\x1b]0;x\x07ü\n\n"
    assert stream.buffer.getvalue() == expected.encode(encoding, "replace")


def test_the_whole_path_on_own_text(run, monkeypatch, tmp_path):
    """prepare, train, go on, evaluate, generate, export, report: as a user would, on a tiny model."""
    monkeypatch.chdir(tmp_path)
    recipe = tiny_recipe(tmp_path, texts(tmp_path / "texts"))
    code, out, err = run("prepare", recipe)
    assert code == 0, err
    assert "own" in out
    assert run("prepare", recipe, "--verify")[0] == 0
    code, out, err = run("train", recipe)
    assert code == 0, err
    assert "finished: runs/tiny/checkpoints/tokens-000000000002560" in out
    assert run("train", recipe)[1].rstrip().endswith("finished: runs/tiny/checkpoints/tokens-000000000002560")
    code, _, err = run("train", recipe, "training.weight_decay=0.5")
    assert code == 2
    assert "training.weight_decay" in err
    code, out, err = run("evaluate", "runs/tiny", "--limit", "2", "--json", "--out", "results")
    assert code == 0, err
    assert json.loads(out)["tasks"]["arithmark-gen"]
    code, out, err = run("evaluate", "runs/tiny", "--limit", "2", "--out", "results")  # it is there already
    assert code == 0, err
    assert out.endswith("\nresults: results/results.json\n")
    code, out, err = run("evaluate", "runs/tiny", "--suite", "gpt-s-5m", "--data", "texts", "--text", "texts")
    assert code == 0, err  # files that are not there are told, and the rest is measured
    assert "bits per byte over" in out
    assert out.endswith("\nnothing of this is kept; --out FOLDER keeps it.\n")
    assert "not run: hellaswag: there is no folder texts/hellaswag" in out
    assert "not run: arithmark: texts: none of ArithMark's files is here" in out
    code, out, err = run("evaluate", "--compare", "results", "results")
    assert code == 0, err
    assert "arithmark-gen" in out
    code, out, err = run("results", "results", "results", "--plot", "runs.svg")
    assert code == 0, err
    assert "arithmark-gen" in out
    assert "plot: runs.svg" in out
    assert Path("runs.svg").read_text().startswith("<svg")
    code, out, err = run("generate", "runs/tiny", "--prompt", "one small", "--max-new-tokens", "8")
    assert code == 0, err
    assert out.startswith("one small")
    code, out, err = run("export", "runs/tiny", "exported")
    assert code == 0, err
    assert "LlamaForCausalLM" in out
    assert (tmp_path / "exported" / "README.md").stat().st_size > 500
    code, out, err = run("report", "runs/tiny")
    assert code == 0, err
    assert "<svg" in (tmp_path / "runs/tiny/report.html").read_text()


@pytest.mark.slow
def test_an_average_is_evaluated_and_exported(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    recipe = tiny_recipe(tmp_path, texts(tmp_path / "texts"))
    keys = ("checkpoint_every=512", "keep_checkpoints=9", "ema_half_life=512")
    assert run("train", recipe, *(f"execution.{key}" for key in keys))[0] == 0
    code, out, err = run("average", "runs/tiny@2000", "mean", "--last", "2")
    assert code == 0, err
    assert out.splitlines() == ["mean of the checkpoints at 1,024, 1,536 tokens", "checkpoint: mean"]
    code, out, err = run("average", "runs/tiny", "ema", "--ema")
    assert (code, "half-life of 512 tokens" in out) == (0, True), err
    code, out, err = run("evaluate", "ema", "--limit", "2", "--json")
    assert code == 0, err
    assert json.loads(out)["model"]["name"] == "tiny@2.56K-ema"
    code, out, err = run("export", "mean", "exported")
    assert code == 0, err
    card = (tmp_path / "exported" / "README.md").read_text()
    assert "| Averaged | mean of the checkpoints at 1,024, 1,536 tokens |" in card
    code, _, err = run("average", "runs/tiny", "other", "--last", "7")
    assert code == 2
    assert "has 5 checkpoints up to 2,560 tokens, not 7" in err


def test_too_little_text_and_empty_folders_are_told_before_anything_is_made(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    code, _, err = run("train", tiny_recipe(tmp_path, tmp_path / "empty"))
    assert code == 2
    assert "empty" in err
    few = texts(tmp_path / "few", count=3)
    code, _, err = run("quickstart", "--data", few)
    assert code == 2
    assert "too little text for the held-out split" in err
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").rglob("*.safetensors"))


def test_scaled_too_small_and_impossible_values_are_sentences(run):
    for words in (
        ["gpt-s-5m", "--scaled", "100"],
        ["gpt-s-5m", "training.tokens=.inf"],
        ["gpt-s-5m", "training.batch_size=.inf"],
        ["gpt-s-5m", "training.learning_rate=-1"],
        ["gpt-s-5m", "training.weight_decay=.nan"],
        ["gpt-s-5m", "execution.micro_batch=0"],
        ["gpt-s-5m", "name=a/../../b"],
    ):
        code, _, err = run("plan", *words)
        assert (code, len(err.strip().splitlines())) == (2, 1), (words, err)
    assert "training.tokens: 'abc' is not a number" in run("plan", "gpt-s-5m", "training.tokens=abc")[2]


def test_an_answer_that_cannot_be_written_is_a_sentence(run, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run("plan", "quickstart", "--plot", tmp_path / "file" / "plot.png")
    assert code == 2
    assert "cannot be written" in err


def test_a_truncated_shard_is_named(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    recipe = tiny_recipe(tmp_path, texts(tmp_path / "texts"))
    assert run("prepare", recipe)[0] == 0
    shard = max((tmp_path / "corpora/tiny").rglob("*train*"), key=lambda path: path.stat().st_size)
    content = shard.read_bytes()
    shard.write_bytes(content[:-10])
    code, _, err = run("train", recipe)
    assert code == 2
    assert shard.name in err
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    code, _, err = run("prepare", recipe, "--verify")
    assert code == 2
    assert "checksum" in err


def test_plan_says_which_special_tokens_a_chat_template_needs(run, tmp_path):
    file = tiny_recipe(tmp_path, tmp_path / "nowhere.jsonl")
    code, _, err = run("plan", file, "sources.own.messages_field=messages")
    assert code == 2
    assert 'special_tokens: ["<|im_start|>", "<|im_end|>"]' in err


def test_train_looks_at_the_folder_of_benchmarks_before_it_prepares(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    recipe = tiny_recipe(tmp_path, texts(tmp_path / "texts"))
    words = ("evaluation.benchmarks.tasks=[piqa]", "evaluation.benchmarks.data=nowhere")
    for option in ((), ("--dry-run",)):
        code, _, err = run("train", recipe, *words, *option)
        assert code == 2
        assert "nowhere is not a folder with the files of benchmarks" in err
    assert not (tmp_path / "corpora").exists()


def test_generate_refuses_a_prompt_that_is_not_utf_8(run, tmp_path):
    code, out, err = run("generate", tmp_path, "--prompt", b"\xff\xfe".decode("utf-8", "surrogateescape"))
    assert (code, out) == (2, "")
    assert "--prompt: this is not UTF-8" in err


def test_generate_refuses_a_setting_before_it_writes(run, monkeypatch):
    import flyweight.inference

    monkeypatch.setattr(flyweight.inference, "load_model", lambda *_, **__: None)
    code, out, err = run("generate", "unused", "--prompt", "x", "--temperature", "nan")
    assert (code, out) == (2, "")
    assert "temperature is nan" in err


def test_export_says_that_it_takes_no_hugging_face_folder(run, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    code, _, err = run("export", tmp_path, tmp_path / "out")
    assert code == 2
    assert "export takes checkpoints of Flyweight only" in err
