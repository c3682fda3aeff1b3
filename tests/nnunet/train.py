"""One short epoch of nnU-Net's PretrainedTrainer on the CPU; arguments: plans, file for features and losses."""

import os
import sys

os.environ.update(nnUNet_n_proc_DA="0")  # no further processes

import torch
from nnunetv2.run.run_training_from_pretrained import get_trainer_from_args

plans, out = sys.argv[1:]
trainer = get_trainer_from_args("1", "3d_fullres", 0, "PretrainedTrainer", plans, torch.device("cpu"))
trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 1, 2, 1
trainer.initialize()
stem = trainer.network.encoder.stem.convs[0].conv
torch.manual_seed(0)
image = torch.randn(1, stem.in_channels, 16, 24, 40)
with torch.no_grad():
    maps = trainer.network.eval().encoder(image)
trainer.network.train()
trainer.run_training()
losses = [float(loss) for loss in trainer.logger.local_logger.my_fantastic_logging["train_losses"]]
torch.save({"image": image, "maps": maps, "losses": losses, "final": stem.weight.detach()}, out)
