import json

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from tools.detection.detector import Detector
from tools.detection.linking import link_slices
from tools.detection.network import DetectionNetwork
from tools.detection.postprocessing import DetectBoxesd
from tools.detection.scan import ScanDetector, ScanInferer, filter_by_score, lesion_boxes
from tools.detection.scan_slices import LoadScanSlicesd
from tools.detection.slice_stacks import LoadSliceStackd, build_stack_preprocessing
from tools.detection.stack_resizing import resize_stacks
from tools.networks.anisotropic import build_stack_encoder
from tools.utils.errors import InputError

STRIDES = (4, 8, 16, 32)


def network():
    torch.manual_seed(0)
    return DetectionNetwork(build_stack_encoder("unet", "group"), 3, "center", 16).eval()


def inferer(**options):
    return ScanInferer(Detector(STRIDES, detections_per_img=5), 3, 2.5, 64, **options)


def scan(size=(60, 64, 7), spacing=(0.8, 0.8, 2.0)):
    volume = torch.randint(-1000, 1000, (1, 1, *size), generator=torch.Generator().manual_seed(0)).float()
    affine = torch.diag(torch.tensor([-spacing[0], -spacing[1], -spacing[2], 1.0], dtype=torch.float64))
    return MetaTensor(volume, affine=affine)


class TestScan:
    def test_slices_are_independent(self):
        """Boxes do not depend on the batch size or on the selected slices."""
        with torch.no_grad():
            together = inferer(batch_size=4)(scan(), network())
            alone = [inferer(batch_size=1)(scan(), network(), torch.tensor([[key]])) for key in range(7)]
        assert together["slices"].unique().tolist() == list(range(7))
        for name in ("boxes", "scores", "slices"):
            torch.testing.assert_close(together[name], torch.cat([one[name] for one in alone]), rtol=1e-4, atol=1e-3)

    def test_stacks_have_the_requested_spacing(self):
        """The slices of the CT have their position in mm as values."""
        volume = (torch.arange(9.0) * 2)[:, None, None].expand(9, 64, 64)  # slices 2 mm apart
        stacks, scale = inferer().stacks(volume, torch.tensor([0, 4, 8]), 2.0)
        expected = torch.tensor([[0.0, 0, 2.5], [5.5, 8, 10.5], [13.5, 16, 16]])
        wanted, _ = resize_stacks(expected[:, None, :, None, None].expand(-1, 1, -1, 64, 64), 64)
        torch.testing.assert_close(stacks, wanted)
        assert scale == 1.0

    def test_boxes_are_in_the_image_not_in_its_padding(self):
        with torch.no_grad():
            found = inferer()(scan(), network())
        assert found["boxes"][:, 0::2].max() == 60, "random maps have boxes everywhere"

    def test_boxes_outside_the_image_are_excluded(self, monkeypatch):
        made = inferer()
        boxes = torch.tensor([[10.0, 10, 20, 20], [61, 10, 64, 20], [50, 40, 64, 60], [60, 1, 62, 3]])
        monkeypatch.setattr(made.detector, "detect", lambda maps: [{"boxes": boxes, "scores": torch.arange(4.0)}])
        found = made(scan(), lambda stacks: stacks, torch.tensor([[3]]))
        assert found["boxes"].tolist() == [[10, 10, 20, 20], [50, 40, 60, 60]]
        assert found["scores"].tolist() == [0, 2]
        assert found["slices"].tolist() == [3, 3]
        batch = {"pred": [torch.zeros(1)], "scale": torch.tensor([1.0]), "boxes": [boxes[:1]], "noisy": [boxes[:1] > 0]}
        batch |= {"width": torch.tensor([60]), "height": torch.tensor([64])}
        (detections,) = DetectBoxesd("pred", made.detector)(batch)["detections"]
        assert torch.equal(detections["boxes"], found["boxes"])

    def test_boxes_of_a_batch_are_in_pixels_of_each_image(self, monkeypatch):
        detector, boxes = Detector(STRIDES), torch.tensor([[8.0, 16, 40, 32], [48, 8, 64, 64]])
        noisy = [torch.tensor([True, False]), torch.tensor([False])]
        batch = {"pred": [torch.zeros(2)], "boxes": [boxes, boxes[:1]], "noisy": noisy}
        batch |= {
            "scale": torch.tensor([2.0, 0.5]),
            "width": torch.tensor([26, 128]),
            "height": torch.tensor([32, 120]),
        }
        found = {"boxes": boxes, "scores": torch.tensor([0.9, 0.8])}
        monkeypatch.setattr(detector, "detect", lambda maps: [found, found])
        made = DetectBoxesd("pred", detector)(batch)
        assert [one["boxes"].tolist() for one in made["detections"]] == [
            [[4, 8, 20, 16], [24, 4, 26, 32]],
            [[16, 32, 80, 64], [96, 16, 128, 120]],
        ]
        assert [one.tolist() for one in made["gt_ignore"]] == [[True, False], [False]]
        assert all(torch.equal(*pair) for pair in zip(made["gt_boxes"], batch["boxes"], strict=True))

    def test_how_a_file_stores_its_axes_does_not_matter(self, tmp_path):
        voxels = scan()[0, 0].numpy()
        affine = scan().affine.numpy()
        stored = nibabel.Nifti1Image(voxels, affine)
        turned = stored.as_reoriented(
            nibabel.orientations.axcodes2ornt(("S", "R", "A"), (("L", "R"), ("P", "A"), ("I", "S")))
        )
        samples = []
        for name, image in (("a", stored), ("b", turned)):
            nibabel.save(image, tmp_path / f"{name}.nii.gz")
            samples.append(LoadScanSlicesd(num_slices=3)({"image": str(tmp_path / f"{name}.nii.gz")}))
        assert turned.shape != stored.shape
        assert torch.equal(samples[0]["image"].as_tensor(), samples[1]["image"].as_tensor())
        torch.testing.assert_close(samples[0]["image"].affine, samples[1]["image"].affine)


SHAPE, SPACING, INTERVAL = (36, 30, 13), 0.8, 2.5  # columns, rows and slices, mm
ORIENTATIONS = ["LPI", "LPS", "RAS", "RPI", "ASR", "PIL", "SLA", "IRP"]


def noisy_ct(lesion=((20, 30), (6, 11), (8, 11))):
    """Noise (X, Y, Z), x to the left, y to the back and z to the feet, with a bright block off centre."""
    volume = np.random.default_rng(0).integers(-900, 200, SHAPE).astype(np.int16)
    volume[tuple(slice(*ends) for ends in lesion)] = 1000
    return volume


def save_ct(path, orientation, origin=(30.0, -12.0, 250.0)):
    """Save the CT as NIfTI in an orientation; returns the affine before reorientation."""
    affine = np.diag([-SPACING, -SPACING, -INTERVAL, 1.0])
    affine[:3, 3] = origin
    image = nibabel.Nifti1Image(noisy_ct(), affine)
    here, there = (nibabel.orientations.axcodes2ornt(codes) for codes in ("LPI", orientation))
    nibabel.save(image.as_reoriented(nibabel.orientations.ornt_transform(here, there)), path)
    assert "".join(nibabel.aff2axcodes(nibabel.load(path).affine)) == orientation
    return torch.from_numpy(affine)


def publish(folder, key, first=101):
    """Save the CT as in DeepLesion: an image per slice, numbered from head to feet."""
    folder.mkdir(exist_ok=True)
    for number, voxels in enumerate(noisy_ct().transpose(2, 1, 0), first):
        Image.fromarray((voxels.astype(np.int32) + 32768).astype(np.uint16)).save(folder / f"{number:03d}.png")
    case = {"case": "it", "patient": "it", "image": str(folder / f"{first + key:03d}.png"), "interval": INTERVAL}
    case |= {"first": first, "last": first + SHAPE[2] - 1, "spacing": SPACING, "height": SHAPE[1], "width": SHAPE[0]}
    return case


class Bright:
    """Detector of bright regions in the middle slices, for a network that returns its input."""

    def detect(self, stacks):
        found = []
        for rows, columns in ((one[0, len(one[0]) // 2] > 1.9).nonzero().unbind(1) for one in stacks):
            ends = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else []
            boxes = torch.tensor(ends, dtype=torch.float32).reshape(-1, 4)
            found.append({"boxes": boxes, "scores": torch.ones(len(boxes))})
        return found


class TestOrientation:
    """For every input, slices run from head to feet, rows to the back and columns to the left."""

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_ct_is_reoriented_to_the_published_slices(self, tmp_path, orientation):
        affine = save_ct(tmp_path / "ct.nii.gz", orientation)
        sample = LoadScanSlicesd(num_slices=3)({"image": str(tmp_path / "ct.nii.gz")})
        assert np.array_equal(sample["image"][0].numpy(), noisy_ct())
        torch.testing.assert_close(sample["image"].affine, affine)

    @pytest.mark.parametrize("num_slices", [1, 3, 4, 9])
    @pytest.mark.parametrize("spacing", [2.5, 2.0])
    def test_files_and_a_ct_give_the_same_stacks(self, tmp_path, num_slices, spacing):
        """Loaded in training, around a key slice, and from a whole CT."""
        save_ct(tmp_path / "ct.nii.gz", "RAS")
        made = ScanInferer(Bright(), num_slices, spacing, 64)
        whole = LoadScanSlicesd(num_slices=num_slices, spacing=spacing)({"image": str(tmp_path / "ct.nii.gz")})
        for key in (0, 4, 12):
            case = publish(tmp_path / "png", key)
            trained = build_stack_preprocessing(num_slices, spacing, 64)(dict(case))["image"]
            around = LoadScanSlicesd(num_slices=num_slices, spacing=spacing)(dict(case))
            for sample, index in ((whole, torch.tensor([key])), (around, around["keys"])):
                shown = []
                made(sample["image"][None], lambda stacks, shown=shown: shown.append(stacks) or stacks, index)
                torch.testing.assert_close(shown[0][0], trained)

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_a_lesion_found_in_a_ct_lies_on_it(self, tmp_path, orientation):
        affine = save_ct(tmp_path / "ct.nii.gz", orientation)
        sample = LoadScanSlicesd(num_slices=3)({"image": str(tmp_path / "ct.nii.gz")})
        made = ScanInferer(Bright(), 3, INTERVAL, max(SHAPE))
        (found,) = ScanDetector(lambda stacks: stacks, made, str(tmp_path), 0.5)(sample["image"][None])
        stored = nibabel.load(tmp_path / "ct.nii.gz")
        bright = np.argwhere(np.asarray(stored.dataobj) == 1000)
        places = nibabel.affines.apply_affine(stored.affine, bright) * (-1, -1, 1)  # LPS
        low, high = places.min(0) - np.abs(np.diag(affine)[:3]) / 2, places.max(0) + np.abs(np.diag(affine)[:3]) / 2
        np.testing.assert_allclose(found["box"].numpy(), [[*(low + high) / 2, *high - low]], atol=1e-3)

    def test_a_lesion_found_in_files_lies_where_their_nifti_has_it(self, tmp_path):
        """NIH's code writes NIfTI files with the first pixel as origin and a negative step along z."""
        save_ct(tmp_path / "ct.nii.gz", "LPI", (0, 0, 0))
        made = ScanInferer(Bright(), 3, INTERVAL, max(SHAPE))
        predictions = []
        for sample, keys in (({"image": str(tmp_path / "ct.nii.gz")}, torch.tensor([9])), (publish(tmp_path, 9), None)):
            scan = LoadScanSlicesd(num_slices=3, spacing=INTERVAL)(dict(sample))
            found = made(scan["image"][None], lambda stacks: stacks, scan["keys"] if keys is None else keys)
            predictions.append(lesion_boxes(link_slices(**found), scan["image"].affine)["box"])
        assert len(predictions[0]) == 1
        assert predictions[0][0, 2] == -9 * INTERVAL
        torch.testing.assert_close(predictions[1], predictions[0])

    @pytest.mark.parametrize("num_slices", [1, 4, 9])
    def test_affine_of_a_stack_of_files(self, tmp_path, num_slices):
        stack = LoadSliceStackd(num_slices=num_slices, spacing=INTERVAL)(publish(tmp_path, 6))["image"]
        scan = LoadScanSlicesd(num_slices=num_slices, spacing=INTERVAL)(publish(tmp_path, 6))["image"]
        for depth, row, column in ((0, 0, 0), (num_slices - 1, 3, 20)):
            place = stack.affine @ torch.tensor([depth, row, column, 1.0], dtype=torch.float64)
            x, y, z = (scan.affine.inverse() @ place)[:3].round().long().tolist()
            assert stack[0, depth, row, column] == scan[0, x, y, z]

    def test_a_scan_in_another_orientation_is_refused(self):
        affine = scan().affine @ torch.diag(torch.tensor([1.0, 1, -1, 1], dtype=torch.float64))
        with pytest.raises(InputError, match="orientation LPI, found LPS"):
            inferer()(MetaTensor(scan().as_tensor(), affine=affine), network())


class TestLinks:
    def test_a_lesion_through_slices_is_one(self):
        boxes = torch.tensor([[10.0, 10, 30, 30], [12, 10, 32, 30], [50, 50, 60, 60], [13, 11, 33, 31]])
        first, second = link_slices(boxes, torch.tensor([0.5, 0.9, 0.7, 0.6]), torch.tensor([3, 4, 4, 5]))
        assert first == ((10.0, 10.0, 33.0, 31.0), 3, 5, 4, pytest.approx(0.9))
        assert second == ((50.0, 50.0, 60.0, 60.0), 4, 4, 4, pytest.approx(0.7))

    def test_one_missed_slice_is_bridged_and_two_are_not(self):
        box, scores = torch.tensor([[10.0, 10, 30, 30]]).expand(2, 4), torch.tensor([0.5, 0.6])
        assert len(link_slices(box, scores, torch.tensor([3, 5]))) == 1
        assert len(link_slices(box, scores, torch.tensor([3, 6]))) == 2

    def test_boxes_of_one_slice_are_not_linked(self):
        box = torch.tensor([[10.0, 10, 30, 30]]).expand(2, 4)
        assert len(link_slices(box, torch.tensor([0.5, 0.6]), torch.tensor([3, 3]))) == 2

    def test_the_order_of_boxes_does_not_matter(self):
        generator = torch.Generator().manual_seed(0)
        corner = torch.rand(40, 2, generator=generator) * 20
        boxes, scores = torch.cat([corner, corner + 20], 1), torch.rand(40, generator=generator)
        slices, order = torch.arange(40) // 4, torch.randperm(40, generator=generator)
        assert link_slices(boxes, scores, slices) == link_slices(boxes[order], scores[order], slices[order])

    def test_highest_score_of_a_slice_is_linked_first(self):
        """Even if another box of the slice overlaps the lesion more, in any order."""
        boxes = torch.tensor([[10.0, 10, 30, 30], [10, 10, 30, 28], [10, 14, 30, 34]])
        scores, slices = torch.tensor([0.5, 0.6, 0.9]), torch.tensor([3, 4, 4])
        for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
            first, second = link_slices(boxes[order], scores[order], slices[order])
            assert first == ((10.0, 10.0, 30.0, 34.0), 3, 4, 4, pytest.approx(0.9))
            assert second == ((10.0, 10.0, 30.0, 28.0), 4, 4, 4, pytest.approx(0.6))

    def test_box_is_linked_to_the_lesion_of_highest_overlap(self):
        """Among three lesions of one slice, in any order."""
        near = torch.tensor([[0.0, 0, 20, 20], [8, 0, 28, 20], [14, 0, 34, 20]])
        for index in range(3):
            boxes = torch.cat([near, near[index : index + 1] + torch.tensor([1.0, 0, 1, 0])])
            lesions = link_slices(boxes, torch.tensor([0.5, 0.6, 0.7, 0.1]), torch.tensor([0, 0, 0, 1]))
            (longest,) = [lesion for lesion in lesions if lesion.last == 1]
            assert longest.box == (*near[index, :2].tolist(), near[index, 2] + 1, 20.0)

    def test_lesions_are_sorted_by_score(self):
        boxes = torch.arange(5.0)[:, None] * 40 + torch.tensor([0.0, 0, 10, 10])
        lesions = link_slices(boxes, torch.tensor([0.2, 0.9, 0.1, 0.7, 0.5]), torch.arange(5))
        assert [lesion.key for lesion in lesions] == [1, 3, 4, 0, 2]

    def test_lesion_may_move_from_slice_to_slice(self):
        """Boxes are compared with the latest box; the last box does not overlap the first."""
        boxes = torch.arange(8.0)[:, None] * 6 + torch.tensor([0.0, 0, 20, 20])
        (lesion,) = link_slices(boxes, torch.rand(8, generator=torch.Generator().manual_seed(0)), torch.arange(8))
        assert lesion[:3] == ((0.0, 0.0, 62.0, 62.0), 0, 7)

    @pytest.mark.parametrize("gap", [0, 1, 3])
    def test_max_gap(self, gap):
        box, scores = torch.tensor([[10.0, 10, 30, 30]]).expand(2, 4), torch.tensor([0.5, 0.6])
        for missed in range(5):
            assert len(link_slices(box, scores, torch.tensor([3, 4 + missed]), max_gap=gap)) == 1 + (missed > gap)

    def test_iou_thresh(self):
        boxes = torch.tensor([[0.0, 0, 10, 10], [0, 5, 10, 10]])  # one half of the other
        for overlap, count in ((0.49, 1), (0.5, 1), (0.51, 2)):
            assert len(link_slices(boxes, torch.tensor([0.5, 0.6]), torch.tensor([0, 1]), overlap)) == count

    def test_lesions_enclose_their_boxes(self):
        """With at most one box per slice, lesions span at least as many slices as they have boxes."""
        generator = torch.Generator().manual_seed(1)
        corner = torch.rand(90, 2, generator=generator) * 30
        boxes, scores = torch.cat([corner, corner + 20], 1), torch.rand(90, generator=generator)
        slices = torch.arange(90) // 6
        lesions = link_slices(boxes, scores, slices)
        assert 6 <= len(lesions) < 90
        assert lesions[0].score == scores.max()
        assert sum(lesion.last - lesion.first + 1 for lesion in lesions) >= 90
        for lesion in lesions:
            (best,) = (scores == lesion.score).nonzero().flatten().tolist()
            assert lesion.first <= lesion.key == slices[best] <= lesion.last
            around = torch.tensor(lesion.box)
            assert (around[:2] <= boxes[best, :2]).all()
            assert (around[2:] >= boxes[best, 2:]).all()

    def test_no_boxes(self):
        assert link_slices(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0)) == []


class TestSpace:
    def test_boxes_are_in_mm_as_in_monai_label(self):
        """Centre and size along x to the left, y to the back and z up, a slice thick.

        The middle of pixels 10 to 29 is 19.5 pixels beside the first one's, where the affine begins.
        """
        found = {
            "boxes": torch.tensor([[10.0, 20, 30, 60], [0, 0, 5, 5]]),
            "scores": torch.tensor([0.9, 0.1]),
            "slices": torch.tensor([4, 4]),
        }
        affine = torch.diag(torch.tensor([-0.5, -0.5, 3.0, 1.0], dtype=torch.float64))
        affine[:3, 3] = torch.tensor([100.0, 50, -20])
        lesions = lesion_boxes(link_slices(**filter_by_score(found, 0.5)), affine)
        assert lesions["box"].tolist() == [[-100 + 19.5 / 2, -50 + 39.5 / 2, -20 + 12, 10, 20, 3]]
        assert lesions["label"].tolist() == [0]
        assert lesions["label_scores"].tolist() == pytest.approx([0.9])

    def test_score_must_exceed_the_threshold(self):
        found = {"scores": torch.tensor([0.5, 0.25, 0.75]), "slices": torch.arange(3)}
        assert filter_by_score(found, 0.5)["slices"].tolist() == [2]

    def test_boxes_of_a_tilted_scan_enclose_the_lesions(self):
        """The smallest box along x, y and z around the corners, for any slice direction."""
        turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
        affine = np.eye(4)
        affine[:3] = np.column_stack([turn * (0.7, 0.9, 3.0), (40.0, -7.0, 12.0)])
        lesions = link_slices(torch.tensor([[10.0, 20, 30, 60], [12, 22, 31, 64]]), torch.ones(2), torch.tensor([4, 5]))
        corners = np.array([(x, y, z) for x in (9.5, 30.5) for y in (19.5, 63.5) for z in (3.5, 5.5)])
        places = nibabel.affines.apply_affine(affine, corners) * (-1, -1, 1)
        expected = [*(places.min(0) + places.max(0)) / 2, *np.ptp(places, 0)]
        np.testing.assert_allclose(lesion_boxes(lesions, torch.from_numpy(affine))["box"], [expected], rtol=1e-5)

    def test_nothing_found_is_an_empty_list(self):
        assert lesion_boxes([], torch.eye(4))["box"].shape == (0, 6)

    def test_validation_threshold_is_read_from_the_card(self, tmp_path):
        made = ScanDetector(network(), inferer(), str(tmp_path))
        with pytest.raises(InputError, match=r"model\.json: expected a model card with a validation threshold"):
            made(scan())
        (tmp_path / "model.json").write_text(
            json.dumps({"sha256": "0" * 64, "encoder": {"name": "unet"}, "selected": {"threshold": 2.0}})
        )
        with torch.no_grad():
            assert len(made(scan())[0]["box"]) == 0
            assert len(ScanDetector(network(), inferer(), str(tmp_path), 0.0)(scan())[0]["box"]) > 0


def test_a_key_slice_is_stacked_as_in_training(tmp_path):
    """The stack extracted by the inferer equals the stack loaded in training."""

    generator = np.random.default_rng(0)
    for number in range(3, 12):
        pixels = generator.integers(32000, 33500, (64, 60)).astype(np.uint16)
        Image.fromarray(pixels).save(tmp_path / f"{number:03d}.png")
    case = {"case": "it", "image": str(tmp_path / "006.png"), "first": 3, "last": 11, "interval": 1.6, "spacing": 0.8}
    case |= {"height": 64, "width": 60, "patient": "it"}
    sample = LoadScanSlicesd(num_slices=5)(dict(case))
    made = ScanInferer(Detector(STRIDES), 5, 2.5, 64)
    volume = sample["image"].as_tensor()[0].permute(2, 1, 0)
    stacks, _ = made.stacks(volume, sample["keys"], float(sample["image"].pixdim[2]))
    trained = build_stack_preprocessing(5, 2.5, 64)(dict(case))["image"]
    torch.testing.assert_close(stacks[0], trained)
    assert sample["first"] + int(sample["keys"]) == 6
