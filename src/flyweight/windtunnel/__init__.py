"""Search on a small model, fly the big one: µP checked, searched and carried to another width."""

from flyweight.windtunnel.coordinates import EXCEPTIONS, Coordinates, measure_coordinates
from flyweight.windtunnel.widths import at_width

__all__ = ["EXCEPTIONS", "Coordinates", "at_width", "measure_coordinates"]
