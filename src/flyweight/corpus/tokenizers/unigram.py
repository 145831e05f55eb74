"""Training a SentencePiece Unigram with the settings of Xmodel-2's tokenizer (its tokenizer.model)."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence

from flyweight.base import UserError
from flyweight.corpus.tokenizers.sentencepiece_conversion import SPACE, convert
from flyweight.corpus.tokenizers.sentencepiece_model import parse_model
from flyweight.corpus.tokenizers.text_tokenizer import TextTokenizer

MOST_SAMPLE = 500_000_000
"""Bytes of text that are trained on: SentencePiece holds its input in memory, with suffix arrays over it, and
took 22 bytes for each (322 MB for 15 MB of text), so about 11 GB for the most.
That many fit its 32-bit indices, so `train_extremely_large_corpus`, which Xmodel-2 set, changes nothing."""

_LONGEST_LINE = 4192
"""Longer lines are left out, as in Xmodel-2's training (max_sentence_length, in bytes)."""

_THREADS = 16
"""Always the same, since the sums of the expectation step depend on how they are divided."""

_UNKNOWN, _BEGIN = "<unk>", "<s>"


def train_unigram(
    texts: Iterable[str],
    vocab_size: int,
    end_of_text: str,
    special_tokens: Sequence[str] = (),
    symbols: Sequence[str] = (),
) -> TextTokenizer:
    """A Unigram (arXiv 1804.10959) of exactly `vocab_size` entries, as a tokenizer.json.

    Every string has an encoding, by bytes where a character is not in the vocabulary, and comes back
    but for U+2581. Ids: 0 unknown, 1 <s>, 2 `end_of_text`, then `special_tokens`, `symbols`, the bytes,
    the pieces. What lies beyond the first `MOST_SAMPLE` bytes is not read.

    Args:
        texts: the sample; its lines are the sentences.
        vocab_size: entries.
        end_of_text: the token after every document.
        special_tokens: further tokens that text never turns into.
        symbols: pieces that are never split or joined to others, and that text does turn into; a space
            in them stands for itself.

    Raises:
        UserError: sentencepiece is not installed, or the sample gives fewer entries.
    """
    model = train_sentencepiece(texts, vocab_size, end_of_text, special_tokens, symbols)
    return TextTokenizer(convert(parse_model(model)), end_of_text)


def train_sentencepiece(
    texts: Iterable[str],
    vocab_size: int,
    end_of_text: str,
    special_tokens: Sequence[str] = (),
    symbols: Sequence[str] = (),
) -> bytes:
    """As `train_unigram`: the content of SentencePiece's own .model file."""
    try:
        import sentencepiece
    except ImportError:
        raise UserError(
            "tokenizer.kind: a unigram is trained by the package sentencepiece, which is not installed; run "
            '`pip install "flyweight[data]"`.'
        ) from None
    begin = [] if end_of_text == _BEGIN else [_BEGIN]
    controls = [
        token for token in dict.fromkeys(special_tokens) if token not in (_BEGIN, end_of_text, _UNKNOWN)
    ]
    reserved = "".join([_UNKNOWN, *begin, end_of_text, *controls, "<0x>0123456789ABCDEF"])
    lines = _Lines(texts)
    model = io.BytesIO()
    with open(os.devnull, "w") as silence:
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=model,
                logstream=silence,
                minloglevel=2,
                model_type="unigram",
                vocab_size=vocab_size,
                character_coverage=0.9999,
                # Xmodel-2 has them all anyway; conversion hides special tokens from text only with these.
                required_chars="".join(sorted(set(reserved) - {" ", SPACE, *symbols})),
                input_sentence_size=0,
                seed_sentencepiece_size=1_000_000,
                shrinking_factor=0.75,
                num_sub_iterations=2,
                max_sentence_length=_LONGEST_LINE,
                shuffle_input_sentence=True,
                max_sentencepiece_length=16,
                split_by_unicode_script=True,
                split_by_whitespace=True,
                split_by_number=True,
                split_digits=True,
                allow_whitespace_only_pieces=False,
                byte_fallback=True,
                hard_vocab_limit=True,
                num_threads=_THREADS,
                normalization_rule_name="identity",
                add_dummy_prefix=True,
                remove_extra_whitespaces=False,
                escape_whitespaces=True,
                unk_id=0,
                unk_piece=_UNKNOWN,
                bos_id=1 if begin else -1,
                bos_piece=_BEGIN,
                eos_id=1 + len(begin),
                eos_piece=end_of_text,
                pad_id=-1,
                control_symbols=controls,
                user_defined_symbols=[symbol.replace(" ", SPACE) for symbol in dict.fromkeys(symbols)],
            )
        except (RuntimeError, OSError) as error:
            raise _explained(str(error), vocab_size, lines) from None
    return model.getvalue()


def _explained(error: str, vocab_size: int, lines: _Lines) -> Exception:
    if not lines.size:
        return UserError("tokenizer.kind: there is no text to train the tokenizer on.")
    most = re.search(r"value <= (\d+)", error)
    if most:
        return UserError(
            f"tokenizer.vocab_size: {vocab_size:,} entries were asked for, but the {lines.size:,} bytes of "
            f"text give only {int(most[1]):,}; set tokenizer.vocab_size and model.vocab_size to at most "
            f"that, or give more text."
        )
    least = re.search(r"[Vv]ocabulary size (?:is )?too (?:small|low)", error) or "required_chars" in error
    if least:
        return UserError(
            f"tokenizer.vocab_size: {vocab_size:,} entries have no room for the bytes, the special tokens, the "
            f"symbols and the characters of the text; set a larger one."
        )
    return UserError(
        f"tokenizer.kind: sentencepiece could not train on this text ({' '.join(error.split())})."
    )


class _Lines:
    """The lines of texts up to MOST_SAMPLE bytes; `size` counts the bytes."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts
        self.size = 0

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            for line in text.split("\n"):
                if line:
                    self.size += len(line.encode("utf-8"))
                    yield line
            if self.size >= MOST_SAMPLE:
                return
