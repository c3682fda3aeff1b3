"""Simulated device for tests without a GPU, which uses host memory; see ``pretend.cpp``."""

import ctypes
import shutil
import types
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch.utils import cpp_extension

DEVICE = "pretend"
#: functions of the device's Python module
MODULE = {
    "is_available": lambda: True,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "_is_in_bad_fork": lambda: False,
    "get_amp_supported_dtype": lambda: [torch.bfloat16],
    "manual_seed_all": lambda seed: None,
    "device": nullcontext,
    "synchronize": lambda device=None: None,
}


def can_be_built():
    return cpp_extension.is_ninja_available() and shutil.which(cpp_extension.get_cxx_compiler()) is not None


def install():
    """Register the device in this process."""
    source = Path(__file__).with_suffix(".cpp")
    cpp_extension.load("pretend_device", [str(source)], extra_cflags=["-O0"], is_python_module=False)
    torch.utils.rename_privateuse1_backend(DEVICE)
    torch._register_device_module(DEVICE, types.SimpleNamespace(**MODULE))
    torch.utils.generate_methods_for_privateuse1_backend(for_storage=True)
    copy = torch.UntypedStorage.copy_

    def copy_memory(self, source, non_blocking=None):
        if DEVICE not in (self.device.type, source.device.type):
            return copy(self, source, non_blocking)
        if self.device.type != source.device.type:
            torch.ops.pretend.wait("a copy of a whole storage")
        ctypes.memmove(self.data_ptr(), source.data_ptr(), self.nbytes())
        return self

    torch.UntypedStorage.copy_ = copy_memory  # used to save tensors


@contextmanager
def no_waits():
    """Raise an error if the host would wait for a GPU, as ``torch.cuda.set_sync_debug_mode("error")``."""
    torch.ops.pretend.forbid_waits(True)
    try:
        yield
    finally:
        torch.ops.pretend.forbid_waits(False)
