"""Records of a study: read back as written, one file at a time, damaged or not."""

import numpy as np
import pytest
from made_study import dice, made_cases, write_run, write_study

from tools.study.records import RESULTS, RUNS, Records, RunKey, read_records
from tools.utils.errors import InputError


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path, {"scratch": 0, "other": 0.1}, fractions=(0.5, 1.0), seeds=(0, 1), cases=4)


def test_records_are_read_back_as_written(study, tmp_path):
    write_run(study, "other", 0.25, 0, [], error="no | memory, \n anywhere")
    records = read_records(study)
    assert len(records.runs) == 8
    before = [(study / name).read_bytes() for name in (RUNS, RESULTS)]
    records.write(study)
    assert before == [(study / name).read_bytes() for name in (RUNS, RESULTS)]
    assert read_records(study) == records
    assert list(records.errors) == [RunKey("other", 0.25, 0)]


def test_negative_scores_stay_numbers(study):
    records = read_records(study)
    rows = next(iter(records.runs.values())).rows
    rows[0]["mean_dice"] = "-0.5"
    records.write(study)
    assert next(iter(read_records(study).runs.values())).rows[0]["mean_dice"] == "-0.5"


def test_no_records_of_a_new_study(tmp_path):
    assert read_records(tmp_path) == Records()


def test_results_of_a_run_that_is_not_recorded_do_not_count(study):
    """A run that was killed between the two files is run again and its results are not doubled."""
    lines = (study / RUNS).read_text().splitlines()
    (study / RUNS).write_text("\n".join(lines[:-1]) + "\n")
    records = read_records(study)
    assert len(records.runs) == 7
    write_run(study, "other", 1.0, 1, dice(np.random.default_rng(0), 0, made_cases(4, 1)))
    assert len((study / RESULTS).read_text().splitlines()) == 1 + 8 * 4


@pytest.mark.parametrize("damage", [("2.0", "two"), ("10:", "ten:"), ("scratch,0.5,0", "scratch,half,0")])
def test_a_damaged_row_is_reported_and_run_again(study, capsys, damage):
    (study / RUNS).write_text((study / RUNS).read_text().replace(*damage, 1))
    assert len(read_records(study).runs) == 7
    assert RUNS in capsys.readouterr().out


@pytest.mark.parametrize("name", [RUNS, RESULTS])
@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00"])
def test_a_table_of_another_kind_is_one_line(study, name, content):
    (study / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        read_records(study)
