"""AdamW and Muon over groups of parameters that share a role.

The role table (`flyweight.model.parametrization`) says for each role the factor of the learning
rate, whether weight decay applies, and whether it is a matrix that Muon takes. Nothing else here
knows about names or shapes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flyweight.model import Decoder, Role, parameter_roles, role_rules
from flyweight.recipe import Training


def rates_by_role(training: Training, decoder: Decoder, clock: float) -> dict[Role, float]:
    """The learning rate of each role at `clock`: given outright, or the base rate times its factor."""
    rules = role_rules(decoder.config, decoder.parametrization)
    base = training.learning_rate.at(clock)
    return {
        role: training.role_learning_rate[role.value].at(clock)
        if role.value in training.role_learning_rate
        else base * rule.learning_rate_multiplier
        for role, rule in rules.items()
    }


class OptimizerByRole:
    """One step for all parameters of a decoder.

    Args:
        decoder: whose parameters are trained.
        training: the recipe's section with the settings of AdamW and Muon.
        kind: `adamw` for every parameter, or `muon` for the matrices and AdamW for the rest.
    """

    def __init__(self, decoder: Decoder, training: Training, kind: str):
        self.kind = kind
        self._names: dict[Tensor, str] = {}
        rules = role_rules(decoder.config, decoder.parametrization)
        groups: dict[str, dict[Role, list[Tensor]]] = {"adamw": {}, "muon": {}}
        roles = parameter_roles(decoder)
        for name, parameter in decoder.named_parameters():
            self._names[parameter] = name
            engine = "muon" if kind == "muon" and rules[roles[name]].is_matrix else "adamw"
            groups[engine].setdefault(roles[name], []).append(parameter)
        self._decayed = {role for role, rule in rules.items() if rule.decay}
        self._engines: dict[str, torch.optim.Optimizer] = {}
        if groups["adamw"]:
            adamw = training.adamw
            self._engines["adamw"] = torch.optim.AdamW(
                _torch_groups(groups["adamw"]),
                betas=(adamw.beta1, adamw.beta2),
                eps=adamw.eps,
                fused=True,
            )
        if groups["muon"]:
            # match_rms_adamw: updates times 0.2 * sqrt(max(rows, columns)), so that AdamW's learning
            # rates carry over (arXiv 2502.16982, section 2.2).
            self._engines["muon"] = torch.optim.Muon(
                _torch_groups(groups["muon"]),
                momentum=training.muon.momentum,
                nesterov=True,
                ns_steps=training.muon.ns_steps,
                adjust_lr_fn="match_rms_adamw",
            )

    def step(self, rates: dict[Role, float], weight_decay: float) -> None:
        """Update every parameter at its role's rate and clear the gradients."""
        for engine in self._engines.values():
            for group in engine.param_groups:
                group["lr"] = rates[group["role"]]
                group["weight_decay"] = weight_decay if group["role"] in self._decayed else 0.0
            engine.step()
            engine.zero_grad(set_to_none=True)

    def state_tensors(self) -> dict[str, Tensor]:
        """The optimizers' state as tensors named `engine/key/parameter`."""
        return {
            f"{kind}/{key}/{self._names[parameter]}": torch.as_tensor(value)
            for kind, engine in self._engines.items()
            for parameter, state in engine.state.items()
            for key, value in state.items()
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `state_tensors` returned for the same kind of optimizer and model."""
        parameters = {name: parameter for parameter, name in self._names.items()}
        for full_name, tensor in tensors.items():
            kind, key, name = full_name.split("/", 2)
            parameter = parameters[name]
            # AdamW's step count is a float32 scalar beside the parameter; the rest has its shape.
            self._engines[kind].state[parameter][key] = tensor.to(parameter.device)


def _torch_groups(groups: dict[Role, list[Tensor]]) -> list[dict[str, object]]:
    return [{"params": parameters, "role": role, "lr": 0.0} for role, parameters in groups.items()]
