import math

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.apps.detection.metrics.coco import COCOMetric
from monai.apps.detection.metrics.matching import matching_batch
from monai.data.box_utils import box_iou
from scipy.interpolate import interp1d

from tools.detection.froc import (
    RATES,
    box_overlap,
    froc_curve,
    match_detections,
    mean_sensitivity,
    pool_matches,
    sensitivity_at,
)
from tools.detection.metrics import (
    FROC,
    average_precision,
    detection_report,
    detection_scores,
    rank_detections,
    size_class,
    subgroup_sensitivity,
)
from tools.utils.bootstrap import bootstrap_scores
from tools.utils.errors import InputError

LEVELS = (0, 0.25, 1 / 3, *RATES, 50)


def image(boxes, scores):
    return {"boxes": torch.tensor(boxes).float().reshape(-1, 4), "scores": torch.tensor(scores, dtype=torch.float32)}


def matched(detections, gt_boxes, **options):
    return [match_detections(one, boxes, **options) for one, boxes in zip(detections, gt_boxes, strict=True)]


def example():
    first = [((10, 10, 30, 30), 0.9), ((12, 12, 32, 32), 0.8), ((100, 100, 120, 120), 0.7), ((50, 50, 70, 62), 0.4)]
    second = [((10, 10, 20, 20), 0.6), ((40, 40, 60, 60), 0.5)]
    detections = [image(*map(list, zip(*part, strict=True))) for part in (first, second)]
    return detections, [torch.tensor([[10, 10, 30, 30], [50, 50, 70, 70]]), torch.tensor([[10, 10, 20, 20]])]


def draws(seed, images=12, steps=8):
    """Images with boxes on a coarse grid and few distinct scores, for overlaps, duplicates and ties."""
    rng = np.random.default_rng(seed)

    def boxes(count):
        corners = rng.integers(0, 4, (count, 2)) * 5
        return np.concatenate([corners, corners + rng.integers(3, 5, (count, 2)) * 5], 1)

    found = [boxes(n) for n in rng.integers(0, 9, images)]
    detections = [image(b.tolist(), (rng.integers(1, steps, len(b)) / steps).tolist()) for b in found]
    return detections, [torch.from_numpy(boxes(n)).float() for n in rng.integers(0, 4, images)]


def hits(box, gt_boxes):
    """Indices of the ground truth boxes with an intersection over union of at least 1/2, by definition."""
    found = []
    for index, other in enumerate(gt_boxes.tolist()):
        sides = [min(box[i + 2], other[i + 2]) - max(box[i], other[i]) for i in (0, 1)]
        common = max(sides[0], 0) * max(sides[1], 0)
        areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
        if common / (sum(areas) - common) >= 0.5:
            found.append(index)
    return found


def points(detections, gt_boxes, kept):
    """False positives per image and sensitivity of the selected detections (image, index)."""
    false, found = 0, set()
    for p, i in kept:
        on = hits(detections[p]["boxes"][i].tolist(), gt_boxes[p])
        false += not on
        found |= {(p, truth) for truth in on}
    return false / len(gt_boxes), len(found) / sum(map(len, gt_boxes))


def everything(detections):
    return [(p, i, float(s)) for p, one in enumerate(detections) for i, s in enumerate(one["scores"])]


def brute_force(detections, gt_boxes, rates):
    scored = everything(detections)
    curve = [(0, 0)]
    for threshold in {score for *_, score in scored}:
        curve.append(points(detections, gt_boxes, [(p, i) for p, i, score in scored if score >= threshold]))
    return [max(sensitivity for false, sensitivity in curve if false <= rate) for rate in rates]


def levels(detections, gt_boxes):
    return sensitivity_at(matched(detections, gt_boxes), LEVELS).tolist()


def test_the_worked_example():
    matches = matched(*example())
    false, sensitivity, thresholds = froc_curve(matches)
    assert false.tolist() == [0, 0, 0.5, 0.5, 1, 1]
    assert sensitivity.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1])
    assert thresholds.tolist() == pytest.approx([math.inf, 0.9, 0.7, 0.6, 0.5, 0.4])
    assert sensitivity_at(matches, RATES).tolist() == pytest.approx([2 / 3, 1, 1, 1, 1, 1])
    assert mean_sensitivity(matches) == pytest.approx((2 / 3 + 3) / 4)
    reference = sensitivity_at(matches, (0.5, 1, 2, 4), mode="reference").tolist()
    assert reference == pytest.approx([1 / 3, 2 / 3, math.inf, math.inf])


@pytest.mark.parametrize("seed", range(10))
def test_sensitivity_equals_the_definition(seed):
    detections, gt_boxes = draws(seed)
    assert levels(detections, gt_boxes) == pytest.approx(brute_force(detections, gt_boxes, LEVELS))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_reference_interpolates_a_point_per_detection(seed):
    detections, gt_boxes = draws(seed)
    order = [(p, i) for p, i, _ in sorted(everything(detections), key=lambda one: -one[2])]  # stable
    x, y = zip(*(points(detections, gt_boxes, order[: n + 1]) for n in range(len(order))), strict=True)
    expected = interp1d(x, y, fill_value="extrapolate")(LEVELS)
    found = sensitivity_at(matched(detections, gt_boxes), LEVELS, mode="reference")
    np.testing.assert_allclose(found, expected)


def test_reference_requires_two_points():
    detections, gt_boxes = example()
    one = [image([[10, 10, 30, 30]], [0.9]), image([], [])]
    assert np.isnan(sensitivity_at(matched(one, gt_boxes), (1,), mode="reference")).all()
    none = [torch.empty(0, 4)] * 2
    assert np.isnan(sensitivity_at(matched(detections, none), (1,), mode="reference")).all()


def test_reference_of_two_detections_is_a_line():
    truth = [torch.tensor([[0, 0, 10, 10]])]
    two = [image([[0, 0, 10, 10], [50, 50, 60, 60]], [0.9, 0.5])]
    assert sensitivity_at(matched(two, truth), (0, 1, 5), mode="reference").tolist() == [1, 1, 1]


def test_unknown_modes_and_overlaps_are_refused():
    with pytest.raises(InputError, match=r"mode.*'steps'"):
        sensitivity_at(matched(*example()), (1,), mode="steps")
    with pytest.raises(InputError, match=r"match_metric.*'ioub'"):
        box_overlap(torch.zeros(1, 4), torch.zeros(1, 4), "ioub")


@pytest.mark.parametrize("seed", range(5))
def test_curve_is_monotonic_and_below_the_step_sensitivity(seed):
    matches = matched(*draws(seed))
    false, sensitivity, thresholds = froc_curve(matches)
    assert (false[0], sensitivity[0], thresholds[0]) == (0, 0, math.inf)
    assert (np.diff(false) >= 0).all()
    assert (np.diff(sensitivity) >= 0).all()
    assert (np.diff(thresholds) < 0).all()
    at = sensitivity_at(matches, false)
    assert (at >= sensitivity).all()
    assert set(at) <= set(sensitivity)
    values = sensitivity_at(matches, np.linspace(0, 20, 300))
    assert (np.diff(values) >= 0).all()
    assert values[-1] == sensitivity[-1]


@pytest.mark.parametrize("mode", ["step", "reference"])
def test_only_the_order_of_scores_matters(mode):
    detections, gt_boxes = draws(0, steps=1000)
    before = sensitivity_at(matched(detections, gt_boxes), LEVELS, mode)
    changed = [{**one, "scores": (5 * one["scores"]).exp() - 30} for one in detections]
    np.testing.assert_array_equal(sensitivity_at(matched(changed, gt_boxes), LEVELS, mode), before)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_images_does_not_matter(seed):
    detections, gt_boxes = draws(seed)
    order = np.random.default_rng(seed).permutation(len(gt_boxes))
    assert levels([detections[i] for i in order], [gt_boxes[i] for i in order]) == levels(detections, gt_boxes)


@pytest.mark.parametrize("lower", [0, 0.05])
def test_repeated_detections_change_nothing(lower):
    detections, gt_boxes = draws(1)
    before = levels(detections, gt_boxes)
    found = [(p, i) for p, i, _ in everything(detections) if hits(detections[p]["boxes"][i].tolist(), gt_boxes[p])]
    assert len(found) > 10
    for p, i in found:
        one = detections[p]
        again = {key: torch.cat([one[key], one[key][i : i + 1]]) for key in one}
        again["scores"][-1] -= lower
        assert levels([*detections[:p], again, *detections[p + 1 :]], gt_boxes) == before


def test_removing_a_false_positive_is_never_worse():
    changed = []
    for detections, gt_boxes in (example(), draws(2), draws(3)):
        before = levels(detections, gt_boxes)
        for p, i, _ in everything(detections):
            if not hits(detections[p]["boxes"][i].tolist(), gt_boxes[p]):
                less = {key: torch.cat([value[:i], value[i + 1 :]]) for key, value in detections[p].items()}
                after = levels([*detections[:p], less, *detections[p + 1 :]], gt_boxes)
                assert all(a >= b for a, b in zip(after, before, strict=True))
                changed.append(after != before)
    assert any(changed)


def test_no_detections():
    _, gt_boxes = draws(0)
    detections = [image([], [])] * len(gt_boxes)
    assert levels(detections, gt_boxes) == [0] * len(LEVELS)
    assert average_precision(detections, gt_boxes) == 0


def test_sensitivity_without_lesions_is_nan():
    detections, gt_boxes = draws(0)
    none = [torch.empty(0, 4)] * len(gt_boxes)
    ranking = rank_detections(detections, none)
    assert all(math.isnan(v) for v in detection_scores(pool_matches(matched(detections, none)), ranking).values())
    assert np.isnan(froc_curve(matched(detections, none))[1]).all()
    assert math.isnan(mean_sensitivity([]))
    assert math.isnan(average_precision([], []))


def test_image_without_lesions_has_only_false_positives():
    detections, gt_boxes = example()
    extra = image([[10, 10, 30, 30], [50, 50, 70, 70]], [0.95, 0.1])
    one = match_detections(extra, torch.empty(0, 4))
    assert one.false_positive.all()
    assert not len(one.lesion_scores)
    false, sensitivity, _ = froc_curve([*matched(detections, gt_boxes), one])
    assert false.max() == pytest.approx(4 / 3)
    assert (false[1], sensitivity[1], sensitivity[-1]) == (pytest.approx(1 / 3), 0, 1)


def test_perfect_detector_has_full_sensitivity_at_every_rate():
    _, gt_boxes = draws(3)
    detections = [{"boxes": boxes, "scores": torch.rand(len(boxes))} for boxes in gt_boxes]
    assert levels(detections, gt_boxes) == [1] * len(LEVELS)
    assert average_precision(detections, gt_boxes) == 1


@pytest.mark.parametrize("seed", range(5))
def test_one_more_false_positive_per_image_shifts_the_curve_by_one(seed):
    detections, gt_boxes = draws(seed)
    far = torch.tensor([[900.0, 900, 920, 920]])
    shifted = [
        {"boxes": torch.cat([far, one["boxes"]]), "scores": torch.cat([torch.ones(1), one["scores"]])}
        for one in detections
    ]
    false, sensitivity, _ = froc_curve(matched(detections, gt_boxes))
    moved, same, _ = froc_curve(matched(shifted, gt_boxes))
    np.testing.assert_allclose(moved[1:], [1, *(false[1:] + 1)])
    np.testing.assert_array_equal(same[1:], sensitivity)
    assert sensitivity_at(matched(shifted, gt_boxes), (0, 0.5, 0.99)).tolist() == [0, 0, 0]
    after = sensitivity_at(matched(shifted, gt_boxes), (1, 1.5, 2, 3))
    np.testing.assert_array_equal(after, sensitivity_at(matched(detections, gt_boxes), (0, 0.5, 1, 2)))


def test_equal_scores_give_one_point():
    gt_boxes = [torch.tensor([[0, 0, 10, 10]])]
    for order in ([0, 1], [1, 0]):
        boxes = [[[0, 0, 10, 10], [50, 50, 60, 60]][i] for i in order]
        matches = matched([image(boxes, [0.5, 0.5])], gt_boxes)
        assert [part.tolist() for part in froc_curve(matches)] == [[0, 1], [0, 1], [math.inf, 0.5]]
        assert sensitivity_at(matches, (0.5, 1)).tolist() == [0, 1]


def test_overlaps_by_hand():
    box, other = torch.tensor([[0, 0, 10, 10]]), torch.tensor([[5, 0, 25, 10], [0, 0, 10, 10], [10, 0, 20, 10]])
    assert box_overlap(box, other)[0].tolist() == pytest.approx([50 / 250, 1, 0])
    assert box_overlap(box, other, "iobb")[0].tolist() == pytest.approx([0.5, 1, 0])
    assert box_overlap(other, box, "iobb")[:, 0].tolist() == pytest.approx([0.25, 1, 0])
    assert box_overlap(box, other, pixel_offset=1)[0].tolist() == pytest.approx([66 / 286, 1, 11 / 231])
    assert box_overlap(box, other, "iobb", 1)[0].tolist() == pytest.approx([66 / 121, 1, 11 / 121])
    apart, low = torch.tensor([[20, 20, 30, 30]]), torch.tensor([[0, 0, 10, 4]])
    assert box_overlap(box, apart).item() == box_overlap(box, apart, "iobb").item() == 0
    assert box_overlap(box, low, pixel_offset=1).item() == pytest.approx(5 / 11)


@pytest.mark.parametrize("match_metric", ["iou", "iobb"])
def test_a_box_without_an_area_overlaps_nothing(match_metric):
    boxes = torch.tensor([[5.0, 5, 5, 5], [5, 0, 5, 10], [0, 0, 10, 10], [0, 8, 10, 8]])
    shared = box_overlap(boxes, boxes, match_metric)
    assert shared[2, 2] == 1
    shared[2, 2] = 0
    assert (shared == 0).all()
    assert box_overlap(boxes[:0], boxes, match_metric).shape == (0, 4)
    assert box_overlap(boxes, boxes[:0], match_metric).shape == (4, 0)


def test_a_detection_without_an_area_is_a_false_positive():
    one = match_detections(image([[5, 5, 5, 9], [5, 5, 9, 5]], [0.5, 0.6]), torch.tensor([[0, 0, 10, 10]]))
    assert one.false_positive.all()
    assert one.lesion_scores.tolist() == [-math.inf]


def test_iobb_is_relative_to_the_detected_box():
    inside, truth = image([[10, 10, 20, 20]], [0.9]), torch.tensor([[0, 0, 40, 40]])
    assert match_detections(inside, truth).fp_scores == pytest.approx([0.9])
    assert match_detections(inside, truth, match_metric="iobb").lesion_scores == pytest.approx([0.9])
    assert match_detections(inside, truth, match_thresh=100 / 1600).lesion_scores == pytest.approx([0.9])


def test_one_detection_may_match_several_lesions_at_the_threshold():
    one = match_detections(image([[0, 0, 10, 10]], [0.7]), torch.tensor([[0, 0, 5, 10], [5, 0, 10, 10]]))
    assert one.lesion_scores == pytest.approx([0.7, 0.7])
    assert not one.false_positive.any()


def test_noisy_lesions_are_excluded():
    detections, gt_boxes = example()
    noisy = [torch.tensor([0, 1]), torch.tensor([1])]
    matches = [match_detections(*part, gt_ignore=flag) for *part, flag in zip(detections, gt_boxes, noisy, strict=True)]
    assert [one.fp_scores.tolist() for one in matches] == [pytest.approx([0.7]), pytest.approx([0.5])]
    assert [one.lesion_scores.tolist() for one in matches] == [pytest.approx([0.9]), []]
    assert sensitivity_at(matches, (0.5, 1), "reference").tolist() == [1, 1]
    everyone = [
        match_detections(*part, gt_ignore=flag * 0) for *part, flag in zip(detections, gt_boxes, noisy, strict=True)
    ]
    assert levels(detections, gt_boxes) == sensitivity_at(everyone, LEVELS).tolist()
    assert rank_detections(detections, gt_boxes, gt_ignore=noisy).num_lesions.tolist() == [1, 0]
    assert rank_detections(detections, gt_boxes, gt_ignore=noisy).true_positive.tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("box", "scores", "found"),
    [
        ([0, 0, 1, 1], [], "1 boxes, 0 scores, 0 of them invalid"),
        ([0, 0, 1, 1], [math.nan], "1 boxes, 1 scores, 1 of them invalid"),
        ([0, 0, math.inf, 1], [0.5], "1 boxes, 1 scores, 1 of them invalid"),
        ([0, 5, 9, 3], [0.5], "1 boxes, 1 scores, 1 of them invalid"),
    ],
)
def test_invalid_detections_are_refused(box, scores, found):
    with pytest.raises(InputError, match=f"detections: expected .* a finite score for each, found {found}"):
        match_detections(image([box], scores), torch.empty(0, 4))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0, 0.2])
def test_average_precision_equals_monai(seed, noise):
    detections, gt_boxes = draws(seed, images=30)
    rng = np.random.default_rng(seed)
    noisy = [torch.from_numpy(rng.random(len(boxes)) < noise) for boxes in gt_boxes]
    while math.gcd(sum(int((~flags).sum()) for flags in noisy), 100) > 1:  # at MONAI's 32 bits recall 0.7 is below 0.7
        detections, gt_boxes = [*detections, image([], [])], [*gt_boxes, torch.tensor([[0.0, 0, 9, 9]])]
        noisy.append(torch.tensor([False]))
    metric = COCOMetric(["lesion"], iou_list=[0.5], iou_range=(0.5, 0.5, 0.05), max_detection=[100], per_class=False)
    results = matching_batch(
        box_iou,
        [0.5],
        [one["boxes"].numpy() for one in detections],
        [np.zeros(len(one["scores"]), int) for one in detections],
        [one["scores"].numpy() for one in detections],
        [boxes.numpy() for boxes in gt_boxes],
        [np.zeros(len(boxes), int) for boxes in gt_boxes],
        [flags.numpy() for flags in noisy],
    )
    expected = metric(results)[0]["AP_IoU_0.50_MaxDet_100"]
    assert 0.02 < expected < 0.9
    assert rank_detections(detections, gt_boxes, gt_ignore=noisy).average_precision() == pytest.approx(
        expected, rel=1e-5
    )


def test_each_lesion_is_matched_once():
    assert rank_detections(*example()).true_positive.tolist() == [True, False, False, True, False, True]
    assert rank_detections(*example(), iou_thresh=0.61).true_positive.tolist() == [
        True,
        False,
        False,
        True,
        False,
        False,
    ]
    assert average_precision(*example(), iou_thresh=0.61) < average_precision(*example())


def test_repeated_detections_are_false_positives_of_average_precision():
    detections = image([[0, 0, 10, 10], [0, 0, 10, 10], [20, 0, 30, 10]], [0.9, 0.8, 0.7])
    gt_boxes = torch.tensor([[0, 0, 10, 10], [20, 0, 30, 10]])
    assert average_precision([detections], [gt_boxes]) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_groups_have_one_threshold():
    detections, gt_boxes = example()
    groups = [["lung", "liver"], ["lung"]]
    matches = matched(detections, gt_boxes)
    assert subgroup_sensitivity(matches, groups, 0.5) == {"lung": (2, 2), "liver": (0, 1)}
    assert subgroup_sensitivity(matches, groups, 1) == {"lung": (2, 2), "liver": (1, 1)}
    flags = [torch.tensor([1, 0]), torch.tensor([0])]
    without = [match_detections(*part, gt_ignore=flag) for *part, flag in zip(detections, gt_boxes, flags, strict=True)]
    assert subgroup_sensitivity(without, groups, 0.5) == {"liver": (0, 1), "lung": (1, 1)}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate", [0.3, 1, 4])
def test_groups_sum_to_the_total(seed, rate):
    detections, gt_boxes = draws(seed)
    matches = matched(detections, gt_boxes)
    groups = [[size_class(box, 1.2) for box in boxes] for boxes in gt_boxes]
    found, total = map(sum, zip(*subgroup_sensitivity(matches, groups, rate).values(), strict=True))
    assert total == sum(map(len, gt_boxes))
    assert found / total == pytest.approx(sensitivity_at(matches, (rate,))[0])


@pytest.mark.parametrize(
    ("height", "name"), [(19.9, "< 10 mm"), (20, "10 to 30 mm"), (60, "10 to 30 mm"), (60.1, "> 30 mm")]
)
def test_sizes_are_of_the_longer_edge_in_mm(height, name):
    assert size_class((100, 100, 103, 100 + height), 0.5) == name
    assert size_class(torch.tensor([0, 0, height, 3], dtype=torch.float64), 0.5) == name


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [3, 17])
def test_resampling_equals_the_selected_images(seed, count):
    detections, gt_boxes = draws(seed, steps=10**6)  # ties depend on the order of images
    ranking, pool = rank_detections(detections, gt_boxes), pool_matches(matched(detections, gt_boxes))
    chosen = np.random.default_rng(seed).integers(len(gt_boxes), size=count)
    some, boxes = [detections[i] for i in chosen], [gt_boxes[i] for i in chosen]
    expected = detection_scores(pool_matches(matched(some, boxes)), rank_detections(some, boxes))
    assert detection_scores(pool, ranking, torch.from_numpy(chosen)) == pytest.approx(expected)
    assert list(expected) == [*(f"sensitivity_at_{rate:g}" for rate in RATES), "mean_sensitivity", "ap_50"]
    everyone = detection_scores(pool, ranking)
    assert detection_scores(pool, ranking, torch.arange(len(gt_boxes))) == everyone
    assert everyone["mean_sensitivity"] == pytest.approx(mean_sensitivity(matched(detections, gt_boxes)))


def test_intervals_are_over_patients_and_include_the_value():
    detections, gt_boxes = draws(4, images=40)
    matches, ranking = matched(detections, gt_boxes), rank_detections(detections, gt_boxes)
    report = detection_report(matches, ranking, [str(i // 2) for i in range(40)], resamples=200)
    for score in report.values():
        low, high = score["interval_95"]
        assert low <= score["value"] <= high
        assert low < high


def test_interval_width_follows_the_variance_between_patients():
    """About 1.96 standard errors of a mean over patients, for any number of images per patient."""
    values = np.random.default_rng(0).normal(size=60)
    images, patients = values.repeat(3), [str(i // 3) for i in range(180)]
    report = bootstrap_scores(lambda chosen: {"mean": float(images[chosen.numpy()].mean())}, patients)
    low, high = report["mean"]["interval_95"]
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 60**0.5, rel=0.15)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=0.05)


def test_metric_pools_all_batches():
    detections, gt_boxes = draws(5)
    engine = Engine(lambda _, batch: batch)
    FROC().attach(engine, "key")
    batches = [{"detections": detections[i : i + 5], "gt_boxes": gt_boxes[i : i + 5]} for i in range(0, 12, 5)]
    metrics = engine.run(batches).metrics
    expected = detection_scores(pool_matches(matched(detections, gt_boxes)))
    assert metrics["key"] == pytest.approx(expected.pop("mean_sensitivity"))
    for name in ("sensitivity_at_0.5", "sensitivity_at_2"):
        assert metrics[name] == pytest.approx(expected[name])


def test_metric_is_reset_between_passes():
    first, second = draws(5), draws(6)
    passes = [{"detections": one, "gt_boxes": boxes} for one, boxes in (first, second)]
    engine = Engine(lambda engine, _: passes[engine.state.epoch - 1])
    FROC().attach(engine, "key")
    metrics = engine.run([None], max_epochs=2).metrics
    assert metrics["key"] == pytest.approx(mean_sensitivity(matched(*second)))
    assert metrics["key"] != pytest.approx(mean_sensitivity(matched(*first)))


@pytest.mark.parametrize("seed", range(5))
def test_threshold_has_one_false_positive_per_image(seed):
    """At most one false positive per image above it, and more from it on."""
    detections, gt_boxes = draws(seed)
    metric = FROC()
    metric.update((detections, gt_boxes))
    threshold, matches = metric.scores()["threshold"], matched(detections, gt_boxes)
    false = np.concatenate([one.fp_scores for one in matches])
    assert 0 < threshold < 1
    assert (false > threshold).sum() <= len(gt_boxes) < (false >= threshold).sum()


def test_threshold_is_0_with_few_false_positives():
    metric = FROC()
    metric.update(([image([[0, 0, 9, 9]], [0.5])], [torch.tensor([[0.0, 0, 9, 9]])]))
    assert metric.scores()["threshold"] == 0


def test_metric_of_single_images_with_another_overlap():
    inside, truth = image([[10, 10, 20, 20]], [0.9]), torch.tensor([[0, 0, 40, 40]])
    for metric, value in ((FROC(), 0), (FROC(match_metric="iobb"), 1), (FROC(match_thresh=0.05), 1)):
        engine = Engine(lambda _, batch: batch)
        metric.attach(engine, "key")
        assert engine.run([[{"detections": inside, "gt_boxes": truth}]]).metrics["key"] == value


def test_metric_excludes_noisy_lesions():
    beside, truth = image([[50, 50, 60, 60]], [0.9]), torch.tensor([[0.0, 0, 40, 40], [50, 50, 60, 60]])
    batch = {"detections": [beside], "gt_boxes": [truth], "gt_ignore": [torch.tensor([True, False])]}
    for metric, value in ((FROC(), 0.5), (FROC(exclude_noisy=True), 1)):
        engine = Engine(lambda _, batch: batch)
        metric.attach(engine, "key")
        assert engine.run([batch]).metrics["key"] == value


def test_metric_pools_all_ranks(monkeypatch):
    detections, gt_boxes = draws(6)
    other, mine = FROC(), FROC()
    other.update((detections[:7], gt_boxes[:7]))
    mine.update((detections[7:], gt_boxes[7:]))
    monkeypatch.setattr("tools.utils.distributed.gather_objects", lambda value: [other._matches, value])
    assert mine.compute() == pytest.approx(mean_sensitivity(matched(detections, gt_boxes)))


def test_metric_requires_a_lesion():
    metric = FROC()
    metric.update(([image([[0, 0, 9, 9]], [0.5])] * 3, [torch.empty(0, 4)] * 3))
    with pytest.raises(InputError, match=r"box.*3"):
        metric.compute()
