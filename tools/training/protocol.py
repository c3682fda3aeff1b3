"""Transfer protocols: freezing and fine-tuning of a pretrained encoder."""

from __future__ import annotations

import logging
from functools import partial

from ignite.engine import Engine, Events
from torch import nn

from tools.utils.errors import InputError, check_choice

logger = logging.getLogger(__name__)

PROTOCOLS = ("scratch", "finetune", "freeze_then_finetune", "frozen", "frozen_random", "linear")
#: protocols that do not load an encoder
WITHOUT_ENCODER = ("scratch", "frozen_random")


class TransferProtocol:
    """Handler that freezes and unfreezes the encoder depending on the epoch.

    A frozen encoder has no gradients and is in evaluation mode, so that running statistics are kept and dropout is off.
    The optimizer has all parameters from the start and ignores those without gradients. The moments of the decoder are
    therefore kept when the encoder is unfrozen, unlike in the reference code of Taleb et al.

    - ``scratch``, ``finetune``: never frozen; ``scratch`` does not load an encoder.
    - ``freeze_then_finetune``: frozen for the first `freeze_epochs` epochs.
    - ``frozen``, ``linear``: always frozen; with ``linear``, the configuration has a linear head.
    - ``frozen_random``: random weights, always frozen: the baseline of ``frozen``.

    Args:
        encoder: encoder of the trained network.
        protocol: one of these protocols.
        freeze_epochs: number of epochs with a frozen encoder; only used by ``freeze_then_finetune``.

    Raises:
        InputError: if the protocol is unknown, or ``freeze_then_finetune`` has no epochs.
    """

    def __init__(self, encoder: nn.Module, protocol: str = "finetune", freeze_epochs: int = 0) -> None:
        self.encoder = encoder
        self.protocol = check_choice(protocol, PROTOCOLS, "protocol")
        self.freeze_epochs = freeze_epochs
        if protocol == "freeze_then_finetune" and freeze_epochs < 1:
            raise InputError(
                f"freeze_epochs: expected at least 1 with protocol freeze_then_finetune, found {freeze_epochs}"
            )

    def attach(self, engine: Engine) -> None:
        """Update the encoder before the first step of every epoch."""
        engine.add_event_handler(Events.STARTED, self.check)
        engine.add_event_handler(Events.EPOCH_STARTED, self.update)

    def frozen(self, epoch: int) -> bool:
        """Return whether the encoder is frozen in an epoch, counted from 1."""
        return self.protocol in ("frozen", "frozen_random", "linear") or (
            self.protocol == "freeze_then_finetune" and epoch <= self.freeze_epochs
        )

    def check(self, engine: Engine) -> None:
        """Check that DistributedDataParallel does not wait for gradients of the frozen encoder.

        Raises:
            InputError: if ``find_unused_parameters`` is False.
        """
        network = engine.network
        waits = isinstance(network, nn.parallel.DistributedDataParallel) and not network.find_unused_parameters
        if waits and self.frozen(1):
            raise InputError(
                f"protocol: {self.protocol} on several processes needs find_unused_parameters=True, found False"
            )

    def update(self, engine: Engine) -> None:
        """Freeze or unfreeze the encoder for the epoch that starts."""
        epoch = engine.state.epoch
        frozen = self.frozen(epoch)
        if frozen != ("train" in vars(self.encoder)):
            logger.info(f"epoch {epoch}: encoder {'frozen' if frozen else 'unfrozen'} (protocol {self.protocol})")
        for parameter in self.encoder.parameters():
            parameter.requires_grad_(not frozen)
            if frozen:
                parameter.grad = None  # with zeros, weight decay and moments would still change the weights
        # the trainer calls network.train() at every step; hooks do not see calls of encoder.features by heads
        vars(self.encoder).pop("train", None)
        if frozen:
            self.encoder.eval()
            self.encoder.train = partial(_stay_in_eval, self.encoder)


def _stay_in_eval(encoder: nn.Module, mode: bool = True) -> nn.Module:
    return encoder
