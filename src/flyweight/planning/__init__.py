"""What a run will cost and do, before a cent is spent."""

from flyweight.planning.dry_run import DryRun, StageTrial, dry_run
from flyweight.planning.dry_run_rendering import render_dry_run
from flyweight.planning.fitting import Fit
from flyweight.planning.plan import Plan, plan_recipe
from flyweight.planning.realised import Realised, realised_tokens
from flyweight.planning.rendering import render
from flyweight.planning.storage import Disk
from flyweight.planning.supply import Overlap
from flyweight.planning.timelines import plot_timelines, timeline_panels, timelines_figure
from flyweight.training.memory import Memory

__all__ = [
    "Disk",
    "DryRun",
    "Fit",
    "Memory",
    "Overlap",
    "Plan",
    "Realised",
    "StageTrial",
    "dry_run",
    "plan_recipe",
    "plot_timelines",
    "realised_tokens",
    "render",
    "render_dry_run",
    "timeline_panels",
    "timelines_figure",
]
