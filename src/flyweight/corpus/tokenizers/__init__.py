"""Text to token ids and back: trained here, or adopted; encoding fast where that gives the same ids."""

from flyweight.corpus.tokenizers.adopting import adopt
from flyweight.corpus.tokenizers.bpe import train_bpe
from flyweight.corpus.tokenizers.encoding import Encoder, EncoderChoice, open_encoder
from flyweight.corpus.tokenizers.text_tokenizer import TextTokenizer
from flyweight.corpus.tokenizers.training import train
from flyweight.corpus.tokenizers.unigram import train_unigram

__all__ = [
    "Encoder",
    "EncoderChoice",
    "TextTokenizer",
    "adopt",
    "open_encoder",
    "train",
    "train_bpe",
    "train_unigram",
]
