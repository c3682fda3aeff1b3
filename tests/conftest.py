import torch

torch.set_num_threads(1)  # small tensors; more threads on a shared machine only wait for each other
