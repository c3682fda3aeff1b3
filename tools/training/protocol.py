"""How a pretrained encoder takes part in downstream training."""

from __future__ import annotations

import logging
from functools import partial

from ignite.engine import Engine, Events
from torch import nn

from tools.utils.errors import InputError, check_choice

logger = logging.getLogger(__name__)

PROTOCOLS = ("scratch", "finetune", "warmup", "frozen", "linear")


class TransferProtocol:
    """Freeze and release the encoder, as a function of the epoch alone, so that a resumed run is right.

    Frozen means: no gradients, and evaluation mode, so that running statistics stay and dropout is off. The optimizer
    holds all parameters from the start and is never touched: it passes over parameters without gradients, and keeps
    the decoder's moments when the encoder is released (the reference of Taleb et al. loses them there).

    - ``scratch``, ``finetune``: never frozen; they differ in what is loaded.
    - ``warmup``: frozen for the first `warmup_epochs` epochs.
    - ``frozen``, ``linear``: always frozen; that the head is linear is the configuration's matter.

    Args:
        encoder: the encoder inside the trained network.
        protocol: one of the above.
        warmup_epochs: epochs frozen under ``warmup``; the other protocols pass over it.

    Raises:
        InputError: for an unknown protocol, or ``warmup`` of no epochs.
    """

    def __init__(self, encoder: nn.Module, protocol: str = "finetune", warmup_epochs: int = 0) -> None:
        self.encoder = encoder
        self.protocol = check_choice(protocol, PROTOCOLS, "protocol")
        self.warmup_epochs = warmup_epochs
        if protocol == "warmup" and warmup_epochs < 1:
            raise InputError(f"warmup_epochs: expected at least 1 with protocol warmup, found {warmup_epochs}")

    def attach(self, engine: Engine) -> None:
        """Set the encoder's state before every epoch's first step."""
        engine.add_event_handler(Events.STARTED, self.check)
        engine.add_event_handler(Events.EPOCH_STARTED, self.update)

    def frozen(self, epoch: int) -> bool:
        """Say whether the encoder is frozen in an epoch, counted from 1."""
        return self.protocol in ("frozen", "linear") or (self.protocol == "warmup" and epoch <= self.warmup_epochs)

    def check(self, engine: Engine) -> None:
        """Refuse a DistributedDataParallel that would wait for the frozen encoder's gradients.

        Raises:
            InputError: when it was built without ``find_unused_parameters=True``.
        """
        network = engine.network
        waits = isinstance(network, nn.parallel.DistributedDataParallel) and not network.find_unused_parameters
        if waits and self.frozen(1):
            raise InputError(
                f"protocol: {self.protocol} on several processes needs find_unused_parameters=True, found False"
            )

    def update(self, engine: Engine) -> None:
        """Freeze or release the encoder for the epoch that starts."""
        epoch = engine.state.epoch
        frozen = self.frozen(epoch)
        if frozen != ("train" in vars(self.encoder)):
            logger.info(f"epoch {epoch}: encoder {'frozen' if frozen else 'released'} (protocol {self.protocol})")
        for parameter in self.encoder.parameters():
            parameter.requires_grad_(not frozen)
            if frozen:
                parameter.grad = None  # zeros would let weight decay and old moments move it
        # the trainer calls network.train() at every step, and heads may call encoder.features past any hook
        vars(self.encoder).pop("train", None)
        if frozen:
            self.encoder.eval()
            self.encoder.train = partial(_stay_in_eval, self.encoder)


def _stay_in_eval(encoder: nn.Module, mode: bool = True) -> nn.Module:
    return encoder
