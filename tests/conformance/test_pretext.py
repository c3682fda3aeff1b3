"""Properties of every pretext task; a new method is one line of METHODS in harness.py."""

import re

import pytest
import torch
from harness import METHODS, PRETEXT, home, read, tiny
from monai.bundle import ConfigParser

from tools.pretext import ClassificationTask, PretextTask
from tools.utils.errors import InputError

#: bundles with the settings of their tasks; further settings of a bundle are one more line
TASKS = {bundle: (bundle, {}) for bundle in PRETEXT} | {
    "rotation3d all": ("rotation3d", {"num_rotations": 24, "views_per_volume": 24}),
    "mae2d unscaled": ("mae2d", {"norm_pix_loss": False}),
    "cpc2d overlap": ("cpc2d", {"grid": 4, "cell_overlap": 4}),
    "exemplar3d nt_xent": ("exemplar3d", {"loss": "nt_xent"}),
}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


class Make:
    """Builds the components of a bundle that a task needs."""

    def __init__(self, bundle, settings):
        self.bundle = bundle
        self.settings = {**tiny(bundle), **settings, "device": "cpu", "bundle_root": str(home(bundle))}
        self.settings |= {"batch_size": 3, "in_channels": 2}

    def __call__(self, **settings):
        return self.part("train#task", **settings)

    def part(self, name, **settings):
        """Return a component of the configuration with other settings."""
        parser = ConfigParser(read(self.bundle, "train"))
        for key, value in (self.settings | settings).items():
            parser[key] = value
        return parser.get_parsed_content(name)


@pytest.fixture(params=TASKS)
def make(request):
    return Make(*TASKS[request.param])


def test_every_method_has_a_line():
    assert sorted({re.sub(r"[23]d$", "", bundle) for bundle in PRETEXT}) == sorted(METHODS)


def images_for(task, batch=3, channels=2, dtype=torch.float32, device="cpu"):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(batch, channels, *task.roi_size, generator=generator).to(device, dtype)


def tensors(value):
    return value if isinstance(value, tuple) else () if value is None else (value,)


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_same_seed_and_step_give_the_same_bits(make):
    first, again = make(seed=3).draw_params(3, 7), make(seed=3).draw_params(3, 7)
    assert first.keys() == again.keys()
    assert equal(first.values(), again.values())


@pytest.mark.parametrize(("seed", "step"), [(4, 7), (3, 8)])
def test_another_seed_or_step_gives_other_parameters(make, seed, step):
    assert not equal(make(seed=3).draw_params(3, 7).values(), make(seed=seed).draw_params(3, step).values())


def test_settings_reproduce_the_task(make):
    task = make(seed=3)
    again = type(task)(**task.settings())
    assert again.settings() == task.settings()
    assert equal(task.draw_params(3, 7).values(), again.draw_params(3, 7).values())


def test_apply_is_pure(make):
    task = make()
    images = images_for(task)
    params = task.draw_params(3, 1)
    before = images.clone(), {k: v.clone() for k, v in params.items()}
    (first, one), (second, two) = task.apply(images, params), task.apply(images, params)
    assert equal((*tensors(first), *tensors(one)), (*tensors(second), *tensors(two)))
    assert torch.equal(images, before[0])
    assert equal(params.values(), before[1].values())


def test_batched_inputs_equal_single_ones(make):
    task = make()
    images = images_for(task)
    params = task.draw_params(3, 2)
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
    params = task.draw_params(3, 1)
    inputs, targets = task.apply(images_for(task, dtype=dtype, device=device), params)
    inputs = tensors(inputs)[0]
    assert inputs.dtype == dtype
    assert {tensor.device.type for tensor in (inputs, *tensors(targets))} == {device}
    reference = task.apply(images_for(task), params)
    torch.testing.assert_close(inputs.cpu().float(), tensors(reference[0])[0], rtol=0.02, atol=0.1)
    for found, expected in zip(tensors(targets), tensors(reference[1]), strict=True):
        rounding = {"rtol": 0.02, "atol": 0.1} if found.is_floating_point() else {"rtol": 0, "atol": 0}
        torch.testing.assert_close(found.cpu().to(expected.dtype), expected, **rounding)


def test_constant_input_stays_finite_and_constant(make):
    """Constant images give constant inputs, without rounding errors or borders."""
    task = make()
    for value in (0.0, 0.1, 1e4 / 3):
        inputs, _ = task.apply(torch.full((3, 1, *task.roi_size), value), task.draw_params(3, 1))
        pieces = tensors(inputs)[0].flatten(-len(task.roi_size))
        assert (pieces == pieces.flatten()[0]).all()


def test_the_encoder_is_trained(make):
    """The loss has gradients for the encoder; every prediction is correct, tied or wrong."""
    torch.manual_seed(0)
    parser = ConfigParser(read(make.bundle, "train"))
    for key, value in make.settings.items():
        parser[key] = value
    task, network, loss = (parser.get_parsed_content(key) for key in ("train#task", "network", "loss_function"))
    inputs, targets = task.make_batch({"image": images_for(task), "case": ["a", "b", "c"]}, 1)
    prediction = network(inputs)
    if task.chance is not None:
        correct, valid = task.top1_correct(prediction, targets)
        assert correct.shape == valid.shape
        assert len(correct) == 3
        assert ((correct >= 0) & (correct <= 1)).all()
        assert 0 < task.chance <= 0.5
    loss(prediction, targets).backward()
    gradient = next(network.encoder.parameters()).grad
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


def test_random_predictions_have_chance_accuracy(make):
    """Predictions that do not depend on the input, equal or random."""
    task = make()
    if task.chance is None:
        pytest.skip("the method has no accuracy")
    batch = {"image": images_for(task), "case": ["a", "b", "c"]}
    earned, equal_earned = [], []
    for step in range(1, 120):
        inputs, targets = task.make_batch(batch, step)
        if step == 1:
            output = make.part("network")(inputs)
        generator = torch.Generator().manual_seed(step)
        random = [torch.randn(one.shape, generator=generator) for one in tensors(output)]
        same = [torch.ones_like(one) for one in tensors(output)]
        for guess, scores in ((random, earned), (same, equal_earned)):
            guess = tuple(guess) if isinstance(output, tuple) else guess[0]
            scores.append(task.accuracy(guess, targets).nanmean().item())
    assert torch.tensor(equal_earned).mean().item() == pytest.approx(task.chance, rel=1e-4)
    spread = torch.tensor(earned).std().item() / 119**0.5
    assert abs(torch.tensor(earned).mean().item() - task.chance) < 4 * spread + 1e-3


def test_labels_are_uniform(make):
    """Chi-squared test over 6,000 targets, p > 1e-4; views of an image have different targets."""
    task = make()
    if not isinstance(task, ClassificationTask):
        pytest.skip("its predictions are not classes")
    params = task.sample_params(6000, torch.Generator().manual_seed(1))
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
    first, second = task.draw_params(3, 1), task.draw_params(3, 2)
    if "corners" in first:
        assert torch.equal(first["corners"], first["corners"][:1].expand_as(first["corners"]))
    assert not equal(first.values(), second.values())
    assert not equal(first.values(), make().draw_params(3, 1).values())


def test_wrong_image_size_is_named(make):
    task = make()
    wrong = torch.zeros(3, 1, *(s + 1 for s in task.roi_size))
    with pytest.raises(InputError, match="expected crops of"):
        task.make_batch({"image": wrong, "case": list("abc")}, 1)


@pytest.mark.parametrize("make", [name for name in TASKS if name not in PRETEXT], indirect=True)
def test_a_figure_is_drawn(make):
    """Those of default settings are the previews in test_bundles.py."""
    task = make().validation()
    channels = 3 if len(task.roi_size) == 2 else 1
    images = images_for(task, channels=channels)
    inputs, _ = task.make_batch({"image": images, "case": list("abc")}, 1)
    with torch.no_grad():
        prediction = make.part("network", in_channels=channels)(inputs)
    figure = task.figure(images, task.params, prediction)
    assert (figure is None) == (type(task).figure is PretextTask.figure)
    assert figure is None or len(figure.axes) > 3


def test_ranks_take_slices_of_one_global_batch(make, monkeypatch):
    task = make()
    whole = task.draw_params(4, 5)
    monkeypatch.setattr("tools.utils.distributed.world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr("tools.utils.distributed.rank", lambda rank=rank: rank)
        for key, value in task.draw_params(2, 5).items():
            expected = whole[key] if len(whole[key]) == 1 else whole[key][2 * rank : 2 * rank + 2]
            assert torch.equal(value, expected)


def test_task_must_be_attached(make):
    with pytest.raises(RuntimeError, match="attached"):
        make()({"image": torch.zeros(1), "case": ["a"]})


def test_hint_names_keys_of_the_task(make):
    """The keys that make a solved task harder are arguments of the task."""
    task = make()
    if task.difficulty_advice == "":
        pytest.skip("it names none")
    keys = set(re.findall(r"--(\w+)", task.difficulty_advice))
    assert keys
    assert keys <= task.settings().keys()
