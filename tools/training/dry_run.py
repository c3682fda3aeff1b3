"""Dry run (``--dry_run True``): reads all images and times one training step without training."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Compose
from torch import nn
from tqdm import tqdm

from tools.data.cache.disk import OnDisk
from tools.data.cache.pool import first_cause
from tools.data.cache.samples import FACTS, read_case
from tools.data.loader import collate_cases
from tools.data.readers.patients import describe_patients
from tools.data.sampler import SeededTransformDataset
from tools.data.window import describe_window
from tools.training.engine import BatchMaker, check_batch_size, set_cudnn_benchmark
from tools.utils.errors import InputError
from tools.utils.memory import tune_malloc
from tools.utils.resources import raise_shortage


def perform_dry_run(
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
    cache: str = "none",
    cache_dir: str | None = None,
    cache_dtype: str = "float32",
) -> None:
    """Read all images, print a table, run one training step, estimate memory and duration, and exit.

    Training and validation cases that were read are stored in the disk cache, so that training does not read them
    again.

    Args:
        split: cases of training, validation and test data by name.
        preprocessing: deterministic transforms, the loader first.
        random: random transforms, or None.
        network: network on its device.
        loss_function: loss function.
        autocast: keyword arguments ``dtype`` and ``enabled`` of `torch.autocast`.
        batch_size: number of cases per step.
        steps: number of steps of the run.
        task: object that makes inputs and targets of a batch, or None if batches have labels.
        skip_bad: whether the run excludes unusable images.
        num_workers: number of threads.
        probe: `tools.pretext.probe.LinearProbe` of the run; its cases are also read.

        cache: cache of the run; nothing is stored for "memory", "device" and "none".
        cache_dir: folder of the disk cache.
        cache_dtype: type of images in the disk cache, see `OnDisk`.

    Raises:
        InputError: if images cannot be used, or if the step fails because of the settings.
        ResourceError: if the machine lacks memory or disk space, also with `skip_bad`.
        SystemExit: with code 0 on success.
    """
    cases = [(case, name) for name, members in split.items() for case in members]
    keeps = cache_dir is not None and cache in ("auto", "disk", "lazy")
    disk = OnDisk(preprocessing, Path(cache_dir), cache_dtype) if keeps else None
    begin = time.perf_counter()
    with ThreadPool(num_workers) as pool:
        inspected = pool.imap(lambda pair: _inspect(pair[0], preprocessing, disk if pair[1] != "test" else None), cases)
        results = []
        for one in tqdm(inspected, total=len(cases), desc="checking", unit="case"):
            if isinstance(one, BaseException):
                raise_shortage(f"checking {cases[len(results)][0]['case']}", one)
            results.append(one)
    seconds = time.perf_counter() - begin
    bad = sum(isinstance(result, Exception) for result in results)
    print("\n".join(_table(cases, results)))
    usable = [case for (case, _), one in zip(cases, results, strict=True) if isinstance(one, dict)]
    size = sum(one["bytes"] for one in results if isinstance(one, dict))
    print(f"{len(usable)} of {len(cases)} cases usable; {size / 2**20:.0f} MB preprocessed, read in {seconds:.0f} s")
    for name, members in split.items():
        print(f"{name} data: {describe_patients(case['patient'] for case in members)}")
    for name in split:
        pairs = [(case["case"], one) for (case, other), one in zip(cases, results, strict=True) if other == name]
        found = {
            case: one["outside_window"] for case, one in pairs if isinstance(one, dict) and "outside_window" in one
        }
        for line in describe_window(found, name):
            print(line)
    check_batch_size(network, batch_size)
    if usable:
        step = time_step(usable, preprocessing, random, network, loss_function, autocast, batch_size, task)
        print(f"one training step takes {step:.2f} s: {steps} steps {format_duration(step * steps)}")
    for name in split:
        if not any(other == name and isinstance(one, dict) for (_, other), one in zip(cases, results, strict=True)):
            raise InputError(f"{name} data: expected at least one usable case, found none")
    if bad and not skip_bad:
        raise InputError(f"{bad} of {len(cases)} cases cannot be used (listed above); --skip_bad True excludes them")
    if probe is not None:
        probe.load_cases()
        print(f"probe_dir {probe.probe_dir}: {len(probe.labels)} labels in both halves of its cases")
    raise SystemExit(0)


def _inspect(case: dict[str, Any], preprocessing: Compose, disk: OnDisk | None) -> dict[str, Any] | BaseException:
    """Return the properties of a case before and after preprocessing, or the error; store it in the disk cache."""
    found: dict[str, Any] = {}

    def transform(loaded: dict[str, Any]) -> dict[str, Any]:
        loaded = preprocessing.transforms[0](loaded)
        image = loaded["image"]
        spacing = [f"{float(s):.3g}" for s in image.pixdim] if image.ndim == 4 else ["-"]  # 2D images have no spacing
        found.update({"shape": tuple(image.shape), "spacing": " x ".join(spacing)})
        for one in preprocessing.transforms[1:]:
            loaded = one(loaded)
        return loaded

    try:
        key = None if disk is None else disk.key(case)
        sample, facts = read_case(transform, case)
        if disk is not None and disk.find(case) is None:
            disk.store(key, case, sample, facts)
    except BaseException as error:  # reported in the table
        return error
    prepared = sample["image"]
    if "outside_window" in facts:
        found["outside_window"] = facts["outside_window"]
    return found | {"prepared": tuple(prepared.shape[1:]), "bytes": prepared.numel() * prepared.element_size()}


def _table(cases: Sequence[tuple[dict[str, Any], str]], results: Sequence[Any]) -> list[str]:
    width = max(len(case["case"]) for case, _ in cases)
    lines = [f"{'case':{width}}  {'split':10}  channels  {'size':>15}  {'spacing (mm)':>18}  {'prepared':>15}"]
    for (case, name), one in zip(cases, results, strict=True):
        head = f"{case['case']:{width}}  {name:10}"
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
    """Return the duration in seconds of the second of two training steps; arguments as for `perform_dry_run`.

    Also configures cuDNN and memory allocation as in training.
    """
    samples = [preprocessing(dict(case)) for case in cases[:batch_size]]
    for sample in samples:
        for key in FACTS:
            sample.pop(key, None)  # not collatable
    dataset = SeededTransformDataset(samples, random or Compose(), seed=0)
    batch = collate_cases([dataset[i % len(samples), i] for i in range(batch_size)])
    device = next(network.parameters()).device
    set_cudnn_benchmark()
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
    """Format a duration in seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
