"""From text to token shards: readers, the held-out split, tokenizers, generated arithmetic."""

from flyweight.corpus.documents import Document, ReadLog
from flyweight.corpus.manifest import Manifest, SourceManifest, average_weights, read_manifest
from flyweight.corpus.opening import OpenCorpus, open_corpus
from flyweight.corpus.prepare import prepare, train_recipe_tokenizer
from flyweight.corpus.reading.chat_tokens import check_chat_tokens
from flyweight.corpus.shards import HeldOut, TokenStream
from flyweight.corpus.tokenizers import TextTokenizer, train_bpe
from flyweight.corpus.verification import verify

__all__ = [
    "Document",
    "HeldOut",
    "Manifest",
    "OpenCorpus",
    "ReadLog",
    "SourceManifest",
    "TextTokenizer",
    "TokenStream",
    "average_weights",
    "check_chat_tokens",
    "open_corpus",
    "prepare",
    "read_manifest",
    "train_bpe",
    "train_recipe_tokenizer",
    "verify",
]
