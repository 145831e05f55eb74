"""The recipe: one strict, frozen object that is the whole run.

Every key is *identity* (it changes what is learned) or *execution* (device, micro-batch, logging):
a run continues under other execution keys, other identity keys need a new run. Execution keys are
those under a field marked with `EXECUTION`.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from flyweight.recipe.evaluation import Evaluation
from flyweight.recipe.execution import Execution
from flyweight.recipe.frozen import EXECUTION, Frozen
from flyweight.recipe.training import Training
from flyweight.recipe.tunnel import Tunnel
from flyweight.recipe.units import Bytes, parse_tokens

FORMAT_VERSION = 1


class Model(Frozen):
    """The decoder. Names are those of Hugging Face's configurations."""

    vocab_size: int = Field(ge=2)
    """Rows of the embedding; at least the tokenizer's entries (some models pad it)."""
    hidden_size: int = Field(ge=8)
    """Width D of the residual stream."""
    intermediate_size: int = Field(ge=8)
    """Width of the SwiGLU feed-forward."""
    num_hidden_layers: int = Field(ge=1)
    """Number of blocks."""
    num_attention_heads: int = Field(ge=1)
    """Query heads H."""
    num_key_value_heads: int = Field(ge=1)
    """Key/value heads K; each serves H/K query heads."""
    head_dim: int = Field(ge=2, multiple_of=2)
    """Width C of one head; even, since RoPE turns pairs."""
    max_position_embeddings: int = Field(ge=1)
    """The longest sequence that the model is meant for."""
    rope_theta: float = Field(default=10_000.0, gt=0)
    """Base of the rotary position embedding, where `training.rope_theta` does not move it."""
    rms_norm_eps: float = Field(default=1e-6, gt=0)
    """Epsilon of every RMSNorm."""
    tie_word_embeddings: bool = True
    """Whether the readout is the embedding's transpose."""
    qk_norm: bool = False
    """RMSNorm on each head's query and key before RoPE, one gain vector a layer shared by the heads."""
    exclusive_attention: bool = False
    """XGQA: each head's output loses its part along its own value vector (arXiv 2603.09078)."""
    scale_embedding: bool = False
    """Multiply the embedding's output by sqrt(hidden_size), on the input side only."""

    @model_validator(mode="after")
    def _heads_in_groups(self) -> Self:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads ({self.num_attention_heads}) is not divisible by "
                f"num_key_value_heads ({self.num_key_value_heads})"
            )
        return self


class Parametrization(Frozen):
    """How initialisation, forward multipliers and learning rates depend on width and depth.

    `standard`: one initialisation and one rate for all; output projections initialised 1/sqrt(2L)
    smaller. `mup`: µP as in Tensor Programs V (arXiv 2203.03466, table 8), with a weight decay that
    does not fall with the rate. `minicpm`: µP as in MiniCPM and Xmodel-2 (arXiv 2404.06395, table 7).
    `xmodel-2.5`: µP as in Xmodel-2.5's training code.
    """

    kind: Literal["standard", "mup", "minicpm", "xmodel-2.5"] = "standard"
    """Which parametrization."""
    init_std: float = Field(default=0.02, gt=0)
    """Standard deviation of the initialisation before any width or depth factor."""
    scale_emb: float = Field(default=1.0, gt=0)
    """µP: the embedding's output is multiplied by this."""
    scale_depth: float = Field(default=1.0, gt=0)
    """µP: each residual branch is multiplied by scale_depth / sqrt(num_hidden_layers)."""
    dim_model_base: int | None = Field(default=None, ge=1)
    """µP: the width at which nothing is scaled."""

    @model_validator(mode="after")
    def _base_width(self) -> Self:
        if (self.kind == "standard") != (self.dim_model_base is None):
            raise ValueError("`dim_model_base` is needed with a µP kind, and only there")
        if self.kind == "standard" and (self.scale_emb, self.scale_depth) != (1.0, 1.0):
            raise ValueError("`scale_emb` and `scale_depth` belong to the µP kinds")
        return self


class Tokenizer(Frozen):
    """The tokenizer: trained on the sources, or an existing one."""

    kind: Literal["bpe", "unigram", "existing"] = "bpe"
    """`bpe`: train a byte-level BPE on the sources' training documents. `unigram`: train a SentencePiece
    Unigram on them. `existing`: adopt `path`."""
    vocab_size: int = Field(ge=258)
    """Entries, special tokens included."""
    pattern: Literal["qwen2", "gpt-2", "llama-bpe"] = "qwen2"
    """Pre-tokenizer of a new BPE; `qwen2` splits numbers into single digits."""
    sample: Bytes = 200_000_000
    """Bytes of training text that a new tokenizer is trained on, drawn from the sources by their weights."""
    special_tokens: tuple[str, ...] = ()
    """Of a new tokenizer: entries beside end_of_text that text never turns into, such as a chat template's."""
    symbols: tuple[str, ...] = ()
    """Of a new Unigram: pieces that are never split or joined to others."""
    chat_template: str = "chatml"
    """How records of messages become text: `chatml`, or a Jinja template as in Hugging Face's tokenizers."""
    path: str | None = Field(default=None, json_schema_extra=EXECUTION)
    """With `existing`: a tokenizer.json, a SentencePiece .model, or a folder with one or with GPT-2's files."""
    origin: str | None = None
    """With `existing`: where it comes from, for people."""
    end_of_text: str = "<|endoftext|>"
    """The token after every document."""

    @model_validator(mode="after")
    def _path_when_existing(self) -> Self:
        if self.kind != "existing" and self.path is not None:
            raise ValueError("`path` goes with `kind: existing`")
        if self.kind == "existing" and self.special_tokens:
            raise ValueError("`special_tokens` go with a new tokenizer; an existing one has its own")
        if self.kind != "unigram" and self.symbols:
            raise ValueError("`symbols` go with `kind: unigram`")
        return self


class Source(Frozen):
    """Where documents come from."""

    kind: Literal["files", "hub", "builtin"]
    """`files`: a file or folder. `hub`: a Hugging Face dataset. `builtin`: text that is on every machine."""
    path: str | None = Field(default=None, json_schema_extra=EXECUTION)
    """A .txt, .md, .jsonl, .jsonl.gz, .jsonl.zst or .parquet file, or a folder of them."""
    dataset: str | None = None
    """With `hub`: the dataset's id."""
    subset: str | None = None
    """With `hub`: the configuration of the dataset."""
    split: str = "train"
    """With `hub`: the split."""
    revision: str | None = None
    """With `hub`: a commit, branch or tag; the commit that it means is what is kept."""
    files: tuple[str, ...] = ()
    """With `hub`: patterns of the files to read, such as `data/*.parquet`, instead of a subset and a split."""
    builtin: Literal["english", "python", "arithmetic", "logic"] | None = None
    """With `builtin`: English prose and docstrings, Python source, generated arithmetic or logic."""
    text_field: str = "text"
    """The column or key that holds the text; `.` goes into nested records."""
    messages_field: str | None = None
    """The column or key that holds a conversation, a list of {role, content}: it is read through
    tokenizer.chat_template instead of `text_field`."""
    filter: str | None = None
    """Keep only records for which this holds, such as `score >= 4 and language == "en"`."""
    tinydsl: Literal["compact", "exact"] | None = None
    """The documents are Python; turn them into this dialect of TinyDSL."""
    limit: Bytes | None = None
    """Read at most this much text."""
    licence: str | None = Field(default=None, json_schema_extra=EXECUTION)
    """For the model card."""

    @model_validator(mode="after")
    def _place(self) -> Self:
        needed = {"files": "path", "hub": "dataset", "builtin": "builtin"}[self.kind]
        if getattr(self, needed) is None:
            raise ValueError(f"a source of kind `{self.kind}` needs `{needed}`")
        if self.tinydsl and (self.messages_field or self.builtin not in (None, "python")):
            raise ValueError("`tinydsl` needs documents of Python code")
        return self


class EvaluationSet(Frozen):
    """Text that a model will be measured on, and must not be trained on."""

    path: str | None = Field(default=None, json_schema_extra=EXECUTION)
    """A .txt, .md, .jsonl (plain, .gz, .zst), .json or .parquet file, or a folder of them."""
    dataset: str | None = None
    """Or a dataset's id on the hub."""
    subset: str | None = None
    """The configuration of the dataset."""
    split: str = "test"
    """The split of the dataset."""
    revision: str | None = None
    """A commit, branch or tag of the dataset."""
    fields: tuple[str, ...] = ()
    """The keys that hold text; every string of a record when left out."""

    @model_validator(mode="after")
    def _place(self) -> Self:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("an evaluation set needs either `path` or `dataset`")
        return self


class Corpus(Frozen):
    """What happens to documents before training."""

    exact_duplicates: bool = True
    """Remove documents whose text came before, in whatever source."""
    near_duplicates: Literal["keep", "held_out", "remove"] = "keep"
    """`remove`: remove documents that are nearly the same as an earlier one (MinHash over 5-word shingles,
    14 bands of 8). `held_out`: remove training documents that are nearly the same as held-out ones."""
    decontaminate: dict[str, EvaluationSet] = Field(default_factory=dict)
    """Remove documents that share a run of 13 words with one of these sets."""

    held_out: float = Field(default=0.005, gt=0, le=0.5)
    """Share of each source's documents that no training ever sees, split off first."""
    held_out_limit: Bytes = 50_000_000
    """Of each source, hold out at most this much text: a smaller share of all its documents."""


class Recipe(Frozen):
    """One file that is the whole run."""

    format: int = FORMAT_VERSION
    """Version of the recipe's format."""
    name: str = Field(pattern=r"^[^/\\.][^/\\]*$", json_schema_extra=EXECUTION)
    """Name of the model; it becomes the name of run and export."""
    description: str = Field(default="", json_schema_extra=EXECUTION)
    """One paragraph for people."""
    seed: int = Field(default=0, ge=0)
    """The one seed; every random stream is derived from it by name."""
    model: Model
    """The decoder."""
    parametrization: Parametrization = Parametrization()
    """Initialisation, multipliers and rates by role."""
    tokenizer: Tokenizer
    """The tokenizer."""
    sources: dict[str, Source] = Field(min_length=1)
    """Where documents come from, by name."""
    corpus: Corpus = Corpus()
    """What happens to documents before training."""
    training: Training
    """What is learned from what, when."""
    evaluation: Evaluation = Evaluation()
    """What is measured, and when."""
    execution: Execution = Field(default=Execution(), json_schema_extra=EXECUTION)
    """How the run is carried out."""
    tunnel: Tunnel = Field(default=Tunnel(), json_schema_extra=EXECUTION)
    """How `flyweight tunnel` searches for hyper-parameters; a run does not read it."""

    _notes: list[str] = PrivateAttr(default_factory=list)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        mixed, known = set(self.training.mixture[0].weights), set(self.sources)
        if missing := sorted(mixed - known):
            raise ValueError(
                f"the mixture names {missing[0]!r}, which is not among the sources {sorted(known)}"
            )
        if unused := sorted(known - mixed):
            raise ValueError(
                f"source {unused[0]!r} has no weight in the mixture; give it one, or take it out"
            )
        if self.tokenizer.vocab_size > self.model.vocab_size:
            raise ValueError(
                f"the tokenizer has {self.tokenizer.vocab_size:,} entries, more than the model's vocab_size of "
                f"{self.model.vocab_size:,}"
            )
        longest = self.training.sequence_length.maximum
        if longest > self.model.max_position_embeddings:
            raise ValueError(
                f"sequences of {longest:,.0f} tokens are longer than max_position_embeddings "
                f"({self.model.max_position_embeddings:,})"
            )
        if self.training.first_step_tokens > self.training.tokens:
            raise ValueError(
                f"training.tokens ({self.training.tokens:,}) is less than one step "
                f"({self.training.first_step_tokens:,} tokens)"
            )
        for knot in self.training.mixture:
            if abs(knot.excess) > 1e-9:
                self._notes.append(
                    f"the mixture weights at {knot.at:,} tokens add up to {100 * (1 + knot.excess):.4f}%; "
                    f"they are normalised to 100%"
                )
        return self

    @property
    def notes(self) -> tuple[str, ...]:
        """What was adjusted when the recipe was loaded or scaled, for people."""
        return tuple(self._notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: what `load_recipe` would read back as the same recipe."""
        return self.model_dump(mode="json")

    def scaled(self, tokens: int | str, factor: int = 1) -> Recipe:
        """A small, honest copy over `tokens` tokens, of a model about `factor` times narrower and shallower.

        See `flyweight.recipe.scaling`. What was adjusted is in the copy's `notes`.
        """
        from flyweight.recipe.scaling import scale_recipe

        return scale_recipe(self, parse_tokens(tokens), factor)
