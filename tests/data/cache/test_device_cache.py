import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, RandFlipd, Randomizable, RandScaleIntensityd

from tools.classification.grading_transforms import RandPhotographd
from tools.classification.nodule_transforms import RandNoduled
from tools.data.cache.backends import OnDevice
from tools.data.cache.dataset import CachedDataset
from tools.data.cache.samples import to_smallest_dtype
from tools.data.loader import build_case_dataset, build_case_loader, build_dataset, build_loader
from tools.segmentation.transforms import build_segmentation_crops
from tools.transforms.preprocessing import build_random_crop
from tools.utils.errors import InputError

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=CUDA)]
CASES = [{"case": name} for name in "abcd"]


def volumes(case):
    """A case with an image, a label map and indices of its labels, as preprocessing leaves them."""
    generator = torch.Generator().manual_seed(ord(case["case"]))
    image = torch.randn(2, 20, 22, 24, generator=generator)
    label = (image[:1] > 0).long() + (image[1:] > 0)
    indices = [torch.nonzero(label.flatten() == value).flatten()[:50] for value in range(3)]
    return case | {"image": image, "label": label, "label_cls_indices": indices, "patient": case["case"]}


def images(case):
    return case | {"image": torch.randn(3, 24, 24, generator=torch.Generator().manual_seed(ord(case["case"])))}


RANDOM = {
    "crop": (volumes, build_random_crop((8, 8, 8))),
    "slice": (volumes, build_random_crop((8, 8), slice_axis=1)),
    "labelled crops": (volumes, build_segmentation_crops((8, 8, 8), 2, num_samples=2, flip_axes=(0, 1, 2))),
    "nodule": (volumes, RandNoduled("image", (16, 16, 16))),
    "picture": (images, RandPhotographd("image")),
    "changes alone": (volumes, Compose([RandScaleIntensityd("image", 0.5, prob=1), RandFlipd("image", 0.5)])),
    "nothing": (volumes, None),
}


def draws(preprocessing, random, cache, device):
    dataset = build_dataset(CASES, preprocessing, random, 3, cache, device=device)
    return [one for draw in range(12) for one in samples(dataset[draw % 4, draw])]


def samples(drawn):
    return drawn if isinstance(drawn, list) else [drawn]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", RANDOM)
def test_draws_are_those_on_the_host(kind, device):
    preprocessing, random = RANDOM[kind]
    host, there = (draws(preprocessing, random, cache, device) for cache in ("memory", "device"))
    assert len(host) == len(there)
    for a, b in zip(host, there, strict=True):
        assert a.keys() == b.keys()
        assert b["image"].device.type == device
        assert a["image"].dtype == b["image"].dtype == torch.float32
        torch.testing.assert_close(a["image"], b["image"].cpu(), rtol=2**-10, atol=2**-9)
        if "label" in a:
            assert a["label"].dtype == b["label"].dtype
            assert torch.equal(a["label"], b["label"].cpu())
    assert len({float(one["image"].sum()) for one in host}) >= (4 if random is None else 10)


class Striped:
    """A preparation whose images lie in memory as decoders leave them, channels last, with MONAI's metadata."""

    def __init__(self, preprocessing):
        self.preprocessing = preprocessing

    def __call__(self, case):
        sample = self.preprocessing(case)
        return sample | {"image": MetaTensor(sample["image"].movedim(0, -1).contiguous().movedim(-1, 0))}


@pytest.mark.parametrize("kind", RANDOM)
def test_what_is_read_anew_is_the_same_and_copied_only_where_it_is_cut(kind):
    preprocessing, random = RANDOM[kind]
    host, anew = draws(preprocessing, random, "memory", None), draws(Striped(preprocessing), random, "none", None)
    for a, b in zip(host, anew, strict=True):
        assert a.keys() == b.keys()
        assert torch.equal(a["image"], b["image"])
        assert type(b["image"]) is torch.Tensor
        assert b["image"].is_contiguous()
        assert b["image"].untyped_storage().nbytes() == b["image"].nbytes


class Corner(Randomizable):
    """A crop that sees what it is given."""

    def __call__(self, sample):
        assert not sample["image"].is_contiguous()
        return {"image": sample["image"][:, :4, :4]}


def test_a_case_read_anew_is_cut_before_it_is_copied():
    drawn = build_dataset(CASES, Striped(images), Corner(), 0, "none")
    assert drawn[0, 0]["image"].shape == (3, 4, 4)
    assert drawn.dataset[0]["image"].is_contiguous()


def test_cut_crops_are_views_and_take_half_the_memory():
    dataset = CachedDataset(CASES, volumes, "device", device="cpu")
    seen = []

    def pick(sample):
        seen.append(sample)
        return {"image": sample["image"][:, 2:6]}

    crop = dataset.crop(0, pick)["image"]
    (kept,) = seen
    assert kept["image"].dtype == torch.float16
    assert kept["label"].dtype == torch.uint8
    assert kept["patient"] == "a"
    assert all(one.dtype == torch.int64 for one in kept["label_cls_indices"])
    assert crop.dtype == torch.float32
    assert torch.equal(crop, kept["image"][:, 2:6].float())
    dataset.crop(0, pick)
    assert seen[1]["image"].data_ptr() == kept["image"].data_ptr()  # nothing was copied
    whole = dataset[0]
    assert (whole["image"].dtype, whole["label"].dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (torch.tensor([0.5, -7.0]), torch.float16),
        (torch.tensor([1.0, 1e6]), torch.float32),
        (torch.tensor([0, 255]), torch.uint8),
        (torch.tensor([-1, 100]), torch.int8),
        (torch.tensor([-1024, 3000]), torch.int16),
        (torch.tensor([70000]), torch.int32),
        (torch.tensor([2**40]), torch.int64),
        (torch.tensor([True, False]), torch.bool),
        (torch.tensor([7, 40000], dtype=torch.uint16), torch.int32),
        (torch.tensor([7, 4000], dtype=torch.uint32), torch.int16),
        (torch.tensor([7, 2**64 - 1], dtype=torch.uint64), torch.int8),  # as -1, and back
        (torch.tensor([1 + 2j]), torch.complex64),
        (torch.empty(0, 4, 4, dtype=torch.int64), torch.int64),  # the masks of no lesion
    ],
)
def test_narrowed_values_fit(values, kind):
    small = to_smallest_dtype(values)
    assert small.dtype == kind
    assert torch.equal(small.to(values.dtype), values)


def test_boxes_stay_exact():
    boxes = torch.tensor([[100.03125, 510.0625, 511.25, 511.5]])
    image = torch.zeros(1, 4, 4)
    (sample,) = build_case_dataset(
        [CASES[0]], lambda case: case | {"image": image, "boxes": boxes}, "device", device="cpu"
    )
    assert torch.equal(sample["boxes"], boxes)


def test_workers_are_refused_for_a_device_cache_and_ignored_for_an_automatic_one(capsys):
    data = build_dataset(CASES, volumes, build_random_crop((8, 8, 8)), 0, "device", device="cpu")
    for make in (lambda: build_loader(data, 2, 1, num_workers=2), lambda: build_case_loader(data.dataset, 2)):
        with pytest.raises(InputError, match="num_workers: expected 0 with cache 'device', found 2"):
            make()
    data.dataset.auto = True
    assert build_loader(data, 2, 1, num_workers=2).num_workers == 0
    assert build_case_loader(data.dataset, 2).num_workers == 0
    assert "num_workers 2" in capsys.readouterr().out


@pytest.mark.parametrize("device", DEVICES)
def test_batches_are_collated_there(device):
    data = build_dataset(CASES, volumes, build_random_crop((8, 8, 8)), 0, "device", device=device)
    (batch,) = build_loader(data, 4, 1, pin_memory=torch.cuda.is_available())
    assert batch["image"].device.type == device
    assert batch["image"].shape == (4, 2, 8, 8, 8)
    assert batch["image"].dtype == torch.float32


@CUDA
def test_a_gpu_with_room_is_chosen():
    data = build_dataset(CASES, volumes, build_random_crop((8, 8, 8)), 0, "auto", device="cuda")
    assert data.dataset.device.type == "cuda"
    assert data[0, 0]["image"].device.type == "cuda"


def test_a_full_device_is_reported(monkeypatch):
    def fail(image):
        raise torch.cuda.OutOfMemoryError("tried to allocate 20 MiB")

    monkeypatch.setattr("tools.data.cache.samples.to_smallest_dtype", fail)
    for skip_bad in (False, True):  # no fault of the cases
        with pytest.raises(InputError, match=r"cache: expected .* on cpu for the training data, found"):
            CachedDataset(CASES, volumes, "device", device="cpu", skip_bad=skip_bad)


@pytest.mark.parametrize(("named", "chosen"), [("cuda", "cuda:1"), ("cuda:2", "cuda:2"), ("cpu", "cpu")])
def test_the_current_device_is_chosen_for_all_threads(monkeypatch, named, chosen):
    """Each thread has its own current device, the first when it starts."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert OnDevice(Compose(), torch.device(named)).device == torch.device(chosen)
