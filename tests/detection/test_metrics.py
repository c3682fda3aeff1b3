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
    froc_curve,
    match_detections,
    mean_sensitivity,
    overlaps,
    pool_matches,
    sensitivity_at,
)
from tools.detection.metrics import (
    Froc,
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


def picture(boxes, scores):
    return {"boxes": torch.tensor(boxes).float().reshape(-1, 4), "scores": torch.tensor(scores, dtype=torch.float32)}


def matched(detections, truths, **options):
    return [match_detections(one, boxes, **options) for one, boxes in zip(detections, truths, strict=True)]


def example():
    first = [((10, 10, 30, 30), 0.9), ((12, 12, 32, 32), 0.8), ((100, 100, 120, 120), 0.7), ((50, 50, 70, 62), 0.4)]
    second = [((10, 10, 20, 20), 0.6), ((40, 40, 60, 60), 0.5)]
    detections = [picture(*map(list, zip(*part, strict=True))) for part in (first, second)]
    return detections, [torch.tensor([[10, 10, 30, 30], [50, 50, 70, 70]]), torch.tensor([[10, 10, 20, 20]])]


def draws(seed, pictures=12, steps=8):
    """Pictures with boxes on a coarse grid and few distinct scores: overlaps, duplicates and ties abound."""
    rng = np.random.default_rng(seed)

    def boxes(count):
        corners = rng.integers(0, 4, (count, 2)) * 5
        return np.concatenate([corners, corners + rng.integers(3, 5, (count, 2)) * 5], 1)

    found = [boxes(n) for n in rng.integers(0, 9, pictures)]
    detections = [picture(b.tolist(), (rng.integers(1, steps, len(b)) / steps).tolist()) for b in found]
    return detections, [torch.from_numpy(boxes(n)).float() for n in rng.integers(0, 4, pictures)]


def hits(box, truths):
    """Indices of the true boxes with an intersection over union of 1/2 or more, from the definition."""
    found = []
    for index, other in enumerate(truths.tolist()):
        sides = [min(box[i + 2], other[i + 2]) - max(box[i], other[i]) for i in (0, 1)]
        common = max(sides[0], 0) * max(sides[1], 0)
        areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
        if common / (sum(areas) - common) >= 0.5:
            found.append(index)
    return found


def points(detections, truths, kept):
    """False positives per picture and sensitivity of the detections (picture, index) that are kept."""
    false, found = 0, set()
    for p, i in kept:
        on = hits(detections[p]["boxes"][i].tolist(), truths[p])
        false += not on
        found |= {(p, truth) for truth in on}
    return false / len(truths), len(found) / sum(map(len, truths))


def everything(detections):
    return [(p, i, float(s)) for p, one in enumerate(detections) for i, s in enumerate(one["scores"])]


def brute_force(detections, truths, rates):
    scored = everything(detections)
    curve = [(0, 0)]
    for threshold in {score for *_, score in scored}:
        curve.append(points(detections, truths, [(p, i) for p, i, score in scored if score >= threshold]))
    return [max(sensitivity for false, sensitivity in curve if false <= rate) for rate in rates]


def levels(detections, truths):
    return sensitivity_at(matched(detections, truths), LEVELS).tolist()


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
def test_sensitivity_is_that_of_the_definition(seed):
    detections, truths = draws(seed)
    assert levels(detections, truths) == pytest.approx(brute_force(detections, truths, LEVELS))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_reference_is_the_line_through_a_point_per_detection(seed):
    detections, truths = draws(seed)
    order = [(p, i) for p, i, _ in sorted(everything(detections), key=lambda one: -one[2])]  # stable
    x, y = zip(*(points(detections, truths, order[: n + 1]) for n in range(len(order))), strict=True)
    expected = interp1d(x, y, fill_value="extrapolate")(LEVELS)
    found = sensitivity_at(matched(detections, truths), LEVELS, mode="reference")
    np.testing.assert_allclose(found, expected)


def test_reference_needs_a_line():
    detections, truths = example()
    one = [picture([[10, 10, 30, 30]], [0.9]), picture([], [])]
    assert np.isnan(sensitivity_at(matched(one, truths), (1,), mode="reference")).all()
    none = [torch.empty(0, 4)] * 2
    assert np.isnan(sensitivity_at(matched(detections, none), (1,), mode="reference")).all()


def test_reference_of_two_detections_is_their_line():
    truth = [torch.tensor([[0, 0, 10, 10]])]
    two = [picture([[0, 0, 10, 10], [50, 50, 60, 60]], [0.9, 0.5])]
    assert sensitivity_at(matched(two, truth), (0, 1, 5), mode="reference").tolist() == [1, 1, 1]


def test_modes_and_overlaps_are_known():
    with pytest.raises(InputError, match="mode: expected one of step, reference, found 'steps'; did you mean step"):
        sensitivity_at(matched(*example()), (1,), mode="steps")
    with pytest.raises(InputError, match="match: expected one of iou, iobb, found 'ioub'"):
        overlaps(torch.zeros(1, 4), torch.zeros(1, 4), "ioub")


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_rises_and_no_point_of_it_beats_the_step(seed):
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
    detections, truths = draws(0, steps=1000)
    before = sensitivity_at(matched(detections, truths), LEVELS, mode)
    changed = [{**one, "scores": (5 * one["scores"]).exp() - 30} for one in detections]
    np.testing.assert_array_equal(sensitivity_at(matched(changed, truths), LEVELS, mode), before)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_pictures_does_not_matter(seed):
    detections, truths = draws(seed)
    order = np.random.default_rng(seed).permutation(len(truths))
    assert levels([detections[i] for i in order], [truths[i] for i in order]) == levels(detections, truths)


@pytest.mark.parametrize("lower", [0, 0.05])
def test_finding_again_changes_nothing(lower):
    detections, truths = draws(1)
    before = levels(detections, truths)
    found = [(p, i) for p, i, _ in everything(detections) if hits(detections[p]["boxes"][i].tolist(), truths[p])]
    assert len(found) > 10
    for p, i in found:
        one = detections[p]
        again = {key: torch.cat([one[key], one[key][i : i + 1]]) for key in one}
        again["scores"][-1] -= lower
        assert levels([*detections[:p], again, *detections[p + 1 :]], truths) == before


def test_no_false_positive_less_is_worse():
    changed = []
    for detections, truths in (example(), draws(2), draws(3)):
        before = levels(detections, truths)
        for p, i, _ in everything(detections):
            if not hits(detections[p]["boxes"][i].tolist(), truths[p]):
                less = {key: torch.cat([value[:i], value[i + 1 :]]) for key, value in detections[p].items()}
                after = levels([*detections[:p], less, *detections[p + 1 :]], truths)
                assert all(a >= b for a, b in zip(after, before, strict=True))
                changed.append(after != before)
    assert any(changed)


def test_nothing_detected_is_nothing_found():
    _, truths = draws(0)
    detections = [picture([], [])] * len(truths)
    assert levels(detections, truths) == [0] * len(LEVELS)
    assert average_precision(detections, truths) == 0


def test_without_true_boxes_there_is_no_figure():
    detections, truths = draws(0)
    none = [torch.empty(0, 4)] * len(truths)
    ranking = rank_detections(detections, none)
    assert all(math.isnan(v) for v in detection_scores(pool_matches(matched(detections, none)), ranking).values())
    assert np.isnan(froc_curve(matched(detections, none))[1]).all()
    assert math.isnan(mean_sensitivity([]))
    assert math.isnan(average_precision([], []))


def test_a_picture_without_true_boxes_has_only_false_positives():
    detections, truths = example()
    extra = picture([[10, 10, 30, 30], [50, 50, 70, 70]], [0.95, 0.1])
    one = match_detections(extra, torch.empty(0, 4))
    assert one.false.all()
    assert not len(one.hit_scores)
    false, sensitivity, _ = froc_curve([*matched(detections, truths), one])
    assert false.max() == pytest.approx(4 / 3)
    assert (false[1], sensitivity[1], sensitivity[-1]) == (pytest.approx(1 / 3), 0, 1)


def test_a_perfect_detector_finds_everything_at_every_level():
    _, truths = draws(3)
    detections = [{"boxes": boxes, "scores": torch.rand(len(boxes))} for boxes in truths]
    assert levels(detections, truths) == [1] * len(LEVELS)
    assert average_precision(detections, truths) == 1


@pytest.mark.parametrize("seed", range(5))
def test_a_false_positive_per_picture_above_all_shifts_by_one(seed):
    detections, truths = draws(seed)
    far = torch.tensor([[900.0, 900, 920, 920]])
    shifted = [
        {"boxes": torch.cat([far, one["boxes"]]), "scores": torch.cat([torch.ones(1), one["scores"]])}
        for one in detections
    ]
    false, sensitivity, _ = froc_curve(matched(detections, truths))
    moved, same, _ = froc_curve(matched(shifted, truths))
    np.testing.assert_allclose(moved[1:], [1, *(false[1:] + 1)])
    np.testing.assert_array_equal(same[1:], sensitivity)
    assert sensitivity_at(matched(shifted, truths), (0, 0.5, 0.99)).tolist() == [0, 0, 0]
    after = sensitivity_at(matched(shifted, truths), (1, 1.5, 2, 3))
    np.testing.assert_array_equal(after, sensitivity_at(matched(detections, truths), (0, 0.5, 1, 2)))


def test_equal_scores_are_one_point():
    truths = [torch.tensor([[0, 0, 10, 10]])]
    for order in ([0, 1], [1, 0]):
        boxes = [[[0, 0, 10, 10], [50, 50, 60, 60]][i] for i in order]
        matches = matched([picture(boxes, [0.5, 0.5])], truths)
        assert [part.tolist() for part in froc_curve(matches)] == [[0, 1], [0, 1], [math.inf, 0.5]]
        assert sensitivity_at(matches, (0.5, 1)).tolist() == [0, 1]


def test_overlaps_by_hand():
    box, other = torch.tensor([[0, 0, 10, 10]]), torch.tensor([[5, 0, 25, 10], [0, 0, 10, 10], [10, 0, 20, 10]])
    assert overlaps(box, other)[0].tolist() == pytest.approx([50 / 250, 1, 0])
    assert overlaps(box, other, "iobb")[0].tolist() == pytest.approx([0.5, 1, 0])
    assert overlaps(other, box, "iobb")[:, 0].tolist() == pytest.approx([0.25, 1, 0])
    assert overlaps(box, other, pixel_offset=1)[0].tolist() == pytest.approx([66 / 286, 1, 11 / 231])
    assert overlaps(box, other, "iobb", 1)[0].tolist() == pytest.approx([66 / 121, 1, 11 / 121])
    apart, low = torch.tensor([[20, 20, 30, 30]]), torch.tensor([[0, 0, 10, 4]])
    assert overlaps(box, apart).item() == overlaps(box, apart, "iobb").item() == 0
    assert overlaps(box, low, pixel_offset=1).item() == pytest.approx(5 / 11)


@pytest.mark.parametrize("match", ["iou", "iobb"])
def test_a_box_without_an_area_overlaps_nothing(match):
    boxes = torch.tensor([[5.0, 5, 5, 5], [5, 0, 5, 10], [0, 0, 10, 10], [0, 8, 10, 8]])
    shared = overlaps(boxes, boxes, match)
    assert shared[2, 2] == 1
    shared[2, 2] = 0
    assert (shared == 0).all()
    assert overlaps(boxes[:0], boxes, match).shape == (0, 4)
    assert overlaps(boxes, boxes[:0], match).shape == (4, 0)


def test_a_detection_without_an_area_is_a_false_positive():
    one = match_detections(picture([[5, 5, 5, 9], [5, 5, 9, 5]], [0.5, 0.6]), torch.tensor([[0, 0, 10, 10]]))
    assert one.false.all()
    assert one.hit_scores.tolist() == [-math.inf]


def test_a_small_box_inside_a_large_one_counts_by_its_own_area():
    inside, truth = picture([[10, 10, 20, 20]], [0.9]), torch.tensor([[0, 0, 40, 40]])
    assert match_detections(inside, truth).false_scores == pytest.approx([0.9])
    assert match_detections(inside, truth, match="iobb").hit_scores == pytest.approx([0.9])
    assert match_detections(inside, truth, threshold=100 / 1600).hit_scores == pytest.approx([0.9])


def test_one_detection_may_find_several_and_the_threshold_is_met_by_equality():
    one = match_detections(picture([[0, 0, 10, 10]], [0.7]), torch.tensor([[0, 0, 5, 10], [5, 0, 10, 10]]))
    assert one.hit_scores == pytest.approx([0.7, 0.7])
    assert not one.false.any()


def test_noisy_boxes_are_neither_found_nor_missed():
    detections, truths = example()
    noisy = [torch.tensor([0, 1]), torch.tensor([1])]
    matches = [match_detections(*part, noisy=flag) for *part, flag in zip(detections, truths, noisy, strict=True)]
    assert [one.false_scores.tolist() for one in matches] == [pytest.approx([0.7]), pytest.approx([0.5])]
    assert [one.hit_scores.tolist() for one in matches] == [pytest.approx([0.9]), []]
    assert sensitivity_at(matches, (0.5, 1), "reference").tolist() == [1, 1]
    everyone = [match_detections(*part, noisy=flag * 0) for *part, flag in zip(detections, truths, noisy, strict=True)]
    assert levels(detections, truths) == sensitivity_at(everyone, LEVELS).tolist()
    assert rank_detections(detections, truths, noisy=noisy).truths.tolist() == [1, 0]
    assert rank_detections(detections, truths, noisy=noisy).true.tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("box", "scores", "found"),
    [
        ([0, 0, 1, 1], [], "1 boxes, 0 scores, 0 of them unusable"),
        ([0, 0, 1, 1], [math.nan], "1 boxes, 1 scores, 1 of them unusable"),
        ([0, 0, math.inf, 1], [0.5], "1 boxes, 1 scores, 1 of them unusable"),
        ([0, 5, 9, 3], [0.5], "1 boxes, 1 scores, 1 of them unusable"),
    ],
)
def test_unusable_detections_are_told(box, scores, found):
    with pytest.raises(InputError, match=f"detections: expected .* a finite score for each, found {found}"):
        match_detections(picture([box], scores), torch.empty(0, 4))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0, 0.2])
def test_average_precision_is_monais(seed, noise):
    detections, truths = draws(seed, pictures=30)
    rng = np.random.default_rng(seed)
    noisy = [torch.from_numpy(rng.random(len(boxes)) < noise) for boxes in truths]
    while math.gcd(sum(int((~flags).sum()) for flags in noisy), 100) > 1:  # at MONAI's 32 bits recall 0.7 is below 0.7
        detections, truths = [*detections, picture([], [])], [*truths, torch.tensor([[0.0, 0, 9, 9]])]
        noisy.append(torch.tensor([False]))
    metric = COCOMetric(["lesion"], iou_list=[0.5], iou_range=(0.5, 0.5, 0.05), max_detection=[100], per_class=False)
    results = matching_batch(
        box_iou,
        [0.5],
        [one["boxes"].numpy() for one in detections],
        [np.zeros(len(one["scores"]), int) for one in detections],
        [one["scores"].numpy() for one in detections],
        [boxes.numpy() for boxes in truths],
        [np.zeros(len(boxes), int) for boxes in truths],
        [flags.numpy() for flags in noisy],
    )
    expected = metric(results)[0]["AP_IoU_0.50_MaxDet_100"]
    assert 0.02 < expected < 0.9
    assert rank_detections(detections, truths, noisy=noisy).average_precision() == pytest.approx(expected, rel=1e-5)


def test_each_true_box_is_taken_once_from_the_threshold_on():
    assert rank_detections(*example()).true.tolist() == [True, False, False, True, False, True]
    assert rank_detections(*example(), threshold=0.61).true.tolist() == [True, False, False, True, False, False]
    assert average_precision(*example(), threshold=0.61) < average_precision(*example())


def test_finding_again_is_false_to_average_precision():
    detections = picture([[0, 0, 10, 10], [0, 0, 10, 10], [20, 0, 30, 10]], [0.9, 0.8, 0.7])
    truths = torch.tensor([[0, 0, 10, 10], [20, 0, 30, 10]])
    assert average_precision([detections], [truths]) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_groups_share_one_threshold():
    detections, truths = example()
    groups = [["lung", "liver"], ["lung"]]
    matches = matched(detections, truths)
    assert subgroup_sensitivity(matches, groups, 0.5) == {"lung": (2, 2), "liver": (0, 1)}
    assert subgroup_sensitivity(matches, groups, 1) == {"lung": (2, 2), "liver": (1, 1)}
    flags = [torch.tensor([1, 0]), torch.tensor([0])]
    without = [match_detections(*part, noisy=flag) for *part, flag in zip(detections, truths, flags, strict=True)]
    assert subgroup_sensitivity(without, groups, 0.5) == {"liver": (0, 1), "lung": (1, 1)}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate", [0.3, 1, 4])
def test_groups_add_up_to_the_whole(seed, rate):
    detections, truths = draws(seed)
    matches = matched(detections, truths)
    groups = [[size_class(box, 1.2) for box in boxes] for boxes in truths]
    found, total = map(sum, zip(*subgroup_sensitivity(matches, groups, rate).values(), strict=True))
    assert total == sum(map(len, truths))
    assert found / total == pytest.approx(sensitivity_at(matches, (rate,))[0])


@pytest.mark.parametrize(
    ("height", "name"), [(19.9, "< 10 mm"), (20, "10 to 30 mm"), (60, "10 to 30 mm"), (60.1, "> 30 mm")]
)
def test_sizes_are_of_the_longer_edge_in_mm(height, name):
    assert size_class((100, 100, 103, 100 + height), 0.5) == name
    assert size_class(torch.tensor([0, 0, height, 3], dtype=torch.float64), 0.5) == name


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [3, 17])
def test_a_resample_is_what_the_chosen_pictures_give(seed, count):
    detections, truths = draws(seed, steps=10**6)  # at ties average precision goes by the order of pictures
    ranking, pool = rank_detections(detections, truths), pool_matches(matched(detections, truths))
    chosen = np.random.default_rng(seed).integers(len(truths), size=count)
    some, boxes = [detections[i] for i in chosen], [truths[i] for i in chosen]
    expected = detection_scores(pool_matches(matched(some, boxes)), rank_detections(some, boxes))
    assert detection_scores(pool, ranking, torch.from_numpy(chosen)) == pytest.approx(expected)
    assert list(expected) == [*(f"sensitivity_at_{rate:g}" for rate in RATES), "mean_sensitivity", "ap_50"]
    everyone = detection_scores(pool, ranking)
    assert detection_scores(pool, ranking, torch.arange(len(truths))) == everyone
    assert everyone["mean_sensitivity"] == pytest.approx(mean_sensitivity(matched(detections, truths)))


def test_intervals_are_over_patients_and_hold_the_value():
    detections, truths = draws(4, pictures=40)
    matches, ranking = matched(detections, truths), rank_detections(detections, truths)
    report = detection_report(matches, ranking, [str(i // 2) for i in range(40)], resamples=200)
    for score in report.values():
        low, high = score["interval_95"]
        assert low <= score["value"] <= high
        assert low < high


def test_intervals_are_as_wide_as_the_spread_of_patients_makes_them():
    """Of a mean over patients about 1.96 standard errors either way, whatever each has of pictures."""
    values = np.random.default_rng(0).normal(size=60)
    pictures, patients = values.repeat(3), [str(i // 3) for i in range(180)]
    report = bootstrap_scores(lambda chosen: {"mean": float(pictures[chosen.numpy()].mean())}, patients)
    low, high = report["mean"]["interval_95"]
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 60**0.5, rel=0.15)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=0.05)


def test_the_metric_is_of_all_batches_together():
    detections, truths = draws(5)
    engine = Engine(lambda _, batch: batch)
    Froc().attach(engine, "key")
    batches = [{"detections": detections[i : i + 5], "truths": truths[i : i + 5]} for i in range(0, 12, 5)]
    metrics = engine.run(batches).metrics
    expected = detection_scores(pool_matches(matched(detections, truths)))
    assert metrics["key"] == pytest.approx(expected.pop("mean_sensitivity"))
    for name in ("sensitivity_at_0.5", "sensitivity_at_2"):
        assert metrics[name] == pytest.approx(expected[name])


def test_the_metric_is_of_the_last_pass():
    first, second = draws(5), draws(6)
    passes = [{"detections": one, "truths": boxes} for one, boxes in (first, second)]
    engine = Engine(lambda engine, _: passes[engine.state.epoch - 1])
    Froc().attach(engine, "key")
    metrics = engine.run([None], max_epochs=2).metrics
    assert metrics["key"] == pytest.approx(mean_sensitivity(matched(*second)))
    assert metrics["key"] != pytest.approx(mean_sensitivity(matched(*first)))


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_leaves_one_false_positive_per_picture(seed):
    """As many as that or fewer above it, and more from it on."""
    detections, truths = draws(seed)
    metric = Froc()
    metric.update((detections, truths))
    threshold, matches = metric.scores()["threshold"], matched(detections, truths)
    false = np.concatenate([one.false_scores for one in matches])
    assert 0 < threshold < 1
    assert (false > threshold).sum() <= len(truths) < (false >= threshold).sum()


def test_the_threshold_is_0_where_all_false_positives_are_few():
    metric = Froc()
    metric.update(([picture([[0, 0, 9, 9]], [0.5])], [torch.tensor([[0.0, 0, 9, 9]])]))
    assert metric.scores()["threshold"] == 0


def test_the_metric_takes_single_pictures_and_its_own_overlap():
    inside, truth = picture([[10, 10, 20, 20]], [0.9]), torch.tensor([[0, 0, 40, 40]])
    for metric, value in ((Froc(), 0), (Froc(match="iobb"), 1), (Froc(threshold=0.05), 1)):
        engine = Engine(lambda _, batch: batch)
        metric.attach(engine, "key")
        assert engine.run([[{"detections": inside, "truths": truth}]]).metrics["key"] == value


def test_the_metric_leaves_out_noisy_boxes_when_asked():
    beside, truth = picture([[50, 50, 60, 60]], [0.9]), torch.tensor([[0.0, 0, 40, 40], [50, 50, 60, 60]])
    batch = {"detections": [beside], "truths": [truth], "flagged": [torch.tensor([True, False])]}
    for metric, value in ((Froc(), 0.5), (Froc(exclude_noisy=True), 1)):
        engine = Engine(lambda _, batch: batch)
        metric.attach(engine, "key")
        assert engine.run([batch]).metrics["key"] == value


def test_the_metric_is_of_all_ranks(monkeypatch):
    detections, truths = draws(6)
    other, mine = Froc(), Froc()
    other.update((detections[:7], truths[:7]))
    mine.update((detections[7:], truths[7:]))
    monkeypatch.setattr("tools.utils.distributed.gather_objects", lambda value: [other._matches, value])
    assert mine.compute() == pytest.approx(mean_sensitivity(matched(detections, truths)))


def test_the_metric_needs_a_true_box():
    metric = Froc()
    metric.update(([picture([[0, 0, 9, 9]], [0.5])] * 3, [torch.empty(0, 4)] * 3))
    with pytest.raises(InputError, match="expected at least one picture with a box, found none among 3"):
        metric.compute()
