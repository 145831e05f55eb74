"""Search on a small model, fly the big one: µP checked, searched and carried to another width."""

from flyweight.windtunnel.coordinates import EXCEPTIONS, Coordinates, measure_coordinates
from flyweight.windtunnel.data import first_batch
from flyweight.windtunnel.figures import coordinates_figure
from flyweight.windtunnel.widths import at_width, default_widths

__all__ = [
    "EXCEPTIONS",
    "Coordinates",
    "at_width",
    "coordinates_figure",
    "default_widths",
    "first_batch",
    "measure_coordinates",
]
