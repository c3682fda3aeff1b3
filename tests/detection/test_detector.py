import pytest
import torch
from monai.data.box_utils import box_iou, non_max_suppression

from tools.detection.augmentation import StackAugmentation
from tools.detection.detector import DetectionLoss, Detector, NormalizedFocalLoss
from tools.detection.nms import nms
from tools.utils.errors import InputError

STRIDES = (4, 8, 16, 32)


def random_boxes(count, size=128, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * (size - 40)
    edges = 4 + torch.rand(count, 2, generator=generator) * 36
    return torch.cat([corner, corner + edges], 1)


def maps(batch=2, size=128, seed=0):
    """Random outputs of a network."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(channels, size // stride) for channels in (3, 12) for stride in STRIDES]
    return [torch.randn(batch, channels, edge, edge, generator=generator) for channels, edge in sizes]


def ideal(boxes, size=128):
    """Outputs of an ideal network: high scores and exact box codes at matched anchors."""
    detector = Detector(STRIDES)
    outputs, counts = detector._flatten(maps(len(boxes), size))
    targets = [{"boxes": one[:, [1, 0, 3, 2]]} for one in boxes]
    matched = detector.compute_anchor_matched_idxs(detector.anchors, targets, counts)
    scores, codes = torch.full_like(outputs["classification"], -9.0), torch.zeros_like(outputs["box_regression"])
    for image, indices in enumerate(matched):
        chosen = indices >= 0
        scores[image, chosen] = 9.0
        truth = targets[image]["boxes"][indices[chosen]]
        codes[image, chosen] = detector.box_coder.encode_single(truth, detector.anchors[image][chosen])
    levels = []
    for flat in (scores, codes):
        for part, stride in zip(flat.split([3 * c for c in counts], 1), STRIDES, strict=True):
            edge = size // stride
            grid = part.unflatten(1, (edge, edge, 3)).permute(0, 3, 4, 1, 2)
            levels.append(grid.flatten(1, 2).contiguous())
    return levels


class TestNMS:
    @pytest.mark.parametrize("overlap", [0.1, 0.5, 0.9])
    @pytest.mark.parametrize("keep", [-1, 7])
    def test_it_equals_monai(self, overlap, keep):
        boxes = random_boxes(200, 80)
        scores = (torch.rand(200, generator=torch.Generator().manual_seed(1)) * 20).round() / 20  # with ties
        expected = non_max_suppression(boxes, scores, overlap, keep)
        assert nms(boxes, scores, overlap, keep).tolist() == expected.tolist()

    def test_boxes_may_overlap_up_to_the_threshold(self):
        boxes = torch.tensor([[0.0, 0, 10, 10], [0, 5, 10, 10]])  # one half of the other
        for overlap, count in ((0.49, 1), (0.5, 2)):
            assert len(nms(boxes, torch.tensor([0.9, 0.8]), overlap)) == count

    def test_boxes_outside_the_image_do_not_shift_scores(self):
        selector = Detector(STRIDES).box_selector
        boxes = torch.tensor([[70.0, 10, 90, 20], [10, 10, 90, 20], [5, 30, 20, 40]])
        chosen, scores, _ = selector.select_boxes_per_image([boxes], [torch.tensor([[3.0], [1.0], [2.0]])], [64, 64])
        assert chosen.tolist() == [[5, 30, 20, 40], [10, 10, 64, 20]]
        torch.testing.assert_close(scores, torch.tensor([2.0, 1.0]).sigmoid())

    def test_no_boxes(self):
        assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []

    def test_selected_boxes_do_not_overlap_and_others_do(self):
        boxes, scores = random_boxes(300, 100), torch.rand(300, generator=torch.Generator().manual_seed(2))
        stays = nms(boxes, scores, 0.3)
        box_overlap = box_iou(boxes, boxes)
        assert box_overlap[stays][:, stays].fill_diagonal_(0).max() <= 0.3
        gone = [index for index in range(300) if index not in set(stays.tolist())]
        assert all(((box_overlap[one, stays] > 0.3) & (scores[stays] >= scores[one])).any() for one in gone)


class TestDetector:
    def test_ideal_maps_give_the_boxes_back(self):
        boxes = [torch.tensor([[10.0, 20, 40, 45], [70, 60, 100, 110]]), torch.tensor([[50.0, 30, 66, 40]])]
        found = Detector(STRIDES, score_thresh=0.5).detect(ideal(boxes))
        for one, truth in zip(found, boxes, strict=True):
            assert len(one["boxes"]) == len(truth)
            assert box_iou(one["boxes"], truth).amax(0).min() > 0.999
            assert (one["scores"] > 0.99).all()

    def test_ideal_maps_have_no_loss(self):
        boxes = [torch.tensor([[10.0, 20, 40, 45]]), torch.zeros(0, 4)]
        losses = Detector(STRIDES).losses(ideal(boxes), boxes)
        assert losses["classification"] < 1e-3
        assert losses["box_regression"] < 1e-5
        assert sum(Detector(STRIDES).losses(maps(), boxes).values()) > 0.1

    def test_lesions_are_matched(self):
        """Every lesion is matched with anchors of the level of its size."""
        detector, boxes = Detector(STRIDES), random_boxes(12)
        _, counts = detector._flatten(maps(1))
        (matched,) = detector.compute_anchor_matched_idxs(detector.anchors, [{"boxes": boxes}], counts)
        assert set(matched[matched >= 0].tolist()) == set(range(len(boxes)))

    def test_more_candidates_match_more_anchors(self):
        counts = []
        for candidates in (1, 9):
            detector = Detector(STRIDES, candidates)
            _, places = detector._flatten(maps(1))
            targets = [{"boxes": random_boxes(3)}]
            counts.append(int((detector.compute_anchor_matched_idxs(detector.anchors, targets, places)[0] >= 0).sum()))
        assert counts[0] < counts[1]

    def test_unmatched_anchors_on_a_lesion_are_ignored(self):
        boxes = random_boxes(3)
        strict, mild = (Detector(STRIDES, num_candidates=1, ignore_iou_thresh=overlap) for overlap in (1.0, 0.2))
        _, counts = strict._flatten(maps(1))
        mild._flatten(maps(1))
        one, other = (d.compute_anchor_matched_idxs(d.anchors, [{"boxes": boxes}], counts)[0] for d in (strict, mild))
        assert torch.equal(one >= 0, other >= 0)
        ignored = other == -2
        assert ignored.any()
        assert (box_iou(boxes, mild.anchors[0]).amax(0)[ignored] > 0.2).all()
        assert (box_iou(boxes, mild.anchors[0]).amax(0)[other == -1] <= 0.2).all()

    def test_images_without_lesions_train_only_the_classification(self):
        nothing, given = [torch.zeros(0, 4)] * 2, [one.requires_grad_() for one in maps()]
        loss = DetectionLoss(Detector(STRIDES))(given, nothing)
        assert torch.isfinite(loss)
        loss.backward()
        assert given[0].grad.abs().sum() > 0
        assert all(one.grad is None or one.grad.abs().sum() == 0 for one in given[len(STRIDES) :])

    def test_boxes_are_inside_the_image_and_sorted(self):
        for one in Detector(STRIDES).detect(maps()):
            assert len(one["boxes"]) == 100
            assert one["boxes"].min() >= 0
            assert one["boxes"].max() <= 128
            assert (one["boxes"][:, 2:] > one["boxes"][:, :2]).all()
            assert (one["scores"].diff() <= 0).all()

    def test_anchor_sizes_and_shapes(self):
        detector = Detector(STRIDES)
        _, counts = detector._flatten(maps(1))
        for stride, anchors in zip(STRIDES, detector.anchors[0].split([3 * count for count in counts]), strict=True):
            edges = anchors[:, 2:] - anchors[:, :2]
            assert (edges.prod(1).sqrt() / (4 * stride)).round(decimals=1).unique().tolist() == [1]
            assert (edges[:3, 0] / edges[:3, 1]).log2().round().sort().values.tolist() == [-1, 0, 1]

    def test_settings_of_box_selection(self):
        def found(**options):
            return Detector(STRIDES, **options).detect(maps(1))[0]

        assert len(found(detections_per_img=7)["boxes"]) == 7
        assert len(found(topk_candidates_per_level=1)["boxes"]) <= len(STRIDES)
        assert 0 < len(found(score_thresh=0.95)["boxes"]) < 100
        assert found(score_thresh=0.95)["scores"].min() > 0.95
        for overlap in (0.1, 0.4):
            boxes = found(nms_thresh=overlap)["boxes"]
            assert overlap - 0.1 < box_iou(boxes, boxes).fill_diagonal_(0).max() <= overlap

    def test_number_of_hard_negatives(self):
        """With all boxes on one lesion, 8 anchors are sampled, at most a quarter of them positive."""
        detector = Detector(STRIDES, sampling="hard", batch_size_per_image=8, positive_fraction=0.25)
        labels, scores = (torch.arange(100) < 20).float(), torch.arange(100.0)
        positive, negative = detector.fg_bg_sampler([labels], scores)
        assert (int(positive[0].sum()), int(negative[0].sum())) == (2, 6)

    def test_batched_equals_single(self):
        detector, given = Detector(STRIDES), maps(3)
        together = detector.detect(given)
        for image, one in enumerate(together):
            (alone,) = detector.detect([level[image : image + 1] for level in given])
            torch.testing.assert_close(alone, one)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_maps_are_decoded_in_float32(self, dtype):
        given = [level.to(dtype) for level in maps()]
        found = Detector(STRIDES).detect(given)
        expected = Detector(STRIDES).detect([level.float() for level in given])
        torch.testing.assert_close(found, expected)

    def test_the_focal_loss_is_per_matched_anchor(self):
        """It equals the formula, and is the same for a repeated batch."""
        generator = torch.Generator().manual_seed(0)
        logits, matched = torch.randn(400, 1, generator=generator), (torch.arange(400)[:, None] % 50 == 0).float()
        chance = torch.where(matched > 0, logits.sigmoid(), 1 - logits.sigmoid())
        weight = torch.where(matched > 0, 0.25, 0.75) * (1 - chance) ** 2
        loss = NormalizedFocalLoss()(logits, matched)
        torch.testing.assert_close(loss, -(weight * chance.log()).sum() / 8)
        torch.testing.assert_close(NormalizedFocalLoss()(logits.repeat(2, 1), matched.repeat(2, 1)), loss)
        assert torch.isfinite(NormalizedFocalLoss()(logits, torch.zeros_like(matched)))

    @pytest.mark.parametrize("sampling", ["focal", "hard"])
    def test_both_samplings_train_scores_and_boxes(self, sampling):
        given = [one.requires_grad_() for one in maps()]
        boxes = [torch.tensor([[10.0, 20, 40, 45]])] * 2
        DetectionLoss(Detector(STRIDES, sampling=sampling))(given, boxes).backward()
        for part in (given[: len(STRIDES)], given[len(STRIDES) :]):
            assert sum(one.grad.abs().sum() for one in part) > 0

    def test_box_loss_weight(self):
        detector, boxes = Detector(STRIDES), [torch.tensor([[10.0, 20, 40, 45]])] * 2
        losses = detector.losses(maps(), boxes)
        expected = losses["classification"] + 3 * losses["box_regression"]
        torch.testing.assert_close(DetectionLoss(detector, 3.0)(maps(), boxes), expected)

    def test_another_sampling_is_refused(self):
        with pytest.raises(InputError, match="sampling: expected one of focal, hard"):
            Detector(STRIDES, sampling="soft")

    def test_a_size_that_the_strides_do_not_divide_is_named(self):
        given = [level[..., :-1, :-1] for level in maps()]
        with pytest.raises(InputError, match="image_size: expected multiples of 32"):
            Detector(STRIDES).detect(given)


class Engine:
    def __init__(self, step):
        self.state = type("State", (), {"iteration": step})()


def batch(size=96, count=4):
    stacks = torch.rand(count, 1, 5, size, size, generator=torch.Generator().manual_seed(0))
    boxes = [random_boxes(2, size, seed) for seed in range(count)]
    return {"image": stacks, "boxes": boxes, "scale": torch.ones(count)}


def params(mirrored, turned, size, count=4):
    flags = {"mirrored": torch.full((count,), mirrored), "reversed": torch.full((count,), turned)}
    return {**flags, "size": torch.tensor([size])}


class TestAugmentation:
    def test_identity_parameters(self):
        given = batch()
        stacks, boxes = StackAugmentation([96]).apply(given["image"], given["boxes"], params(False, False, 96))
        assert torch.equal(stacks, given["image"])
        assert all(torch.equal(*pair) for pair in zip(boxes, given["boxes"], strict=True))

    def test_two_flips_are_the_identity(self):
        given, views = batch(), StackAugmentation([96])
        once = views.apply(given["image"], given["boxes"], params(True, True, 96))
        assert not torch.equal(once[0], given["image"])
        twice = views.apply(*once, params(True, True, 96))
        assert torch.equal(twice[0], given["image"])
        for one, other in zip(twice[1], given["boxes"], strict=True):
            torch.testing.assert_close(one, other)

    def test_downsampling_is_antialiased(self):
        """A third of the edge length leaves about a third of the noise."""
        given, views = batch(), StackAugmentation([32])
        small, _ = views.apply(given["image"], given["boxes"], params(False, False, 32))
        assert small.std() < 0.5 * given["image"].std()

    def test_stacks_are_flipped_independently(self):
        """Left-right flips include the boxes; flips along the slices do not change them."""
        given = batch()
        drawn = {"mirrored": torch.tensor([0, 1, 0, 1]) > 0, "reversed": torch.tensor([0, 0, 1, 1]) > 0}
        stacks, boxes = StackAugmentation([96]).apply(
            given["image"], given["boxes"], {**drawn, "size": torch.tensor([96])}
        )
        for index, axes in enumerate(((), (-1,), (1,), (1, -1))):
            assert torch.equal(stacks[index], given["image"][index].flip(axes))
            x1, y1, x2, y2 = given["boxes"][index].unbind(1)
            expected = torch.stack([96 - x2, y1, 96 - x1, y2], 1) if -1 in axes else given["boxes"][index]
            assert torch.equal(boxes[index], expected)

    def test_boxes_are_scaled_to_pixels_of_the_stacks(self):
        given = {**batch(), "scale": torch.tensor([1.0, 0.5, 2.0, 3.0])}
        _, boxes = StackAugmentation([96], flip_prob=0.0).make_batch(given, 1)
        for one, other, scale in zip(boxes, given["boxes"], given["scale"], strict=True):
            assert torch.equal(one, other * scale)

    def test_random_augmentation_requires_an_engine(self):
        given = batch()
        assert torch.equal(StackAugmentation([96], flip_prob=0.0)(given, "cpu")[0], given["image"])
        for views in (StackAugmentation([96]), StackAugmentation([64, 96], flip_prob=0.0)):
            with pytest.raises(RuntimeError, match="attached"):
                views(given, "cpu")

    def test_other_seeds_give_other_parameters(self):
        given = batch(count=32)
        first, again, other = (StackAugmentation([96], seed=seed).make_batch(given, 1)[0] for seed in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    @pytest.mark.parametrize("size", [64, 96, 128])
    @pytest.mark.parametrize("mirrored", [False, True])
    def test_boxes_follow_the_image_content(self, size, mirrored):
        stacks, box = torch.zeros(1, 1, 3, 96, 96), torch.tensor([[12.0, 30, 36, 54]])
        stacks[..., 30:54, 12:36] = 1
        found, (moved,) = StackAugmentation([size]).apply(stacks, [box], params(mirrored, False, size, 1))
        x1, y1, x2, y2 = moved[0].round().long().tolist()
        assert found[..., y1 + 1 : y2 - 1, x1 + 1 : x2 - 1].min() > 0.9
        found[..., y1 - 1 : y2 + 1, x1 - 1 : x2 + 1] = 0
        assert found.max() < 0.1

    def test_parameters_depend_on_the_step(self):
        given, views = batch(), StackAugmentation([64, 96, 128], 32, seed=3)
        seen = []
        for step in (1, 1, 2, 3, 4, 5):
            views.attach(Engine(step))
            seen.append(views(given, "cpu"))
        assert torch.equal(seen[0][0], seen[1][0])
        assert {tuple(stacks.shape[-2:]) for stacks, _ in seen} == {(64, 64), (96, 96), (128, 128)}

    def test_half_are_flipped_and_sizes_are_even(self):
        views = StackAugmentation([64, 96])
        drawn = views.sample_params(4000, torch.Generator().manual_seed(0))
        for key in ("mirrored", "reversed"):
            assert 0.45 < drawn[key].float().mean() < 0.55
        sizes = [int(views.sample_params(1, torch.Generator().manual_seed(seed))["size"]) for seed in range(400)]
        assert 150 < sizes.count(64) < 250

    def test_two_ranks_use_the_parameters_of_one_process(self, monkeypatch):
        given, views = batch(), StackAugmentation([64, 96, 128], 32)
        whole = views.make_batch(given, 7)
        monkeypatch.setattr("tools.utils.distributed.world_size", lambda: 2)
        shares = []
        for rank in (0, 1):
            monkeypatch.setattr("tools.utils.distributed.rank", lambda rank=rank: rank)
            part = {key: value[2 * rank : 2 * rank + 2] for key, value in given.items()}
            shares.append(views.make_batch(part, 7))
        assert torch.equal(torch.cat([stacks for stacks, _ in shares]), whole[0])
        for one, other in zip([box for _, boxes in shares for box in boxes], whole[1], strict=True):
            assert torch.equal(one, other)

    @pytest.mark.parametrize("sizes", [[], [100], [64, 0], [64.0]])
    def test_invalid_sizes_are_refused(self, sizes):
        with pytest.raises(InputError, match="train_sizes"):
            StackAugmentation(sizes, 32)
