"""Where events go: the record, the terminal, TensorBoard."""

from flyweight.training.sinks.fan_out import Sink, Sinks, standard_sinks

__all__ = ["Sink", "Sinks", "standard_sinks"]
