"""What came of sweeps, laws and searches, in lines for people."""

from __future__ import annotations

from flyweight.plots import format_power
from flyweight.recipe import format_tokens
from flyweight.windtunnel.confirmation import Candidate
from flyweight.windtunnel.mixing_law import Response
from flyweight.windtunnel.scaling_runs import Scaling
from flyweight.windtunnel.study import Study
from flyweight.windtunnel.transfer import Transfer


def transfer_lines(found: Transfer) -> list[str]:
    """What a sweep came to, for people."""
    lines = []
    for kind, width, depth in found.objectives:
        best = found.sound_optimum(kind, width, depth)
        size = f"{kind}, width {width}, {depth} layers"
        if best is None:
            lines.append(f"{size}: every rate of the grid diverged with some seed; sweep lower ones")
            continue
        edge = ", at the edge of the grid" if best.at_edge else ""
        carried = found.loss_of_carrying(kind, width, depth)
        lines.append(
            f"{size}: best at {format_power(best.rate)} ({best.objective:.4f} bits per byte{edge}); with the best of "
            f"the smallest {'diverged' if carried is None else f'{carried:+.4f}'}"
        )
    for kind in found.grid.kinds:
        for along in ("width", "depth"):
            sizes = found.grid.widths if along == "width" else found.grid.depths
            moved = found.moved(kind, along=along)
            if len(sizes) > 1 and moved is not None:
                lines.append(
                    f"{kind}: the optimum moved by {moved:+.2f} factors of two from {along} {sizes[0]} to {sizes[-1]}"
                )
    return lines


def scaling_lines(found: Scaling) -> list[str]:
    """What a law came to, for people."""
    fit, law = found.fit, found.fit.law
    lines = [
        f"bits per byte = {law.a:.4g} N^-{law.alpha:.3f} + {law.b:.4g} D^-{law.beta:.3f} + {law.c:.4g}, with N "
        f"parameters in matrices and D tokens; {len(found.branches)} branches, off by {fit.residual:.2%} (root mean "
        f"square)"
    ]
    for branch in found.held_out:
        middle, low, high = fit.predict(branch.parameters, branch.tokens)
        inside = "inside" if low <= branch.objective <= high else "outside"
        lines.append(
            f"held out, {branch.width}x{branch.depth} at {format_tokens(branch.tokens)} tokens: measured "
            f"{branch.objective:.4f}, predicted {middle:.4f} ({low:.4f} to {high:.4f}): "
            f"{branch.objective / middle - 1:+.2%}, {inside} the interval"
        )
    return lines


def candidate_lines(study: Study, candidates: list[Candidate]) -> list[str]:
    """The candidates of a search, best first."""
    lines = []
    for candidate in candidates:
        values = ", ".join(f"{key} {value:.4g}" for key, value in study.shown(candidate.values).items())
        seeds = f" over {len(candidate.objectives)} seeds"
        spread = "" if candidate.spread is None else f" ± {candidate.spread:.4f}{seeds}"
        lines.append(f"trial {candidate.number}: {candidate.mean:.4f} {study.goal.unit}{spread}: {values}")
    return lines


def response_lines(found: Response, unit: str = "bits per byte") -> list[str]:
    """What the fit of a ratio search says; values of the objective are in `unit`."""
    objective = found.along(found.best.sum()[None])[:, 0, -1]
    split = ", ".join(f"{name} {share:.1%}" for name, share in zip(found.sources, found.best, strict=True))
    edge = [
        text
        for limit, text in zip(found.limits, ("the least", "the most"), strict=True)
        if abs(found.best.sum() - limit) < 1e-3
    ]
    return [
        f"by the fit over {len(found.points)} branches (off by {found.residual:.4f}, root mean square) the best share "
        f"is {found.best.sum():.1%} ({found.best_low:.1%} to {found.best_high:.1%}): {split}; {objective[0]:.4f} "
        f"{unit} ({objective[1]:.4f} to {objective[2]:.4f})"
        + (f"; that is {edge[0]} that was tried: the best may lie beyond" if edge else "")
    ]
