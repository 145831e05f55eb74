"""Programs that a model wrote, run where they can do no harm."""

from flyweight.evaluation.sandbox.bubblewrap import Bubblewrap, Interpreter
from flyweight.evaluation.sandbox.launch import LaunchError, Sandbox, run_program
from flyweight.evaluation.sandbox.limits import Limits, Outcome
from flyweight.evaluation.sandbox.programs import default_workers, find_sandbox, run_programs
from flyweight.evaluation.sandbox.unsandboxed import Unsandboxed

__all__ = [
    "Bubblewrap",
    "Interpreter",
    "LaunchError",
    "Limits",
    "Outcome",
    "Sandbox",
    "Unsandboxed",
    "default_workers",
    "find_sandbox",
    "run_program",
    "run_programs",
]
