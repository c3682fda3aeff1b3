import json

import pytest
import torch

from tools.transfer.card import match_labels, read_card
from tools.transfer.export import export_weights
from tools.utils.errors import InputError

TRAINED = {"edema": 2, "core": 1, "enhancing": 4}


@pytest.fixture
def card(tmp_path):
    card = {"encoder": {"name": "unet"}, "labels": TRAINED}
    export_weights(torch.nn.Linear(1, 1), tmp_path / "model.pt", card)
    return read_card(tmp_path / "model.pt")


def test_a_card_is_read_without_its_weights(tmp_path, card):
    (tmp_path / "model.pt").unlink()
    assert read_card(tmp_path / "model.pt") == card
    assert read_card(tmp_path / "other.pt") == {}


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"sha256": 5, "encoder": {"name": "unet"}}'])
def test_something_else_than_a_card_is_named(tmp_path, text):
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(InputError, match=r"model\.json: .*expected"):
        read_card(tmp_path / "model.pt")


@pytest.mark.parametrize("same_values", [True, False])
def test_the_card_gives_the_order(card, same_values):
    given = {"enhancing": 4, "core": 1, "edema": 2}
    assert list(match_labels(given, card, same_values).items()) == list(TRAINED.items())
    for nothing in ({}, None, {"labels": None}):
        assert list(match_labels(given, nothing, same_values).items()) == list(given.items())


def test_values_may_differ_where_labels_are_only_read(card):
    stored = {"edema": 1, "core": 2, "enhancing": 3}
    assert match_labels(stored, card) == stored
    with pytest.raises(InputError, match=r"expected edema 2, core 1, enhancing 4.* found edema 1, core 2, enhancing 3"):
        match_labels(stored, card, same_values=True)


@pytest.mark.parametrize("given", [{"edema": 2, "core": 1}, {**TRAINED, "cyst": 5}, {"edema": 2, "core": 1, "ET": 4}])
@pytest.mark.parametrize("same_values", [True, False])
def test_other_names_are_refused(card, given, same_values):
    with pytest.raises(InputError, match=r"^labels: expected edema 2, core 1, enhancing 4") as caught:
        match_labels(given, card, same_values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given", [{}, ["a"], {"a": 1, "b": 1}, {"a": 0}, {"a": "1"}, {"a": 1.0}, {"a": True}, {"a": 2**31}, None]
)
def test_values_that_cannot_be_stored_are_refused(given):
    with pytest.raises(InputError, match="labels: expected names with unique integers"):
        match_labels(given)
    with pytest.raises(InputError, match=r"model.json|labels: expected names"):
        match_labels(given, {"labels": TRAINED})


def test_a_card_with_labels_of_another_kind_is_refused(card):
    with pytest.raises(InputError, match=r"labels of model.json: expected names"):
        match_labels(TRAINED, card | {"labels": ["benign", "malignant"]})
    assert json.dumps(card["labels"]) == json.dumps(TRAINED)
