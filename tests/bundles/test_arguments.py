import json
import re

import pytest

from tools.bundles.arguments import check_arguments
from tools.utils.errors import InputError

CONFIG = {
    "epochs": 10,
    "learning_rate": 0.001,
    "resume": False,
    "roi_size": [64, 64, 64],
    "dataset_dir": {"_target_": "x"},
    "pretrained": None,
    "amp": "$torch.cuda.is_available()",
    "amp_dtype": "bfloat16",
    "compile": False,
    "train": {
        "trainer": {"max_epochs": 3},
        "dataloader": {"_target_": "torch.utils.data.DataLoader", "batch_size": "@batch_size"},
        "crop": {"_target_": "CenterSpatialCropd", "keys": "image"},
        "free": {"_target_": "builtins.dict"},
        "elsewhere": {"_target_": "no.such.place"},
        "handlers": [{"_target_": "ValidationHandler"}],
    },
    "validate": {"evaluator": {}},
    "patch_size": [16, 16],
    "grid": 4,
    "weight_decay": 0.0,
    "val_fraction": 0.2,
    "negatives_same_volume": 3,
    "cell_overlap": 0,
    "channels": None,
    "hu_window": None,
    "network": "$None",
}


@pytest.fixture
def bundle(tmp_path):
    """A bundle folder with several configurations."""
    folder = tmp_path / "bundle"
    contents = {
        "train": CONFIG,
        "evaluate": {"validate#handlers": [], "validate#evaluator#decollate": True},
        "inference": {"roi_size": [64, 64, 64], "sw_overlap": 0.25, "evaluator": {"amp": False}},
        "slices": {"slice_axis": 2, "roi_size": [64, 64]},
        "metadata": {"version": "0.1.0"},
    }
    (folder / "configs").mkdir(parents=True)
    for name, content in contents.items():
        (folder / f"configs/{name}.json").write_text(json.dumps(content))
    return folder


def command(*words):
    return ["/site/monai/bundle/__main__.py", "run", *words]


@pytest.fixture
def check_files(bundle):
    """Return a function that checks arguments against configurations of the bundle or other files."""

    def check_words(names, *words):
        files = [name if name.endswith(".json") else str(bundle / f"configs/{name}.json") for name in names]
        check_arguments(bundle, command("--config_file", str(files), *words))

    return check_words


@pytest.fixture
def check(check_files):
    return lambda *words: check_files(["train", "evaluate"], *words)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--epochs", "3", "--resume", "True"),
        ("--epochs=3", "--resume=True"),
        ("--resume",),
        ("--learning_rate", "1"),
        ("--epochs", "$2 * 3"),
        ("--roi_size", "[32,32,32]"),
        ("--dataset_dir", "/scans", "--pretrained", "model.pt"),
        ("--train#trainer#max_epochs", "1"),
        ("--amp", "False"),
        ("--amp_dtype", "float16", "--compile", "True"),
        ("--run_id", "run", "-epochs", "3"),
        ("--validate#handlers", "[]"),
        ("--train::trainer::max_epochs", "1"),
        ("--train#dataloader#num_workers", "3"),
        ("--train#dataloader#_disabled_", "True"),
        ("--train#crop#roi_size", "[8,8,8]"),
        ("--train#free#anything", "1"),
        ("--train#elsewhere#anything", "1"),
        ("--train#handlers#0#interval", "1"),
        ("--network#module", "1"),
        ("--grid", "[4,4,2]"),
        ("--grid", "3"),
        ("--grid", "@epochs"),
        ("--patch_size", "(8,8)"),
        ("--cell_overlap", "0", "--negatives_same_volume", "0", "--weight_decay", "0.01"),
        ("--channels", "{'t1': '*t1*'}", "--hu_window", "[-100,300]"),
        ("--channels", "None", "--hu_window", "None", "--pretrained", "None"),
    ],
)
def test_good_arguments_pass(check, words):
    assert check(*words) is None
    with pytest.raises(InputError, match=r"^--epoch: "):  # only the added key is wrong
        check(*words, "--epoch", "3")


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("-epoch", "--epochs"),
        ("--epoch", "--epochs"),
        ("--trian#trainer#max_epochs", "--train#trainer#max_epochs"),
        ("--train#trainer#max_epoch", "--train#trainer#max_epochs"),
        ("--train#dataloader#num_worker", "--train#dataloader#num_workers"),
        ("--train::trianer::max_epochs", "--train#trainer#max_epochs"),
        ("--train#dataloade#batch_size", "--train#dataloader#batch_size"),
        ("--train#crop#roi_siz", "--train#crop#roi_size"),
        ("--validate#handler", "--validate#handlers"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_one(check, word, nearest):
    with pytest.raises(InputError, match=f"{word.lstrip('-')}: .*{nearest}[?]"):
        check(word, "1")


@pytest.mark.parametrize("word", ["--version", "--train#elsewhere#unheard#of"])
def test_an_unknown_key_without_a_near_one_is_named(check, word):
    with pytest.raises(InputError, match=f"{word}: (?!.*did you mean)"):
        check(word, "1")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--resume", "true"), "'true'"),
        (("--resume", "1"), "1"),
        (("--amp", "false"), "'false'"),
        (("--amp", "1"), "1"),
        (("--amp_dtype", "float32"), "'float32'"),
        (("--compile", "2"), "2"),
        (("--epochs", "ten"), "'ten'"),
        (("--epochs", "2.5"), "2.5"),
        (("--epochs", "True"), "True"),
        (("--roi_size", "64"), "64"),
        (("--epochs", "0"), "0"),
        (("--learning_rate", "0"), "0"),
        (("--learning_rate", "1e999"), "inf"),
        (("--weight_decay", "-1"), "-1"),
        (("--negatives_same_volume", "-1"), "-1"),
        (("--val_fraction", "1"), "1"),
        (("--val_fraction", "0"), "0"),
        (("--grid", "[4,0]"), "[4, 0]"),
        (("--grid", "0"), "0"),
        (("--grid", "four"), "'four'"),
        (("--roi_size", "[64,64]"), "[64, 64]"),
        (("--roi_size", "[64,64,0]"), "[64, 64, 0]"),
        (("--roi_size", "[64,64,1.5]"), "[64, 64, 1.5]"),
        (("--patch_size", "[8,8,8]"), "[8, 8, 8]"),
        (("--pretrained",), "True"),
        (("--channels", "t1"), "'t1'"),
        (("--channels", "{'t1': 1}"), "{'t1': 1}"),
        (("--hu_window", "300"), "300"),
        (("--hu_window", "[300,-100]"), "[300, -100]"),
    ],
)
def test_a_value_that_the_registry_does_not_accept_is_named(check, words, found):
    with pytest.raises(InputError, match=f"{words[0]}: expected .*found {re.escape(found)}"):
        check(*words)


@pytest.mark.parametrize("key", ["dataset_dir", "pretrained", "amp_dtype"])
@pytest.mark.parametrize("word", ["data#1", "2021", "a,b", "1e3", "[scans]", "(x)", "True", "{1}"])
@pytest.mark.parametrize("equals", [True, False])
def test_path_or_name_that_fire_changes_is_refused(check, key, word, equals):
    words = [f"--{key}={word}"] if equals else [f"--{key}", word]
    with pytest.raises(InputError, match=f"--{key}: .*{re.escape(word)}"):
        check(*words)


@pytest.mark.parametrize("word", ['"data#1"', "'2021'", "/data/a b", "/data/ü", "scans-2021", "./2021", "C:/x", "None"])
def test_quoted_or_simple_path_is_accepted(check, word):
    check("--pretrained", word)


def test_a_home_folder_that_the_shell_did_not_expand_is_refused(check):
    with pytest.raises(InputError, match=r"--dataset_dir: .*~/x"):
        check("--dataset_dir=~/x")


def test_arguments_in_a_file_are_checked(check, tmp_path):
    (tmp_path / "args.json").write_text(json.dumps({"epoch": 3}))
    with pytest.raises(InputError, match="--epoch:"):
        check("--args_file", str(tmp_path / "args.json"))


@pytest.mark.parametrize(
    ("files", "key", "value", "holder"),
    [
        (["inference"], "epochs", "3", "train.json"),
        (["inference"], "train#trainer#max_epochs", "3", "train.json"),
        (["train"], "sw_overlap", "0.5", "inference.json"),
        (["train", "evaluate"], "slice_axis", "2", "slices.json"),
        (["train"], "validate#evaluator#decollate", "False", "evaluate.json"),
    ],
)
def test_a_key_of_another_configuration_is_refused_and_found(check_files, files, key, value, holder):
    with pytest.raises(InputError, match=rf"^--{key}: expected .*\b{files[-1]}.json, found .*\b{holder}$"):
        check_files(files, f"--{key}", value)


def test_the_configuration_merged_last_gives_the_default(check_files):
    check_files(["train", "slices"], "--roi_size", "[48,48]", "--slice_axis", "1")
    with pytest.raises(InputError, match="--roi_size: expected 2"):
        check_files(["train", "slices"], "--roi_size", "[48,48,48]")


def test_configurations_of_users_are_checked(check_files, tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps({"my_key": 3, "train#trainer#amp": True}))
    files = ["train", str(tmp_path / "mine.json")]
    check_files(files, "--my_key", "4", "--train#trainer#amp", "False", "--epochs", "3")
    with pytest.raises(InputError, match="--my_key: expected an integer, found 'four'"):
        check_files(files, "--my_key", "four")
    with pytest.raises(InputError, match=r"--my_ke: .*--my_key"):
        check_files(files, "--my_ke", "4")


def test_the_configuration_may_be_named_in_a_file_or_by_its_place(bundle, tmp_path):
    inference = str(bundle / "configs/inference.json")
    (tmp_path / "args.json").write_text(json.dumps({"config_file": inference, "epochs": 3}))
    for words in (
        ["--args_file", str(tmp_path / "args.json")],
        ["run", "initialize", "finalize", "metadata.json", inference, "--epochs", "3"],
        ["-config-file", inference, "--epochs=3"],
    ):
        with pytest.raises(InputError, match=r"--epochs: .*inference\.json.*train\.json"):
            check_arguments(bundle, command(*words))


def test_other_programs_are_not_checked(check, tmp_path):
    """The same arguments are refused in ``monai.bundle run``."""
    check_arguments(tmp_path, ["/usr/bin/pytest", "--epoch", "3"])
    with pytest.raises(InputError, match="--epoch:"):
        check("--epoch", "3")


@pytest.fixture
def run_words(tmp_path):
    """Check a command line on a configuration with the key spacing, and a module of the user."""
    files = [tmp_path / "train.json", tmp_path / "mine.json"]
    files[0].write_text(json.dumps({"spacing": 2.0, "norm": "auto", "imports": ["$import os"]}))

    def check(*words, module="json"):
        files[1].write_text(json.dumps({"+imports": [f"$import {module}"]}))
        names = str([str(file) for file in files])
        check_arguments(str(tmp_path), ["/monai/bundle/__main__.py", "run", "--config_file", names, *words])

    return check


@pytest.mark.parametrize("word", ["1.5", "2", "[1,1,3]", "1,1,3", "(0.5,0.5,2.5)", "[2.0,2.0,2.0]"])
def test_spacing_is_one_number_or_three(run_words, word):
    run_words("--spacing", word)


@pytest.mark.parametrize("word", ["0", "-1", "[1,1]", "[1,1,1,1]", "[1,1,0]", "[1,1,x]", "big", "True", "[[1,1,3]]"])
def test_other_spacings_are_refused_in_one_line(run_words, word):
    with pytest.raises(InputError, match=r"^--spacing: expected .*found ") as caught:
        run_words("--spacing", word)
    assert "\n" not in str(caught.value)


def test_a_module_that_cannot_be_imported_is_named(run_words, tmp_path, monkeypatch):
    """MONAI continues without it, and the encoder would be missing."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_encoders.py").write_text("import no_such_package\n")
    run_words()
    for module, reason in (
        ("broken_encoders", "No module named 'no_such_package'"),
        ("not_there_at_all", "not_there_at_all"),
    ):
        with pytest.raises(InputError, match=rf"^imports: expected .*{module} fails: .*{reason}"):
            run_words(module=module)
