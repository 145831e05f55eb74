"""From the study to the target: its recipe with what was found, each value with where it is from."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from flyweight.base import UserError, atomic_write, read_json, write_json
from flyweight.recipe import Recipe, load_recipe
from flyweight.windtunnel.confirmation import Candidate
from flyweight.windtunnel.proxy import value_of, with_values
from flyweight.windtunnel.ratio import RatioStudy, own_shares, with_shares
from flyweight.windtunnel.study import Study

RESULT_FILE = "result.json"


def write_result(study: Study, candidates: list[Candidate], more: Mapping[str, Any] | None = None) -> Path:
    """Write down the candidates, best first, and `more` beside them; of a ratio study with their shares."""
    path = study.folder / RESULT_FILE
    write_json(
        path,
        {
            "study": study.name,
            "trials": sum(
                trial.state.name in ("COMPLETE", "PRUNED")
                for trial in study.load().get_trials(deepcopy=False)
            ),
            "candidates": [
                {
                    **asdict(candidate),
                    "mean": candidate.mean,
                    "spread": candidate.spread,
                    **({"shares": study.shown(candidate.values)} if isinstance(study, RatioStudy) else {}),
                }
                for candidate in candidates
                if not candidate.diverged
            ],
            **(more or {}),
        },
    )
    return path


@dataclass(frozen=True)
class Result:
    """What a study came to."""

    study: str
    best: Candidate
    shares: dict[str, float] | None
    """Of a ratio study: the best candidate's shares by source."""


def read_result(folder: Path) -> Result:
    """The study's name and its best candidate.

    Raises:
        UserError: the folder holds no result, or no trial was sound.
    """
    path = folder / RESULT_FILE
    if not path.exists():
        raise UserError(
            f"{folder}: no finished study here (there is no {RESULT_FILE}); `flyweight tunnel search` or `flyweight "
            f"tunnel ratio` first."
        )
    found = read_json(path, "result of a study")
    if not found["candidates"]:
        raise UserError(f"{folder}: every trial of this study diverged; search where the rates are lower.")
    best = found["candidates"][0]
    candidate = Candidate(best["number"], best["values"], tuple(best["objectives"]), best["diverged"])
    return Result(found["study"], candidate, best.get("shares"))


def fly(recipe: Recipe, folder: Path, out: Path) -> Recipe:
    """Write `recipe` with the study's best values to `out`, each with a comment, and return it as it loads back.

    Of a ratio study the values are the shares in the decay.

    Raises:
        UserError: no finished study in `folder`, values that the recipe cannot take, or `out` exists.
    """
    if out.exists():
        raise UserError(f"{out}: there is a file already; name another one.")
    result = read_result(folder)
    best = result.best
    spread = "one seed" if best.spread is None else f"± {best.spread:.4f} over {len(best.objectives)} seeds"
    if result.shares is None:
        changed = with_values(recipe, best.values)
        found = [(key.split("."), value, value_of(recipe, key)) for key, value in best.values.items()]
    else:
        changed = with_shares(recipe, result.shares)
        own = own_shares(recipe, tuple(result.shares))
        last = len(changed.training.mixture) - 1
        found = [
            (["training", "mixture", last, "weights", name], share, own[name])
            for name, share in result.shares.items()
        ]
    data = _commented(_without_defaults(changed.to_dict(), Recipe.model_fields))
    data.yaml_set_start_comment(
        f"{recipe.name} with the values of the study {result.study}, trial {best.number}: {best.mean:.4f} bits per "
        f"byte on the proxy\n({spread}). Whatever has no comment is as it was."
    )
    for (*parents, last), value, before in found:
        place = data
        for part in parents:
            place = place[part]
        was = "" if before is None else f"; was {before:g}"
        place.yaml_add_eol_comment(
            f"{value:g} by study {result.study}, trial {best.number}, {spread}{was}", last
        )
    text = io.StringIO()
    yaml = YAML()
    yaml.width = 110
    yaml.dump(data, text)
    with atomic_write(out) as file:
        file.write(text.getvalue())
    loaded = load_recipe(str(out))
    assert loaded.to_dict() == changed.to_dict()
    return loaded


def _without_defaults(data: dict[str, Any], fields: Any) -> dict[str, Any]:
    """Sections that stand as they are by default are left out."""

    def default(key: str) -> Any:
        value = fields[key].get_default(call_default_factory=True)
        return value.model_dump(mode="json") if isinstance(value, BaseModel) else value

    return {key: value for key, value in data.items() if fields[key].is_required() or value != default(key)}


def _commented(value: Any) -> Any:
    if isinstance(value, dict):
        return CommentedMap({key: _commented(item) for key, item in value.items()})
    return [_commented(item) for item in value] if isinstance(value, list | tuple) else value
