"""What trackers plot: the numbers of an event by name, the same in all of them."""

from __future__ import annotations

from flyweight.events import Evaluated, Event, Sampled, StepDone, Validated


def scalars(event: Event) -> dict[str, float]:
    """Numbers over the clock of an event that has one; empty for the others. What was not measured is not there."""
    if isinstance(event, StepDone):
        return _of_step(event)
    if isinstance(event, Validated):
        return {
            **{f"bits_per_byte/{name}": value for name, value in event.bits_per_byte.items()},
            **{f"held_out_loss/{name}": value for name, value in event.loss.items()},
        }
    if isinstance(event, Evaluated):
        return {f"tasks/{name}": value for name, value in event.scores.items()}
    return {}


def sample(event: Sampled) -> tuple[str, str]:
    """(name, text) of a sample: trackers keep one text by name and clock, so that every prompt has its own name."""
    name = f"sample: {event.prompt[:40]}" if event.prompt else "sample"
    return name, event.prompt + event.text


def _of_step(event: StepDone) -> dict[str, float]:
    total = sum(event.realised.values()) or 1
    tokens = event.tokens_per_second * event.seconds
    values = {
        "train/loss": event.loss,
        "train/z_loss": event.z_loss,
        "train/grad_norm": event.grad_norm,
        "train/learning_rate": event.learning_rate,
        "train/weight_decay": event.weight_decay,
        "train/rope_theta": event.rope_theta,
        "train/batch_size": event.batch_size,
        "train/sequence_length": event.sequence_length,
        "speed/tokens_per_second": event.tokens_per_second,
        "speed/share_of_peak": event.share_of_peak,
        "speed/data_wait_share": event.data_seconds / event.seconds if event.seconds else None,
        "speed/joules_per_token": event.joules / tokens if event.joules is not None and tokens else None,
        **{f"mixture/{name}": count / total for name, count in event.realised.items()},
    }
    return {name: value for name, value in values.items() if value is not None}
