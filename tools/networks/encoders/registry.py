"""Registry of encoders by name, and the function that builds one."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tools.networks.encoders.depth_stride import remove_depth_stride
from tools.networks.encoders.encoder import Encoder
from tools.networks.norms import AUTO, NORMS, parse_norm
from tools.utils.errors import InputError, check_choice

#: every encoder by name
ENCODERS: dict[str, Callable[..., Encoder]] = {}
#: presets by name: the encoder and its options
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {}
#: arguments of `build_encoder` that are no options
SHARED = ("name", "spatial_dims", "in_channels", "norm", "depth_stride")


def register_encoder(name: str, *fixed: Any) -> Callable[[type[Encoder]], type[Encoder]]:
    """Return a class decorator that adds an encoder to `ENCODERS`.

    `build_encoder` calls the class with `fixed`, the keyword arguments ``spatial_dims`` and ``in_channels``, and the
    caller's options. It also passes ``norm`` if the class has a parameter of that name. An encoder without this
    parameter cannot be built with another norm.

    Args:
        name: name in configurations; a class can have several names.
        fixed: first positional arguments of the class for this name.

    Raises:
        InputError: if another class has this name.
    """

    def register(factory: type[Encoder]) -> type[Encoder]:
        present = ENCODERS.get(name)
        if present is not None and _origin(present) != _origin(factory):
            raise InputError(
                f"encoder {name}: expected a new name for {_origin(factory)}, found that of {_origin(present)}"
            )
        ENCODERS[name] = partial(factory, *fixed) if fixed else factory
        return factory

    return register


def register_preset(preset: str, name: str, **options: Any) -> None:
    """Add a name for an encoder with some options; cards record the options instead of the name.

    Args:
        preset: name in configurations.
        name: a key of `ENCODERS`.
        options: arguments of that encoder's class.
    """
    PRESETS[preset] = (name, options)


def parse_encoder(encoder: str | Sequence[Any]) -> tuple[str, dict[str, Any]]:
    """Convert a name, a preset, or (name, options) to the latter.

    Raises:
        InputError: if the name is unknown, or the value is invalid.
    """
    name, options = (encoder, {}) if isinstance(encoder, str) else _unpack(encoder)
    try:
        check_choice(name, [*ENCODERS, *PRESETS], "encoder")
    except InputError as error:
        advice = 'one of your own needs a configuration with {"+imports": ["$import my_encoders"]} after the others'
        raise InputError(f"{error}; {advice}") from None
    shared = next((key for key in options if key in SHARED), None)
    if shared is not None:
        raise InputError(f"encoder: expected options of {name}, found {shared}")
    name, preset = PRESETS.get(name, (name, {}))
    return name, {**preset, **options}


def _unpack(encoder: Any) -> tuple[str, dict[str, Any]]:
    pair = isinstance(encoder, (list, tuple)) and len(encoder) == 2
    if not pair or not isinstance(encoder[0], str) or not isinstance(encoder[1], Mapping):
        raise InputError(f"encoder: expected a name or [name, {{options}}], found {encoder!r}")
    return encoder[0], dict(encoder[1])


def encoder_key(arguments: Mapping[str, Any]) -> str | list[Any]:
    """Convert `Encoder.arguments` to a value of the key ``encoder``: the name, or the name and non-default options."""
    name = arguments["name"]
    parameters = inspect.signature(ENCODERS[name]).parameters if name in ENCODERS else {}
    defaults = {key: _to_json(one.default) for key, one in parameters.items() if one.default is not one.empty}
    options = {key: value for key, value in arguments.items() if key not in SHARED and defaults.get(key, ...) != value}
    return [name, options] if options else name


def _to_json(value: Any) -> Any:
    """Convert tuples to lists, as in a card."""
    return json.loads(json.dumps(value))


def _origin(factory: Any) -> str:
    """Return module and name of a registered class; reloading the module does not change them."""
    kind = factory.func if isinstance(factory, partial) else factory
    return f"{kind.__module__}.{kind.__qualname__}"


def build_encoder(
    name: str | Sequence[Any] = "unet",
    spatial_dims: int = 3,
    in_channels: int = 1,
    norm: str | Sequence[Any] = AUTO,
    depth_stride: bool = True,
    **options: Any,
) -> Encoder:
    """Build an encoder, and record how, with all defaults, in its `arguments`.

    Args:
        name: a key of `ENCODERS` or `PRESETS`, or such a name and options, which take precedence.
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        norm: ``auto`` (the encoder's own), ``group`` (8 groups), ``batch``, ``instance`` (affine), or MONAI's
            ``(name, {arguments})``.
        depth_stride: False removes the strides along the first spatial axis, see `remove_depth_stride`.
        options: further arguments of that encoder's class.

    Raises:
        InputError: if a name, norm or option is unknown, or options are incompatible.
    """
    name, own = parse_encoder(name)
    factory, options = ENCODERS[name], {**options, **own}
    _check_shape(spatial_dims, in_channels, depth_stride)
    parameters = inspect.signature(factory).parameters
    norm = _choose_norm(name, norm, parameters)
    built = {"norm": parse_norm(norm)} if "norm" in parameters else {}
    try:
        encoder = factory(spatial_dims=spatial_dims, in_channels=in_channels, **built, **options)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"encoder {name} with norm {norm!r} and options {options}: {error}") from error
    given = {"name": name, "spatial_dims": spatial_dims, "in_channels": in_channels, "norm": norm, "depth_stride": True}
    defaults = {key: one.default for key, one in parameters.items() if one.default is not one.empty}
    arguments = {**given, **defaults, **given, **options}  # with the defaults, which may change in a later version
    encoder.arguments = _to_json(arguments)
    if not _origin(factory).startswith("tools."):  # encoders of users; the encoders of this package are tested
        encoder.check_maps()
    return encoder if depth_stride else remove_depth_stride(encoder)


def _check_shape(spatial_dims: int, in_channels: int, depth_stride: bool) -> None:
    if spatial_dims not in (2, 3):
        raise InputError(f"spatial_dims: expected 2 or 3, found {spatial_dims!r}")
    if not isinstance(in_channels, int) or in_channels < 1:
        raise InputError(f"in_channels: expected a whole number above 0, found {in_channels!r}")
    if spatial_dims == 2 and not depth_stride:
        raise InputError("depth_stride: expected True in 2D, where there is no depth, found False")


def _choose_norm(name: str, norm: str | Sequence[Any], parameters: Mapping[str, inspect.Parameter]) -> Any:
    """Return the argument ``norm`` with ``auto`` resolved, unless the norm of the encoder is fixed.

    Raises:
        InputError: if a norm is given for an encoder with a fixed norm.
    """
    automatic = isinstance(norm, str) and norm == AUTO
    if "norm" not in parameters:
        if not automatic:
            raise InputError(f"norm: expected {AUTO}, since encoder {name} has a fixed norm, found {norm!r}")
        return AUTO
    if not automatic:
        return norm
    default = parameters["norm"].default
    own = NORMS["group"] if default is inspect.Parameter.empty else default
    return next((word for word, meaning in NORMS.items() if meaning == own), own)
