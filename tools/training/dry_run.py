"""``--check True``: look at everything a run would meet, without training."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from multiprocessing.pool import ThreadPool
from typing import Any

import torch
from monai.transforms import Compose
from torch import nn
from tqdm import tqdm

from tools.data.cache.backends import FACTS
from tools.data.cache.dataset import first_cause
from tools.data.loader import collate_cases
from tools.data.readers.patients import describe_patients
from tools.data.sampler import SeededTransformDataset
from tools.data.window import describe_window
from tools.training.engine import BatchMaker, check_batch_size, tune_convolutions
from tools.utils.errors import InputError
from tools.utils.memory import tune_malloc
from tools.utils.resources import raise_shortage


def check_run(
    split: dict[str, list[dict[str, Any]]],
    preprocessing: Compose,
    random: Callable[[dict[str, Any]], Any] | None,
    network: nn.Module,
    loss_function: nn.Module,
    autocast: dict[str, Any],
    batch_size: int,
    steps: int,
    task: BatchMaker | None = None,
    skip_bad: bool = False,
    num_workers: int = 2,
    probe: Any | None = None,
) -> None:
    """Read every image, list what was found, try one training step, estimate memory and time; then end the process.

    Args:
        split: cases by the part of the data they belong to.
        preprocessing: deterministic transforms; the first of them loads.
        random: random transforms, or None.
        network: trained network on its device.
        loss_function: its loss.
        autocast: precision of the pass, as `torch.autocast` takes it: ``dtype`` and ``enabled``.
        batch_size: cases per step.
        steps: steps of the whole run.
        task: what makes inputs and targets of a batch; without, images have labels.
        skip_bad: whether the run would leave out unusable images.
        num_workers: threads that read.
        probe: `tools.pretext.probe.LinearProbe` of the run; its cases are read too.

    Raises:
        InputError: images cannot be used, or the step fails for a reason in the settings.
        ResourceError: the machine lacks memory or the like, also with `skip_bad`.
        SystemExit: with code 0 when all is well.
    """
    cases = [(case, part) for part, members in split.items() for case in members]
    begin = time.perf_counter()
    with ThreadPool(num_workers) as pool:
        look = pool.imap(lambda pair: _look(pair[0], preprocessing), cases)
        results = []
        for one in tqdm(look, total=len(cases), desc="checking", unit="case"):
            if isinstance(one, BaseException):
                raise_shortage(f"checking {cases[len(results)][0]['case']}", one)
            results.append(one)
    seconds = time.perf_counter() - begin
    bad = sum(isinstance(result, Exception) for result in results)
    print("\n".join(_table(cases, results)))
    usable = [case for (case, part), one in zip(cases, results, strict=True) if isinstance(one, dict)]
    size = sum(one["bytes"] for one in results if isinstance(one, dict))
    print(
        f"{len(usable)} of {len(cases)} cases usable; prepared they take {size / 2**20:.0f} MB, read in {seconds:.0f} s"
    )
    for part, members in split.items():
        print(f"{part} data: {describe_patients(case['patient'] for case in members)}")
    for part in split:
        pairs = [(case["case"], one) for (case, of), one in zip(cases, results, strict=True) if of == part]
        found = {
            case: one["outside_window"] for case, one in pairs if isinstance(one, dict) and "outside_window" in one
        }
        for line in describe_window(found, part):
            print(line)
    check_batch_size(network, batch_size)
    if usable:
        step = time_step(usable, preprocessing, random, network, loss_function, autocast, batch_size, task)
        print(f"one training step takes {step:.2f} s: {steps} steps {format_duration(step * steps)}")
    for name in split:
        if not any(part == name and isinstance(one, dict) for (_, part), one in zip(cases, results, strict=True)):
            raise InputError(f"{name} data: expected at least one usable case, found none")
    if bad and not skip_bad:
        raise InputError(f"{bad} of {len(cases)} cases cannot be used (listed above; --skip_bad True leaves them out)")
    if probe is not None:
        probe.read()
        print(f"probe_dir {probe.probe_dir}: {len(probe.values)} labels in both halves of its cases")
    raise SystemExit(0)


def _look(case: dict[str, Any], preprocessing: Compose) -> dict[str, Any] | BaseException:
    """What a case is before and after preprocessing, or why it cannot be used."""
    try:
        loaded = preprocessing.transforms[0](dict(case))
        image = loaded["image"]
        spacing = [f"{float(s):.3g}" for s in image.pixdim] if image.ndim == 4 else ["-"]  # pictures have none
        found = {"shape": tuple(image.shape), "spacing": " x ".join(spacing)}
        for transform in preprocessing.transforms[1:]:
            loaded = transform(loaded)
    except BaseException as error:  # whatever it is, the next case is looked at too
        return error
    prepared = loaded["image"]
    if "outside_window" in loaded:
        found["outside_window"] = loaded["outside_window"]
    return found | {"prepared": tuple(prepared.shape[1:]), "bytes": prepared.numel() * prepared.element_size()}


def _table(cases: Sequence[tuple[dict[str, Any], str]], results: Sequence[Any]) -> list[str]:
    width = max(len(case["case"]) for case, _ in cases)
    lines = [f"{'case':{width}}  {'part':10}  channels  {'size':>15}  {'spacing (mm)':>18}  {'prepared':>15}"]
    for (case, part), one in zip(cases, results, strict=True):
        head = f"{case['case']:{width}}  {part:10}"
        if isinstance(one, Exception):
            lines.append(f"{head}  BAD: {first_cause(one)}")
            continue
        size, prepared = (" x ".join(map(str, size)) for size in (one["shape"][1:], one["prepared"]))
        lines.append(f"{head}  {one['shape'][0]:8}  {size:>15}  {one['spacing']:>18}  {prepared:>15}")
    return lines


def time_step(
    cases: Sequence[dict[str, Any]],
    preprocessing: Compose,
    random: Callable[[dict[str, Any]], Any] | None,
    network: nn.Module,
    loss_function: nn.Module,
    autocast: dict[str, Any],
    batch_size: int,
    task: BatchMaker | None,
) -> float:
    """Seconds of a forward and backward pass on some cases, the second of two; arguments as for `check_run`.

    Algorithms and memory are a run's own from here on.
    """
    samples = [preprocessing(dict(case)) for case in cases[:batch_size]]
    for sample in samples:
        for key in FACTS:
            sample.pop(key, None)  # they make no batch
    draws = SeededTransformDataset(samples, random or Compose(), seed=0)
    batch = collate_cases([draws[i % len(samples), i] for i in range(batch_size)])
    device = next(network.parameters()).device
    tune_convolutions()
    if device.type == "cpu":
        tune_malloc()
    batch = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
    for step in (1, 2):
        begin = time.perf_counter()
        inputs, targets = task.make_batch(batch, step) if task else (batch["image"], batch["label"])
        with torch.autocast(device.type, **autocast):
            loss = loss_function(network(inputs), targets)
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    network.zero_grad(set_to_none=True)
    return time.perf_counter() - begin


def format_duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
