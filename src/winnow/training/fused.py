"""Adam, AdamW, SGD and Adagrad that call torch's fused kernels and do nothing else.

They take the same steps as the classes of `torch.optim` with `fused=True`, to the bit. Two things differ:

- A step costs a few microseconds of Python. Hooks, profiler labels and grouping by device cost a small model more than
  its arithmetic does: without them a fold of a small network trains 1.3 times as fast. Step hooks are not called.
- They do not import `torch._dynamo`, which the constructor and the step of a `torch.optim` class do (0.9 CPU seconds).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer

# Both are decorated with `torch._disable_dynamo`, which imports torch._dynamo on the first call.
_add_param_group: Callable[..., None] = inspect.unwrap(Optimizer.add_param_group)


class _Fused(Optimizer):
    """What the four have in common. All parameters are of one group, one device and one type of float."""

    _kinds_of_state = 0
    _states: tuple[list[Tensor], ...] | None = None

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add the one group."""
        _add_param_group(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        assert set_to_none
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step."""
        (group,) = self.param_groups
        parameters: list[Tensor] = group["params"]
        gradients = [parameter.grad for parameter in parameters]
        if any(gradient is None for gradient in gradients):
            # A network may leave a layer out of a step. torch's own class says what that means for its state.
            self._states = None
            super().step(closure)
            return
        if self._states is None:
            self._states = self._make_states(group)
        with torch.no_grad():
            self._call_kernel(group, parameters, gradients, *self._states)

    # torch wraps the step of every subclass in a profiler's label and in hooks, unless it finds this.
    step.hooked = True  # type: ignore[attr-defined]

    def _make_states(self, group: dict[str, Any]) -> tuple[list[Tensor], ...]:
        states: tuple[list[Tensor], ...] = tuple([] for _ in range(self._kinds_of_state))
        self._init_group(group, [], [], *states)  # type: ignore[attr-defined]
        return states

    def _call_kernel(self, group: dict[str, Any], parameters: Any, gradients: Any, *states: list[Tensor]) -> None:
        raise NotImplementedError


class FusedAdam(_Fused, Adam):
    """`torch.optim.Adam`."""

    _kinds_of_state = 4

    def _call_kernel(self, group: dict[str, Any], parameters: Any, gradients: Any, *states: list[Tensor]) -> None:
        means, squares, largest, steps = states
        kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
        torch._foreach_add_(steps, 1)
        kernel(
            parameters,
            gradients,
            means,
            squares,
            largest,
            steps,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=group["amsgrad"],
            maximize=False,
        )


class FusedAdamW(FusedAdam, AdamW):
    """`torch.optim.AdamW`."""


class FusedSGD(_Fused, SGD):
    """`torch.optim.SGD`."""

    _is_first_step = False

    def _make_states(self, group: dict[str, Any]) -> tuple[list[Tensor], ...]:
        if group["momentum"] == 0:
            return ([],)
        states = [self.state[parameter] for parameter in group["params"]]
        # The first step sets the buffers; later ones mix the gradient in, weighted by the dampening.
        self._is_first_step = not any("momentum_buffer" in state for state in states)
        for parameter, state in zip(group["params"], states, strict=True):
            state.setdefault("momentum_buffer", torch.zeros_like(parameter))
        return ([state["momentum_buffer"] for state in states],)

    def _call_kernel(self, group: dict[str, Any], parameters: Any, gradients: Any, *states: list[Tensor]) -> None:
        torch._fused_sgd_(
            parameters,
            gradients,
            states[0] if group["momentum"] != 0 else [],
            lr=group["lr"],
            momentum=group["momentum"],
            dampening=group["dampening"],
            weight_decay=group["weight_decay"],
            nesterov=group["nesterov"],
            maximize=False,
            is_first_step=self._is_first_step,
        )
        self._is_first_step = False


class FusedAdagrad(_Fused, Adagrad):
    """`torch.optim.Adagrad`."""

    _kinds_of_state = 2

    def _call_kernel(self, group: dict[str, Any], parameters: Any, gradients: Any, *states: list[Tensor]) -> None:
        sums, steps = states
        torch._foreach_add_(steps, 1)
        torch._fused_adagrad_(
            parameters,
            gradients,
            sums,
            steps,
            lr=group["lr"],
            lr_decay=group["lr_decay"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


FUSED: dict[type[Optimizer], Callable[..., Optimizer]] = {
    Adam: FusedAdam,
    AdamW: FusedAdamW,
    SGD: FusedSGD,
    Adagrad: FusedAdagrad,
}
