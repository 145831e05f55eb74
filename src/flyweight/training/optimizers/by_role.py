"""AdamW and Muon over groups of parameters that share a role.

The role table (`flyweight.model.parametrization`) says for each role the factor of the learning
rate, whether weight decay applies, and whether it is a matrix that Muon takes. Nothing else here
knows about names or shapes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flyweight.model import Decoder, OptimizerKind, Role, fused_parts, parameter_roles, role_rules
from flyweight.recipe import Training
from flyweight.training.optimizers.muon import Methods, Muon
from flyweight.training.parallel.tensors import cut_like


def muon_rows(decoder: Decoder, training: Training) -> dict[str, tuple[int, ...]]:
    """The parameters that Muon takes, and the rows of the parts in which it orthogonalises each."""
    rules = role_rules(decoder.config, decoder.parametrization)
    roles = parameter_roles(decoder)
    split = training.muon.fused_projections == "split"
    return {
        name: tuple((fused_parts(name, decoder.config) if split else {}).values()) or (parameter.shape[0],)
        for name, parameter in decoder.named_parameters()
        if rules[roles[name]].is_matrix
    }


class OptimizerByRole:
    """One step for all parameters of a decoder.

    Args:
        decoder: whose parameters are trained.
        training: the recipe's section with the settings of AdamW and Muon.
        kind: `adamw` for every parameter, or `muon` for the matrices and AdamW for the rest.
        muon_dtype: what Muon's Newton-Schulz iterations compute in.
        muon_methods: how they do it, by shape.
    """

    def __init__(
        self,
        decoder: Decoder,
        training: Training,
        kind: OptimizerKind,
        *,
        muon_dtype: torch.dtype = torch.float32,
        muon_methods: Methods | None = None,
    ):
        self.kind: OptimizerKind = kind
        self._training = training
        self._muon_momentum = training.muon.momentum
        self._names: dict[Tensor, str] = {}
        self._rules = role_rules(decoder.config, decoder.parametrization, kind)
        groups: dict[str, dict[Role, list[Tensor]]] = {"adamw": {}, "muon": {}}
        roles = parameter_roles(decoder)
        rows = muon_rows(decoder, training) if kind == "muon" else {}
        for name, parameter in decoder.named_parameters():
            self._names[parameter] = name
            engine = "muon" if name in rows else "adamw"
            groups[engine].setdefault(roles[name], []).append(parameter)
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
            self._engines["muon"] = Muon(
                _torch_groups(groups["muon"]),
                momentum=training.muon.momentum,
                steps=training.muon.ns_steps,
                dtype=muon_dtype,
                methods=muon_methods,
                rows={p: rows[name] for p, name in self._names.items() if len(rows.get(name, ())) > 1},
            )

    @property
    def multipliers(self) -> dict[Role, float]:
        """What the role table makes of the base rate under this optimizer."""
        return {role: rule.learning_rate_multiplier for role, rule in self._rules.items()}

    def rates(self, clock: float) -> dict[Role, float]:
        """The learning rate of each role at `clock`: given outright, or the base rate times its multiplier."""
        base, outright = self._training.learning_rate.at(clock), self._training.role_learning_rate
        return {
            role: outright[role.value].at(clock) if role.value in outright else base * multiplier
            for role, multiplier in self.multipliers.items()
        }

    def step(self, rates: dict[Role, float], weight_decay: float) -> None:
        """Update every parameter at its role's rate and clear the gradients."""
        for engine in self._engines.values():
            for group in engine.param_groups:
                group["lr"] = rates[group["role"]]
                group["weight_decay"] = weight_decay * self._rules[group["role"]].weight_decay_multiplier
            engine.step()
            engine.zero_grad(set_to_none=True)

    def state_tensors(self) -> dict[str, Tensor]:
        """The optimizers' state as tensors named `engine/key/parameter`."""
        return {
            f"{kind}/{key}/{self._names[parameter]}": value
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
            if (kind, key) == ("muon", "momentum_buffer"):
                # Earlier checkpoints hold torch.optim.Muon's mean of the gradients; ours is their sum.
                key, tensor = "momentum_sum", tensor / (1 - self._muon_momentum)
            # AdamW's step count is a float32 scalar beside the parameter; the rest has its shape.
            self._engines[kind].state[parameter][key] = cut_like(tensor, parameter)


def _torch_groups(groups: dict[Role, list[Tensor]]) -> list[dict[str, object]]:
    return [{"params": parameters, "role": role, "lr": 0.0} for role, parameters in groups.items()]
