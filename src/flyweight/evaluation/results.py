"""What a task came to, and the file in which a run's results lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

RESULTS_FORMAT = 2
RESULTS_FILE = "results.json"


class Metric(NamedTuple):
    """A number about a model, with its uncertainty."""

    value: float
    """As lm-eval gives it: a share of 1 for accuracies."""
    stderr: float | None
    """Standard error; None where it is not defined."""
    n: int
    """Items that it is a mean over."""


@dataclass(frozen=True)
class TaskResult:
    """What one task came to."""

    metrics: dict[str, Metric]
    """By name; those of lm-eval keep their names there (`acc`, `acc_norm`, `exact_match,strict-match`)."""
    items: dict[str, list[Any]]
    """Columns of one entry an item, all of one length. `id` says which item (unique, the same in every run
    over the same data), a column with a metric's name what that item adds to its mean, `loglikelihoods`
    those of the choices, `gold` the right choice, `text` what was generated."""
    chance: float | None = None
    """What guessing gives; None where that means nothing."""
    shots: int = 0
    """Examples in the prompt."""
    subsets: dict[str, dict[str, Metric]] = field(default_factory=dict)
    """The metrics of parts of the task, by the part's name."""
    fit: dict[str, int] = field(default_factory=dict)
    """What did not fit into the model's context: `requests`, `truncated` (of them), `tokens_lost`, ..."""
    data: dict[str, str] = field(default_factory=dict)
    """Where the items come from: `source`, and `fingerprint`, a hash of them."""
    details: dict[str, Any] = field(default_factory=dict)
    """What else this task has to tell; ready for JSON."""

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON; `from_json` reads it back."""
        return {
            "metrics": {name: metric._asdict() for name, metric in self.metrics.items()},
            "chance": self.chance,
            "shots": self.shots,
            "subsets": {
                part: {name: metric._asdict() for name, metric in metrics.items()}
                for part, metrics in self.subsets.items()
            },
            "fit": self.fit,
            "data": self.data,
            "details": self.details,
            "items": self.items,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The result that `to_json` wrote."""
        return cls(
            metrics={name: Metric(**metric) for name, metric in data["metrics"].items()},
            items=data["items"],
            chance=data["chance"],
            shots=data["shots"],
            subsets={
                part: {name: Metric(**metric) for name, metric in metrics.items()}
                for part, metrics in data["subsets"].items()
            },
            fit=data["fit"],
            data=data["data"],
            details=data["details"],
        )
