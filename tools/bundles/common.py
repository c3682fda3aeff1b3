"""Parts of configurations shared by several bundle families."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tools.bundles.config import Config, component, references

SET_DETERMINISM = "$monai.utils.set_determinism(@seed, use_deterministic_algorithms=@deterministic or None)"
AMP = {"amp": "@amp", "amp_kwargs": {"dtype": "$getattr(torch, @amp_dtype)"}}
MODEL = "$@models_dir + '/model.pt'"
CPU_OR_CUDA = "torch.cuda.is_available()"
#: keys of bundles that plan spacing and crop size, with their defaults
PLAN_KEYS = {"plan": False, "gpu_memory_target": 16.0}
#: keys that a plan determines if they are ``auto``
PLANNED = ("spacing", "roi_size")


def header(name: str, *modules: str) -> Config:
    """Return the first entries of every configuration: imports, folder of the bundle, and its code on ``sys.path``.

    ``bundle_root`` is the folder of this name on ``sys.path``, to which ``monai.bundle run`` and MONAI Label add it.
    """
    here = f"os.path.basename(p) == '{name}' and os.path.isdir(p + '/configs')"
    return {
        "imports": [f"$import {module}" for module in ("os", "sys", "pydoc", *modules)],
        "bundle_root": f"$next((p for p in sys.path if {here}), 'bundles/{name}')",
        "code": "$sys.path.extend([@bundle_root, @bundle_root + '/../..'])",
    }


def startup_checks() -> Config:
    """Return the first entries of ``run``: checks of the package `tools` and of the command line."""
    message = "error: found another package named tools; start from another folder"
    return {
        "own_tools": f"$@code or pydoc.locate('tools.bundles.arguments') or sys.exit('{message}')",
        "arguments": component("tools.bundles.arguments.check_arguments", "bundle_root"),
    }


def folders(disabled: str = "$@dry_run or @prepare") -> Config:
    """Return the locks of the output folders, as ``folders``, unless an expression is true."""
    reserved = component("tools.training.reserve_folders", "models_dir", "output_dir", _disabled_=disabled)
    return {"folders": reserved}


def plan(config: Config, keys: Iterable[str], network: Iterable[Config], **arguments: Any) -> Config:
    """Add the plan of spacing and crop size to a training configuration, whose components then use it.

    Args:
        config: training configuration; components refer to the keys `PLANNED`.
        keys: keys of the bundle.
        network: components of network and task, whose keys the plan depends on.
        arguments: further arguments of `tools.training.plan_sizes`.
    """
    used = {"batch_size", *re.findall(r"@(\w+)", json.dumps(list(network)))}
    settings = references(*(key for key in keys if key in used and key not in (*PLANNED, "device")))
    planned = component(
        "tools.training.plan_sizes",
        *("bundle_root", "cases", "seed", "plan", "max_voxels", "gpu_memory_target", *PLANNED),
        channels="@in_channels",
        output_dir="$None if @dry_run or @prepare else @output_dir",
        settings=settings | arguments.pop("settings", {}),
        **arguments,
    )
    config = _use_plan(config)
    del config["run"]
    return {
        **config,
        **folders("$@dry_run or @prepare or @plan"),
        "planned": planned,
        **{f"planned_{key}": f"$@planned['{key}']" for key in PLANNED},
        "run": training_run("@planned"),
    }


def _use_plan(value: Any) -> Any:
    """Replace references to the keys `PLANNED` by references to the planned values."""
    if isinstance(value, Mapping):
        return {key: _use_plan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_use_plan(one) for one in value]
    return re.sub(rf"@({'|'.join(PLANNED)})\b", r"@planned_\1", value) if isinstance(value, str) else value


def card(weights: str) -> Config:
    """Return the card next to a weights file, as ``card``, and its entries by the names of keys, as ``recorded``."""
    return {
        "card": component("tools.transfer.read_card", path=weights),
        "recorded": component("tools.transfer.card_settings", "card"),
    }


def run_list(*steps: str) -> list[str]:
    """Return the value of ``run``: the checks and further steps."""
    return ["@own_tools", "@arguments", *steps]


def phantoms(function: str, folder: str, **arguments: Any) -> Config:
    """Return the data set that is generated in the bundle's folder on first use."""
    return component(f"tools.phantoms.{function}", folder=f"$@bundle_root + '/phantoms/{folder}'", **arguments)


def cached_dataset(data: str, desc: str, seed: str | None = None, **arguments: Any) -> Config:
    """Return the data set of cached preprocessed cases; with a seed, also with random transforms."""
    target = "tools.data.build_case_dataset" if seed is None else "tools.data.build_dataset"
    draws = {} if seed is None else {"seed": seed}
    kept = references("cache", "cache_dir", "cache_dtype", "prepare_workers", "device", "skip_bad")
    return component(target, data=f"$@split['{data}']", **arguments, **draws, **kept, desc=desc)


def step_loader(part: str, steps: str) -> Config:
    """Return a loader of a number of random batches of ``<part>#dataset``."""
    return component(
        "tools.data.build_loader",
        dataset=f"@{part}#dataset",
        batch_size="@batch_size",
        steps=steps,
        num_workers="@num_workers",
        pin_memory=f"${CPU_OR_CUDA}",
    )


def case_loader(**arguments: Any) -> Config:
    """Return the loader of validation cases in order."""
    return component(
        "tools.data.build_case_loader", dataset="@validate#dataset", num_workers="@num_workers", **arguments
    )


def single_case_loader(dataset: str) -> Config:
    """Return MONAI's loader of one case at a time."""
    return component("DataLoader", "num_workers", dataset=dataset, batch_size=1, shuffle=False)


def prepared_network(network: str) -> Config:
    """Return the trained network on its device, as ``prepared_network`` and ``network``."""
    prepared = component("tools.networks.prepare_network", "device", "channels_last", "compile", network=network)
    return {"prepared_network": prepared, "network": "@prepared_network"}


def adamw() -> Config:
    """Return AdamW over all parameters."""
    return component("torch.optim.AdamW", "weight_decay", "fused", params="$@network.parameters()", lr="@learning_rate")


def sgd(rate: str, momentum: Any) -> Config:
    """Return SGD over all parameters."""
    return component(
        "torch.optim.SGD", "weight_decay", "fused", params="$@network.parameters()", lr=rate, momentum=momentum
    )


def warmup_cosine(epochs: str) -> Config:
    """Return the schedule of linear warm-up and cosine decay over all steps."""
    return component(
        "monai.optimizers.WarmupCosineSchedule",
        "optimizer",
        warmup_steps="$@lr_warmup_epochs * @steps_per_epoch",
        t_total=f"${epochs} * @steps_per_epoch",
        warmup_multiplier=0.1,
    )


def named_schedule(warmup_steps: str, **arguments: Any) -> Config:
    """Return a learning-rate schedule by name, with linear warm-up."""
    return component(
        "tools.training.build_schedule",
        "optimizer",
        name="@lr_schedule",
        warmup_steps=warmup_steps,
        total_steps="$@epochs * @steps_per_epoch",
        **arguments,
    )


def mean_loss() -> Config:
    """Return the metric of the mean training loss of an epoch."""
    return component("ignite.metrics.Average", "device", output_transform="$operator.itemgetter('loss')")


def validation_loss(**arguments: Any) -> Config:
    """Return the metric of the loss over the validation batches."""
    output = "$monai.handlers.from_engine(['pred', 'label'])"
    return component("ignite.metrics.Loss", loss_fn="@loss_function", output_transform=output, **arguments)


def training_handlers(*own: Config) -> list[Config]:
    """Return the handlers of validation and learning-rate schedule, and further handlers."""
    validation = component("ValidationHandler", validator="@validate#evaluator", interval="@val_interval")
    schedule = component("LrScheduleHandler", lr_scheduler="@scheduler", print_lr=False, epoch_level=False)
    return [validation, schedule, *own]


def trainer(**arguments: Any) -> Config:
    """Return MONAI's trainer under ``train#trainer``."""
    return component(
        "SupervisedTrainer",
        "device",
        "network",
        "optimizer",
        "loss_function",
        "accumulation_steps",
        max_epochs="@epochs",
        epoch_length="@steps_per_epoch",
        train_data_loader="@train#dataloader",
        non_blocking=True,
        inferer="@train#inferer",
        key_train_metric="@train#key_metric",
        train_handlers="@train#handlers",
        optim_set_to_none=True,
        decollate=False,
        **arguments,
        **AMP,
    )


def validator(**arguments: Any) -> Config:
    """Return MONAI's evaluator under ``validate#evaluator``."""
    return component(
        "SupervisedEvaluator",
        "device",
        "network",
        val_data_loader="@validate#dataloader",
        non_blocking=True,
        inferer="@validate#inferer",
        key_val_metric="@validate#key_metric",
        additional_metrics="@validate#additional_metrics",
        val_handlers="@validate#handlers",
        decollate=False,
        **arguments,
        **AMP,
    )


def inspection(random: str | None, cached: bool = True, **arguments: Any) -> Config:
    """Return a dry run, enabled by ``--dry_run True``; `cached` is whether the bundle has a cache."""
    return component(
        "tools.training.perform_dry_run",
        "split",
        "preprocessing",
        "network",
        "loss_function",
        "batch_size",
        "skip_bad",
        _disabled_="$not @dry_run",
        random=random,
        autocast={"dtype": "$getattr(torch, @amp_dtype)", "enabled": "@amp"},
        steps="$@epochs * @steps_per_epoch",
        **(references("cache", "cache_dir", "cache_dtype") if cached else {}),
        **arguments,
    )


def preparation(validation: str = "@preprocessing", **limits: Any) -> Config:
    """Return the preprocessing without training, enabled by ``--prepare True``.

    Args:
        validation: preprocessing of validation cases.
        limits: argument ``max_val_cases``.
    """
    return component(
        "tools.training.prepare_cases",
        *("split", "cache_dir", "cache_dtype", "prepare_workers", "part", "parts", "skip_bad"),
        _disabled_="$not @prepare",
        preprocessing={"training": "@preprocessing", "validation": validation},
        **limits,
    )


def training_run(*before: str, prepared: bool = True) -> list[str]:
    """Return the value of ``run`` in ``train.json``.

    Args:
        before: steps before the preparation and the dry run.
        prepared: whether the run has the entry ``preparation``.
    """
    steps = [*before, *(["@preparation"] if prepared else [])]
    return run_list("@folders", SET_DETERMINISM, *steps, "@inspection", "$@train#trainer.run()")


def inference_engine(**arguments: Any) -> Config:
    """Return the data set, loader and MONAI's evaluator of ``inference.json``."""
    evaluator = component(
        "SupervisedEvaluator",
        "device",
        "network",
        "inferer",
        val_data_loader="@dataloader",
        val_handlers="@handlers",
        **arguments,
        **AMP,
    )
    return {
        "dataset": component("Dataset", data="@cases", transform="@preprocessing"),
        "dataloader": single_case_loader("@dataset"),
        "evaluator": evaluator,
        "run": run_list("$@evaluator.run()"),
    }


def encoder(spatial_dims: Any, in_channels: Any = "@in_channels") -> Config:
    """Return the encoder by name."""
    return component(
        "tools.networks.build_encoder", "norm", name="@encoder", spatial_dims=spatial_dims, in_channels=in_channels
    )


def multi_gpu(**wrapper: Any) -> Config:
    """Return the overrides for training on several GPUs or processes."""
    first = f"torch.device('cuda', int(os.environ['LOCAL_RANK'])) if {CPU_OR_CUDA} else torch.device('cpu')"
    wrapped = component(
        "torch.nn.parallel.DistributedDataParallel",
        module="@prepared_network",
        device_ids=f"$[@device] if {CPU_OR_CUDA} else None",
        **wrapper,
    )
    return {
        "device": f"${first}",
        "network": wrapped,
        "rank_timeout": 120,
        "initialize": [component("tools.utils.watchdog.start_processes", "device", "rank_timeout")],
        "finalize": [component("tools.utils.watchdog.end_processes")],
    }
