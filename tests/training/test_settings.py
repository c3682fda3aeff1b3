import logging

import pytest

from tools.networks.encoders import build_encoder
from tools.training.settings import compare_settings, data_settings, encoder_settings
from tools.utils.errors import InputError

SETTINGS = {"norm": "group", "channels": ["T1", "FLAIR"], "cases": ["a"], "learning": [1, 2]}


@pytest.mark.parametrize(
    "other",
    [
        {"norm": ["group", {"num_groups": 8}]},
        {"channels": ["t1", "flair"]},
        {"channels": ["image", "image"]},  # without channel names
    ],
)
def test_equivalent_settings_are_equal(other, caplog):
    compare_settings("file", SETTINGS, SETTINGS | other)
    compare_settings("file", SETTINGS | other, SETTINGS)
    assert not caplog.records


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"norm": "instance"}, "norm"),
        ({"norm": ["group", {"num_groups": 4}]}, "norm"),
        ({"channels": ["FLAIR", "T1"]}, "channels"),
        ({"cases": ["b"], "learning": [1]}, "learning"),  # the cause first
    ],
)
def test_the_first_difference_is_named_with_both_values(other, named):
    with pytest.raises(InputError) as raised:
        compare_settings("file", SETTINGS, SETTINGS | other)
    message = str(raised.value)
    assert message.startswith(f"{named}: file was trained with {SETTINGS[named]}, found {other[named]}")
    assert "\n" not in message


def test_missing_settings_are_listed_in_one_line(caplog):
    compare_settings("file", {"norm": "group"}, SETTINGS)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "channels, cases, learning" in record.message
    assert "\n" not in record.message


def test_every_argument_of_an_encoder_is_a_setting():
    first, second = (build_encoder("unet", 2, dropout=dropout).arguments for dropout in (0.0, 0.3))
    assert len(encoder_settings(first)) == len(first)
    assert {k for k, v in encoder_settings(first).items() if encoder_settings(second)[k] != v} == {"encoder_dropout"}


class Cases:
    def __init__(self, *cases, hashed=True):
        self.data = [{"case": name, "image": f"{name}.png", **more} for name, more in cases]
        self.hashes = [{"case": name, "hashes": [name.upper()] if hashed else []} for name, _ in cases]


def test_data_settings_depend_on_content_but_not_on_order():
    a, b, c = ("a", {"label": 1}), ("b", {"label": 0}), ("c", {"label": 1})
    settings = data_settings([Cases(a, b), Cases(c)])
    assert settings == data_settings([Cases(b, a), Cases(c)])
    assert settings["validation_cases"] == ["c"]
    other = data_settings([Cases(a, ("b", {"label": 1})), Cases(c)])
    assert {key for key in settings if settings[key] != other[key]} == {"annotations"}
    assert data_settings([Cases(a, b, hashed=False), Cases(c, hashed=False)]).keys() == settings.keys() - {"images"}
    paths = [Cases(("a", {"label": "a.nii.gz"})), Cases(("b", {}))]
    assert "annotations" not in data_settings(paths)
