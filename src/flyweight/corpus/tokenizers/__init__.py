"""Text to token ids and back: trained here, or adopted."""

from flyweight.corpus.tokenizers.text_tokenizer import TextTokenizer, train_tokenizer

__all__ = ["TextTokenizer", "train_tokenizer"]
