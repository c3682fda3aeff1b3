"""What holds for every pretext task. A new task is one more entry of TASKS."""

import pkgutil
import re
from importlib import import_module

import pytest
import torch

from tools import pretext
from tools.networks.encoders import build_encoder
from tools.pretext.classification import Classification
from tools.pretext.cpc.network import CPCNetwork
from tools.pretext.cpc.task import CPC
from tools.pretext.exemplar.network import ProjectionNetwork
from tools.pretext.exemplar.task import Exemplar
from tools.pretext.jigsaw.network import PatchPositionClassifier
from tools.pretext.jigsaw.task import Jigsaw
from tools.pretext.mae.network import MaskedAutoencoder
from tools.pretext.mae.task import MaskedAutoencoding
from tools.pretext.rotation.network import ViewClassifier
from tools.pretext.rotation.task import Rotation
from tools.pretext.rpl.network import PairClassifier
from tools.pretext.rpl.task import RelativePatchLocation
from tools.pretext.task import PretextTask
from tools.pretext.vdt.task import VariableDimensionTransform
from tools.utils.errors import InputError

CELLS = {"grid": 3, "jitter": 2}
FEW = {"negatives_same_volume": 5, "negatives_other_volumes": 6}
TASKS = {
    "cpc3d": lambda **kw: CPC(**{"roi_size": (36, 36, 36), **CELLS, **FEW, **kw}),
    "cpc2d": lambda **kw: CPC(**{"roi_size": (72, 72), "grid": 4, "jitter": 2, **FEW, **kw}),
    "rpl3d": lambda **kw: RelativePatchLocation(**{"roi_size": (36, 36, 36), **CELLS, **kw}),
    "rpl2d": lambda **kw: RelativePatchLocation(**{"roi_size": (54, 51), **CELLS, **kw}),
    "jigsaw3d": lambda **kw: Jigsaw(**{"roi_size": (36, 36, 36), **CELLS, **kw}),
    "jigsaw2d": lambda **kw: Jigsaw(**{"roi_size": (54, 51), **CELLS, **kw}),
    "rotation3d": lambda **kw: Rotation(**{"roi_size": (16, 17, 19), "views_per_volume": 4, **kw}),
    "rotation3d all": lambda **kw: Rotation(**{"roi_size": (16, 16, 16), "num_rotations": 24, **kw}),
    "rotation2d": lambda **kw: Rotation(**{"roi_size": (18, 16), "num_rotations": 4, "views_per_volume": 3, **kw}),
    "exemplar3d": lambda **kw: Exemplar(**{"roi_size": (16, 17, 19), **kw}),
    "exemplar2d": lambda **kw: Exemplar(**{"roi_size": (18, 16), **kw}),
    "mae3d": lambda **kw: MaskedAutoencoding(**{"roi_size": (12, 16, 20), "mask_patch": 4, **kw}),
    "mae2d": lambda **kw: MaskedAutoencoding(
        **{"roi_size": (24, 16), "mask_patch": 4, "normalise_targets": False, **kw}
    ),
}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=TASKS)
def make(request):
    return TASKS[request.param]


def network_for(task, channels=2):
    encoder = build_encoder("resnet18", len(task.roi_size), channels)
    if isinstance(task, CPC):
        return CPCNetwork(encoder, 8, 8, task.context_rows, task.steps)
    if isinstance(task, Exemplar):
        return ProjectionNetwork(encoder, 8, 8)
    if isinstance(task, MaskedAutoencoding):
        return MaskedAutoencoder(encoder, task.layout.patch_size, 4)
    if isinstance(task, Jigsaw):
        return PatchPositionClassifier(encoder, task.permutations, 4)
    kind = PairClassifier if isinstance(task, RelativePatchLocation) else ViewClassifier
    return kind(encoder, len(task.classes), 4)


def test_every_task_is_here():
    folders = [info.name for info in pkgutil.iter_modules(pretext.__path__) if info.ispkg]
    packages = [import_module(f"tools.pretext.{name}") for name in folders]
    members = [getattr(package, name) for package in packages for name in getattr(package, "__all__", ())]
    exported = {one for one in members if isinstance(one, type) and issubclass(one, PretextTask)}
    assert {type(make()) for make in TASKS.values()} == exported - {VariableDimensionTransform}  # it has labels


def images_for(task, batch=3, channels=2, dtype=torch.float32, device="cpu"):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(batch, channels, *task.roi_size, generator=generator).to(device, dtype)


def tensors(value):
    return value if isinstance(value, tuple) else (value,)


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_same_seed_and_step_give_the_same_bits(make):
    first, again = make(seed=3).draw(3, 7), make(seed=3).draw(3, 7)
    assert first.keys() == again.keys()
    assert equal(first.values(), again.values())


@pytest.mark.parametrize(("seed", "step"), [(4, 7), (3, 8)])
def test_another_seed_or_step_draws_anew(make, seed, step):
    assert not equal(make(seed=3).draw(3, 7).values(), make(seed=seed).draw(3, step).values())


def test_its_settings_make_it_again(make):
    task = make(seed=3)
    again = type(task)(**task.settings())
    assert again.settings() == task.settings()
    assert equal(task.draw(3, 7).values(), again.draw(3, 7).values())


def test_apply_is_pure(make):
    task = make()
    images = images_for(task)
    params = task.draw(3, 1)
    before = images.clone(), {k: v.clone() for k, v in params.items()}
    (first, one), (second, two) = task.apply(images, params), task.apply(images, params)
    assert equal((*tensors(first), one), (*tensors(second), two))
    assert torch.equal(images, before[0])
    assert equal(params.values(), before[1].values())


def test_batched_inputs_equal_single_ones(make):
    task = make()
    images = images_for(task)
    params = task.draw(3, 2)
    batched = tensors(task.apply(images, params)[0])
    for i in range(3):
        single = {k: v if len(v) == 1 else v[i : i + 1] for k, v in params.items()}
        alone = tensors(task.apply(images[i : i + 1], single)[0])
        for one, all_ in zip(alone, batched, strict=True):
            torch.testing.assert_close(one, all_[i : i + 1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtype_and_device_are_kept(make, dtype, device):
    task = make()
    params = task.draw(3, 1)
    inputs, targets = task.apply(images_for(task, dtype=dtype, device=device), params)
    inputs = tensors(inputs)[0]
    assert inputs.dtype == dtype
    assert inputs.device.type == targets.device.type == device
    reference = task.apply(images_for(task), params)
    torch.testing.assert_close(inputs.cpu().float(), tensors(reference[0])[0], rtol=0.02, atol=0.1)
    rounding = {"rtol": 0.02, "atol": 0.1} if targets.is_floating_point() else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(targets.cpu(), reference[1], **rounding)


def test_constant_input_stays_finite_and_alike(make):
    """A constant image gives constant pieces, whatever its value: no residue of rounding, no frame."""
    task = make()
    for value in (0.0, 0.1, 1e4 / 3):
        inputs, _ = task.apply(torch.full((3, 1, *task.roi_size), value), task.draw(3, 1))
        pieces = tensors(inputs)[0].flatten(-len(task.roi_size))
        assert (pieces == pieces.flatten()[0]).all()


def test_the_encoder_is_taught(make):
    task = make()
    torch.manual_seed(0)
    network = network_for(task)
    batch = {"image": images_for(task), "case": ["a", "b", "c"]}
    inputs, targets = task.make_batch(batch, 1)
    prediction = network(inputs)
    credit, asked = task.credit(prediction, targets)
    assert credit.shape == asked.shape
    assert len(credit) == 3
    assert ((credit >= 0) & (credit <= 1)).all()
    assert 0 < task.chance <= 0.5
    prediction.square().sum().backward() if prediction.ndim != 3 else prediction[..., 0].sum().backward()
    gradient = next(network.encoder.parameters()).grad
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


def test_guessing_earns_chance(make):
    """Answers that do not depend on the input, all equal or random, earn on average what `chance` says."""
    task = make()
    batch = {"image": images_for(task), "case": ["a", "b", "c"]}
    earned, equal_earned = [], []
    for step in range(1, 120):
        inputs, targets = task.make_batch(batch, step)
        if step == 1:
            shape = network_for(task)(inputs).shape
        guess = torch.randn(shape, generator=torch.Generator().manual_seed(step))
        earned.append(task.accuracy(guess, targets).nanmean().item())
        equal_earned.append(task.accuracy(torch.ones(shape), targets).nanmean().item())
    assert torch.tensor(equal_earned).mean().item() == pytest.approx(task.chance, rel=1e-4)
    spread = torch.tensor(earned).std().item() / 119**0.5
    assert abs(torch.tensor(earned).mean().item() - task.chance) < 4 * spread + 1e-3


def test_labels_are_uniform(make):
    """A chi-squared test over 6,000 answers, p > 1e-4; and the views of an image have different ones."""
    task = make()
    if not isinstance(task, Classification):
        pytest.skip("its answers are no classes")
    params = task.sample(6000, torch.Generator().manual_seed(1))
    labels = params["label"] if "label" in params else params["order"][:, : task.views_per_volume]
    assert all(len(row.unique()) == task.views_per_volume for row in labels[:20])
    counts = torch.bincount(labels[:, 0], minlength=len(task.classes)).double()
    expected = 6000 / len(task.classes)
    freedom = len(task.classes) - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    # the 1e-4 quantile of chi-squared, by Wilson and Hilferty
    limit = freedom * (1 - 2 / (9 * freedom) + 3.72 * (2 / (9 * freedom)) ** 0.5) ** 3
    assert statistic < limit


def test_validation_is_a_fixed_stream_without_jitter(make):
    task = make().validation()
    assert not task.training
    first, second = task.draw(3, 1), task.draw(3, 2)
    if "corners" in first:
        assert torch.equal(first["corners"], first["corners"][:1].expand_as(first["corners"]))
    assert not equal(first.values(), second.values())
    assert not equal(first.values(), make().draw(3, 1).values())


def test_wrong_image_size_is_named(make):
    task = make()
    wrong = torch.zeros(3, 1, *(s + 1 for s in task.roi_size))
    with pytest.raises(InputError, match="expected crops of"):
        task.make_batch({"image": wrong, "case": list("abc")}, 1)


def test_a_picture_is_drawn(make):
    task = make().validation()
    images = images_for(task, channels=3 if len(task.roi_size) == 2 else 1)
    inputs, _ = task.make_batch({"image": images, "case": list("abc")}, 1)
    with torch.no_grad():
        prediction = network_for(task, images.shape[1])(inputs)
    assert len(task.preview(images, task.params, prediction).axes) > 3


def test_ranks_take_slices_of_one_global_batch(make, monkeypatch):
    task = make()
    whole = task.draw(4, 5)
    monkeypatch.setattr("tools.utils.distributed.world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr("tools.utils.distributed.rank", lambda rank=rank: rank)
        for key, value in task.draw(2, 5).items():
            expected = whole[key] if len(whole[key]) == 1 else whole[key][2 * rank : 2 * rank + 2]
            assert torch.equal(value, expected)


def test_it_must_know_its_engine(make):
    with pytest.raises(RuntimeError, match="attached"):
        make()({"image": torch.zeros(1), "case": ["a"]})


def test_its_hint_names_its_own_keys(make):
    """What is said to who has solved the task can be done: the keys are arguments of the task."""
    task = make()
    keys = set(re.findall(r"--(\w+)", task.harder))
    assert keys
    assert keys <= task.settings().keys()
