"""An exported chat model makes the same tokens of a conversation as training did, and stops where a message ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from release_models import END_OF_TEXT
from transformers import AutoTokenizer, GenerationConfig

from flyweight.corpus.reading.chat import CHATML
from flyweight.inference import chat_format, load_decoder, load_model, load_tokenizer
from flyweight.release import ExportError, export, huggingface
from flyweight.release.checks import CONVERSATION
from flyweight.release.huggingface import write_folder

LLAMA_LIKE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + ': ' + m['content'] | trim + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant: ' }}{% endif %}"
)


def written(checkpoint: Path, out: Path):
    decoder, recipe = load_decoder(checkpoint)
    return write_folder(out, decoder, recipe, load_tokenizer(checkpoint, recipe))


@pytest.mark.parametrize("template", ["chatml", LLAMA_LIKE])
def test_transformers_and_the_checkpoint_make_the_same_tokens(
    write_checkpoint, tmp_path: Path, template: str
) -> None:
    checkpoint = write_checkpoint("gqa", chat=template)
    written(checkpoint, tmp_path)
    own = load_model(checkpoint, "cpu").chat
    again = load_model(tmp_path, "cpu").chat
    assert own is not None
    assert again is not None
    expected = own.tokens(CONVERSATION)
    assert again.tokens(CONVERSATION) == expected
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.chat_template == (CHATML if template == "chatml" else template)
    messages = [dict(message) for message in CONVERSATION]
    assert theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False) == expected


@pytest.mark.parametrize(("template", "stops"), [("chatml", [0, 2]), (LLAMA_LIKE, 0), (None, 0)])
def test_text_ends_where_a_message_does(
    write_checkpoint, tmp_path: Path, template: str | None, stops
) -> None:
    checkpoint = write_checkpoint("gqa", chat=template)
    expected = written(checkpoint, tmp_path)
    assert GenerationConfig.from_pretrained(tmp_path).eos_token_id == stops
    assert expected.stop_tokens == (stops if isinstance(stops, list) else [stops])
    assert load_model(tmp_path, "cpu").stop_tokens == set(expected.stop_tokens)
    assert AutoTokenizer.from_pretrained(tmp_path).eos_token == END_OF_TEXT


def test_a_model_without_conversations_has_no_template(write_checkpoint, tmp_path: Path) -> None:
    checkpoint = write_checkpoint("gqa")
    assert written(checkpoint, tmp_path).conversation is None
    assert "chat_template" not in json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert load_model(checkpoint, "cpu").chat is load_model(tmp_path, "cpu").chat is None
    _, recipe = load_decoder(checkpoint)
    assert chat_format(recipe, load_tokenizer(checkpoint, recipe)) is None


def test_the_check_reads_the_folders_own_template(
    write_checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        export(write_checkpoint("gqa", chat="chatml"), tmp_path / "good").checks.conversation_tokens or 0
    ) > 50

    def other_template(folder: Path, *arguments):
        write_tokenizer(folder, *arguments)
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        changed = settings["chat_template"].replace("\n", " ", 1)
        assert changed != settings["chat_template"]
        (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": changed}))

    write_tokenizer = huggingface._write_tokenizer
    monkeypatch.setattr(huggingface, "_write_tokenizer", other_template)
    with pytest.raises(ExportError, match="its chat template gives other tokens"):
        export(tmp_path / "runs" / "gqa", tmp_path / "bad")
    assert not (tmp_path / "bad").exists()
