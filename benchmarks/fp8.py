"""Linear layers in FP8 against bfloat16: time, forward and backward, and how far each is from float32.

    python benchmarks/fp8.py [--device cuda] [--compile] [--models gpt-s-5m xmodel-2.5-1.3b] [--rows 4096]

Prints JSON: a row for each linear layer of a block of the named recipes, with both times, their ratio and the
relative errors (norm of the difference over norm of the float32 result) of output and both gradients.
"""

from __future__ import annotations

import argparse
import json

import torch

from flyweight.model.layers import Linear
from flyweight.recipe import load_recipe
from flyweight.training.plan import apply_plan, resolve_plan
from flyweight.training.precision import Float8Linear
from flyweight.training.precision.choice import layer_shapes
from flyweight.training.precision.formats import why_not_float8
from flyweight.training.precision.trial import LayerShape, Trial
from flyweight.training.run import versions


def gradients(layer: Linear, x: torch.Tensor, gradient: torch.Tensor, half: bool) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    layer.weight.grad = None
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=half):
        y = layer(x)
    y.backward(gradient.to(y.dtype))
    assert x.grad is not None
    assert layer.weight.grad is not None
    return [y.detach(), x.grad, layer.weight.grad]


def errors(shape: LayerShape, device: torch.device) -> dict[str, dict[str, float]]:
    """Errors for normal inputs, weights and gradients."""
    generator = torch.Generator(device).manual_seed(0)
    options = {"device": device, "generator": generator}
    plain = Linear(shape.inputs, shape.outputs).to(device)
    with torch.no_grad():
        plain.weight.copy_(torch.randn(shape.outputs, shape.inputs, **options) * shape.inputs**-0.5)
    x = torch.randn(shape.rows, shape.inputs, **options)
    gradient = torch.randn(shape.rows, shape.outputs, **options)
    expected = gradients(plain, x, gradient, half=False)
    found = {
        "bfloat16": gradients(plain, x, gradient, half=True),
        "fp8": gradients(Float8Linear(plain, delayed=False), x, gradient, half=True),
    }
    return {
        kind: {
            name: round(float((mine.float() - theirs).norm() / theirs.norm()), 5)
            for name, mine, theirs in zip(("output", "input", "weight"), values, expected, strict=True)
        }
        for kind, values in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--models", nargs="+", default=["gpt-s-5m", "gpt-x2-125m", "xmodel-2.5-1.3b"])
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    device = torch.device(args.device)
    if (reason := why_not_float8(device)) is not None:
        raise SystemExit(reason)
    recipe = load_recipe("gpt-s-5m", [f"execution.device={args.device}", "execution.compile=off"])
    plan = resolve_plan(recipe)
    apply_plan(plan)
    rows = []
    for model in args.models:
        for kind, shape in layer_shapes(load_recipe(model), args.rows).items():
            row: dict[str, object] = {"model": model, "layer": kind, "shape": list(shape)}
            for delayed in (False, True):
                gain = Trial(device, delayed, passes=8, compiled=args.compile).measure(shape, args.rounds)
                row["delayed" if delayed else "dynamic"] = {
                    "bfloat16_ms": round(1e3 * gain.bfloat16, 4),
                    "fp8_ms": round(1e3 * gain.float8, 4),
                    "ratio": round(gain.ratio, 3),
                }
            rows.append({**row, "errors": errors(shape, device)})
    head = {"hardware": plan.hardware, "versions": versions(), "compiled": args.compile}
    print(json.dumps({**head, "layers": rows}, indent=1))


if __name__ == "__main__":
    main()
