"""FP8 training of the blocks' linear layers: which layers, by what scales, and the layer itself."""

from flyweight.training.precision.choice import Float8Choice, choose_float8
from flyweight.training.precision.layer import Float8Linear
from flyweight.training.precision.scaling import Float8Layers, convert_to_float8

__all__ = ["Float8Choice", "Float8Layers", "Float8Linear", "choose_float8", "convert_to_float8"]
