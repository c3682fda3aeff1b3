"""How tests start processes."""

import torch

#: a fork starts at once; only where CUDA may be in use does torch forbid it
START = "spawn" if torch.cuda.is_available() else "fork"
