"""The ranks of one group as one of them sees them: its number, its device, and how ranks agree.

Accelerate is imported where there is something to wrap: several ranks, another precision than float32, or a training
function that asks for it. A process has one `Accelerator` for life, since a second one of another precision raises.

Two process groups have different timeouts. Tensors travel on the accelerator's own (NCCL on GPUs, gloo on CPUs), with a
timeout of minutes, for all ranks are at work there. The next job travels on a gloo group with a timeout of days, for an
idle group waits as long as its supervisor does. A rank that dies closes its connections, and torchrun ends the others
within seconds.
"""

from __future__ import annotations

import gc
import os
import socket
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from winnow.config.experiment import TrainingConfig
from winnow.config.process_identity import ProcessIdentity, identity_of, is_running

COMPUTE_TIMEOUT = timedelta(minutes=5)
CONTROL_TIMEOUT = timedelta(days=30)


class World:
    """This process among the ranks of its group.

    Attributes:
        device: where this rank's tensors live.
        has_accelerator: whether networks and optimizers are wrapped for training.
    """

    def __init__(self, precision: str, *, on_cpu: bool) -> None:
        """Join the world that the environment describes (torchrun's variables; none for a lone rank)."""
        self._precision, self._on_cpu = precision, on_cpu
        self._accelerator: Any = None
        self._ddp: Any = None
        self.rank, self.size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.has_accelerator = self.size > 1 or precision != "no"
        if self.has_accelerator:
            self.device: torch.device = self.accelerator.device
        else:
            self.device = torch.device("cpu" if on_cpu or not torch.cuda.is_available() else "cuda")
        self._control = distributed.new_group(backend="gloo", timeout=CONTROL_TIMEOUT) if self.size > 1 else None
        self._peers, self._remote_peers = self._meet_peers()

    @property
    def accelerator(self) -> Any:
        """The process's only `accelerate.Accelerator`, made when it is first asked for."""
        if self._accelerator is None:
            from accelerate import Accelerator
            from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

            # Gradients as views of the buckets spare a copy of all gradients per step.
            self._ddp = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
            handlers = [InitProcessGroupKwargs(timeout=COMPUTE_TIMEOUT), self._ddp]
            self._accelerator = Accelerator(cpu=self._on_cpu, mixed_precision=self._precision, kwargs_handlers=handlers)
        return self._accelerator

    def unwrap(self, network: nn.Module) -> nn.Module:
        """The network as it was before an accelerator wrapped it."""
        if self._accelerator is None:
            return network
        unwrapped: nn.Module = self._accelerator.unwrap_model(network, keep_fp32_wrapper=False)
        return unwrapped

    @property
    def is_first(self) -> bool:
        """Whether this rank speaks for its group."""
        return self.rank == 0

    def expect_unused(self, is_expected: bool) -> None:
        """Whether the next model that is prepared has parameters that a step may leave without a gradient.

        DDP waits for every parameter's gradient, unless it looks for those that will not come, at every step's cost.
        """
        self._ddp.find_unused_parameters = is_expected

    def meet(self) -> None:
        """Wait for all ranks. Raises RuntimeError where one of them has ended."""
        if self._control is not None:
            distributed.barrier(group=self._control)

    def next_job(self, line: bytes | None) -> bytes:
        """Rank 0's line, on every rank; ranks other than 0 wait here while the group has nothing to do."""
        box: list[Any] = [line]
        if self._control is not None:
            distributed.broadcast_object_list(box, src=0, group=self._control)
        received: bytes = box[0]
        return received

    def has_lost_a_peer(self, within_s: float) -> bool:
        """Whether another rank is dead, or is so before the time is up. The world is of no use afterwards.

        A rank whose peer was killed sees no more than a broken connection, in whatever it did at that moment.
        """
        deadline = time.monotonic() + within_s
        while all(is_running(peer) for peer in self._peers):
            if time.monotonic() >= deadline:
                return any(self._is_cut_off(rank, within_s) for rank in self._remote_peers)
            time.sleep(0.02)
        return True

    def _is_cut_off(self, rank: int, within_s: float) -> bool:
        """Whether a rank of another machine can no longer be sent to.

        One that lives is in the middle of something else and takes nothing, so the sending times out; to one that is
        dead it fails at once.
        """
        began = time.monotonic()
        try:
            sending = distributed.isend(torch.zeros(1), rank, group=self._control)
            assert sending is not None, "this rank is in the group"
            sending.wait(timedelta(seconds=within_s))
        except RuntimeError:
            return time.monotonic() - began < within_s / 2
        return False

    def _meet_peers(self) -> tuple[tuple[ProcessIdentity, ...], tuple[int, ...]]:
        """The other ranks of this machine, as processes, and those of others, by number."""
        if self._control is None:
            return (), ()
        own = (socket.gethostname(), os.getpid())
        everyone: list[Any] = [None] * self.size
        distributed.all_gather_object(everyone, own, group=self._control)
        local = tuple(identity_of(pid) for host, pid in everyone if host == own[0] and pid != own[1])
        return local, tuple(rank for rank, (host, _) in enumerate(everyone) if host != own[0])

    def seed(self, seed: int) -> None:
        """Seed the generators of the CPU and of this rank's device, as `torch.manual_seed` does.

        That one also records a stack trace for every kind of device that is not in use, in two milliseconds.
        """
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed_all(seed)

    def put(self, tensor: Tensor) -> Tensor:
        """A CPU tensor on the device. A GPU goes on with its work meanwhile."""
        if self.device.type != "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def fetch(self, tensor: Tensor) -> tuple[Tensor, Any]:
        """A tensor of the device on the CPU, and the CUDA event after which it is there (None: at once)."""
        if self.device.type != "cuda":
            return tensor, None
        # To the CPU without blocking goes to pinned memory (torch's `_to_copy`).
        copy, is_there = tensor.to("cpu", non_blocking=True), torch.cuda.Event()  # type: ignore[no-untyped-call]
        is_there.record()
        return copy, is_there

    def gather(self, values: Sequence[Tensor | float]) -> Tensor:
        """A few numbers of every rank, float64 [size, len(values)] on the device: the same bits on all of them."""
        own = torch.stack([torch.as_tensor(v, dtype=torch.float64, device=self.device).detach() for v in values])
        return self.gather_rows(own.unsqueeze(0))

    def gather_rows(self, own: Tensor) -> Tensor:
        """The ranks' tensors one after another along the first axis; their shapes must be equal."""
        if self.size == 1:
            return own
        parts = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    def share_buffers(self, module: nn.Module) -> None:
        """Give every rank rank 0's buffers (running statistics of BatchNorm), so that all score the same model."""
        if self.size > 1:
            for buffer in module.buffers():
                distributed.broadcast(buffer, src=0)

    def free_memory(self) -> None:
        """Forget the last job's model and optimizer, and give its memory back."""
        if self._accelerator is not None:
            self._accelerator.free_memory()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @staticmethod
    def freeze_garbage() -> None:
        """Exempt what exists now (imported modules, the data) from garbage collection for good.

        Looking through it again after every fold would find nothing, in tens of milliseconds.
        """
        gc.collect()
        gc.freeze()

    def leave(self) -> None:
        """End the world in order, so that no rank sees another's connection break."""
        if self.size > 1:
            distributed.destroy_process_group()


def wants_cpu(device: str) -> bool:
    """Whether `execution.device` means the CPU on this machine."""
    return device == "cpu" or (device == "auto" and not torch.cuda.is_available())


def settle(threads: int, training: TrainingConfig) -> None:
    """Make a process's arithmetic repeatable and no wider than its share of the machine."""
    torch.set_num_threads(threads)
    if training.loop is None:
        # Autotuned convolutions may differ between runs. A custom training function decides about them itself.
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
