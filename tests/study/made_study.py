"""Studies on disk as written by the runner, with simulated predictions."""

import json

import numpy as np

from tools.study.records import RunKey, RunResult, read_records

FRACTIONS = (0.05, 0.25, 1.0)
SEEDS = (0, 1, 2)


def dice(rng, quality, cases):
    """Rows of a segmentation: Dice of each case, equal in all runs, plus quality and noise."""
    easy = np.random.default_rng(0).uniform(0.3, 0.7, len(cases))
    values = (easy + quality + rng.normal(0, 0.02, len(cases))).clip(0, 1)
    return [{**case, "mean_dice": value} for case, value in zip(cases, values.tolist(), strict=True)]


def grades(rng, quality, cases):
    """Rows of a grading: all grades, and predictions with the accuracy `quality`."""
    rows = []
    for index, case in enumerate(cases):
        truth = index % 5
        grade = truth if rng.random() < quality else int(rng.integers(5))
        rows.append({**case, "truth": truth, "grade": grade})
    return rows


def chances(rng, quality, cases):
    """Rows of a binary classification: probabilities, rounded to tenths for ties, separated by `quality`."""
    rows = []
    for index, case in enumerate(cases):
        chance = rng.normal(0.5 + quality * (index % 2 - 0.5), 0.2)
        rows.append({**case, "truth": index % 2, "probability_malignant": round(float(np.clip(chance, 0, 1)), 1)})
    return rows


def detections(rng, quality, cases):
    """Rows of a detection: lesions with the sensitivity `quality`, and many false positives."""
    rows = []
    for case in cases:
        lesions = int(rng.integers(1, 4))
        found, false = rng.uniform(0.5, 1, rng.binomial(lesions, quality)), 0.7 * rng.random(20)
        texts = {"found_scores": found, "false_scores": false}
        rows.append(
            {**case, "lesions": lesions} | {k: " ".join(map(str, v.round(2).tolist())) for k, v in texts.items()}
        )
    return rows


def made_cases(count, per_patient):
    return [{"case": f"case_{i}", "patient": f"patient_{i // per_patient}"} for i in range(count)]


def write_run(study, arm, fraction, seed, rows, curve=(0.2, 0.3, 0.4), error=None, training_cases=None):
    """Add a run to the records of a study: its results, or its error."""
    records, key = read_records(study), RunKey(arm, fraction, seed)
    if error:
        records.errors[key] = error
    else:
        rows = [{name: str(value) for name, value in row.items()} for row in rows]
        steps = [(10 * number, score) for number, score in enumerate(curve, 1)]
        records.runs[key] = RunResult(2.0, training_cases or round(40 * fraction), rows, steps)
    records.write(study)


def write_plan(study, arms, fractions=FRACTIONS, seeds=SEEDS, score="mean_dice", bundle="pancreas"):
    arms = [
        {"name": name, "pretrained": f"{name}/model.pt" if i else None, "protocol": "finetune" if i else "scratch"}
        for i, name in enumerate(arms)
    ]
    plan = {"bundle": bundle, "score": score, "arms": arms, "fractions": list(fractions), "seeds": list(seeds)}
    study.mkdir(parents=True, exist_ok=True)
    (study / "plan.json").write_text(json.dumps({**plan, "settings": {"epochs": 4}}))


def write_study(
    study, gains, *, fractions=FRACTIONS, seeds=SEEDS, cases=20, per_patient=1, made=dice, score="mean_dice", base=0.0
):
    """Write a study: `gains` by initialisation, scratch first, each a number or one per label fraction."""
    write_plan(study, list(gains), fractions, seeds, score)
    for index, (arm, gain) in enumerate(gains.items()):
        for place, fraction in enumerate(fractions):
            for seed in seeds:
                rng = np.random.default_rng((index, place, seed))
                level = base + (gain if np.isscalar(gain) else gain[place])
                rows = made(rng, level, made_cases(cases, per_patient))
                curve = [0.2 + level, 0.3 + level, 0.4 + level]
                write_run(study, arm, fraction, seed, rows, curve)
    return study
