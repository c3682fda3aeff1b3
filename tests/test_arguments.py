import json

import pytest

from tools.arguments import check_arguments
from tools.errors import InputError

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
    "validation_fraction": 0.2,
    "negatives_same_volume": 3,
    "overlap": 0,
    "channels": None,
    "hu_window": None,
    "network": "$None",
}


@pytest.fixture
def bundle(tmp_path):
    """A bundle folder with configurations of three kinds of run."""
    folder = tmp_path / "bundle"
    contents = {
        "train": CONFIG,
        "evaluate": {"validate#handlers": [], "validate#evaluator#decollate": True},
        "inference": {"roi_size": [64, 64, 64], "window_overlap": 0.25, "evaluator": {"amp": False}},
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
def check_run(bundle):
    """Compares words with the named configurations, or files elsewhere, of the bundle."""

    def check_words(names, *words):
        files = [name if name.endswith(".json") else str(bundle / f"configs/{name}.json") for name in names]
        check_arguments(bundle, command("--config_file", str(files), *words))

    return check_words


@pytest.fixture
def check(check_run):
    return lambda *words: check_run(["train", "evaluate"], *words)


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
        ("--overlap", "0", "--negatives_same_volume", "0", "--weight_decay", "0.01"),
        ("--channels", "{'t1': '*t1*'}", "--hu_window", "[-100,300]"),
        ("--channels", "None", "--hu_window", "None", "--pretrained", "None"),
    ],
)
def test_good_arguments_pass(check, words):
    assert check(*words) is None
    with pytest.raises(InputError, match=r"^--epoch: "):  # nothing else is wrong with them
        check(*words, "--epoch", "3")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-epoch", "3"), "--epoch: this bundle has no such key; did you mean --epochs?"),
        (("--epoch", "3"), "--epoch: this bundle has no such key; did you mean --epochs?"),
        (("--version", "3"), "--version: this bundle has no such key"),
        (("--resume", "true"), "--resume: expected True or False.* found 'true'"),
        (("--resume", "1"), "--resume: expected True or False, found 1"),
        (("--amp", "false"), "--amp: expected True or False.* found 'false'"),
        (("--amp", "1"), "--amp: expected True or False, found 1"),
        (("--amp_dtype", "float32"), "--amp_dtype: expected bfloat16 or float16, found 'float32'"),
        (("--compile", "2"), "--compile: expected True or False, found 2"),
        (("--epochs", "ten"), "--epochs: expected a number like 10, found 'ten'"),
        (("--epochs", "2.5"), "--epochs: expected a whole number like 10, found 2.5"),
        (("--epochs", "True"), "--epochs: expected a number like 10, found True"),
        (("--roi_size", "64"), r"--roi_size: expected a list like"),
        (("--trian#trainer#max_epochs", "1"), "did you mean --train#trainer#max_epochs"),
        (("--train#trainer#max_epoch", "1"), "no such key; did you mean --train#trainer#max_epochs?"),
        (("--train#dataloader#num_worker", "1"), "did you mean --train#dataloader#num_workers?"),
        (("--train::trianer::max_epochs", "1"), "did you mean --train#trainer#max_epochs?"),
        (("--train#dataloade#batch_size", "1"), "did you mean --train#dataloader#batch_size?"),
        (("--train#elsewhere#unheard#of", "1"), "--train#elsewhere#unheard#of: this bundle has no such key$"),
        (("--train#crop#roi_siz", "[8,8,8]"), "did you mean --train#crop#roi_size?"),
        (("--validate#handler", "[]"), "did you mean --validate#handlers?"),
        (("--epochs", "0"), "--epochs: expected a number of at least 1, found 0"),
        (("--learning_rate", "0"), "--learning_rate: expected a number above 0, found 0"),
        (("--learning_rate", "1e999"), "--learning_rate: expected a number like"),
        (("--weight_decay", "-1"), "--weight_decay: expected a number of at least 0, found -1"),
        (("--negatives_same_volume", "-1"), "--negatives_same_volume: expected a number of at least 0"),
        (("--validation_fraction", "1"), "expected a number between 0 and 1, both excluded, found 1"),
        (("--validation_fraction", "0"), "expected a number between 0 and 1, both excluded, found 0"),
        (("--grid", "[4,0]"), r"--grid: expected a whole number of at least 1, or a list of such, found \[4, 0\]"),
        (("--grid", "0"), "--grid: expected a whole number"),
        (("--grid", "four"), "--grid: expected a whole number"),
        (("--roi_size", "[64,64]"), r"--roi_size: expected 3 whole numbers of at least 1, found \[64, 64\]"),
        (("--roi_size", "[64,64,0]"), "--roi_size: expected 3 whole numbers"),
        (("--roi_size", "[64,64,1.5]"), "--roi_size: expected 3 whole numbers"),
        (("--patch_size", "[8,8,8]"), "--patch_size: expected 2 whole numbers"),
        (("--pretrained",), "--pretrained: expected text or None, found True"),
        (("--channels", "t1"), "--channels: expected a dictionary of text to text, or None, found 't1'"),
        (("--channels", "{'t1': 1}"), "--channels: expected a dictionary"),
        (("--hu_window", "300"), "--hu_window: expected a list of two increasing numbers, or None, found 300"),
        (("--hu_window", "[300,-100]"), "--hu_window: expected a list of two increasing"),
    ],
)
def test_bad_arguments_are_named(check, words, message):
    with pytest.raises(InputError, match=message):
        check(*words)


def test_arguments_in_a_file_count_too(check, tmp_path):
    (tmp_path / "args.json").write_text(json.dumps({"epoch": 3}))
    with pytest.raises(InputError, match="--epoch:"):
        check("--args_file", str(tmp_path / "args.json"))


@pytest.mark.parametrize(
    ("files", "key", "value", "holder"),
    [
        (["inference"], "epochs", "3", "train.json"),
        (["inference"], "train#trainer#max_epochs", "3", "train.json"),
        (["train"], "window_overlap", "0.5", "inference.json"),
        (["train", "evaluate"], "slice_axis", "2", "slices.json"),
        (["train"], "validate#evaluator#decollate", "False", "evaluate.json"),
    ],
)
def test_a_key_of_another_configuration_is_refused_and_found(check_run, files, key, value, holder):
    with pytest.raises(InputError, match=rf"^--{key}: .*\b{holder}.*\b{files[-1]}.json$"):
        check_run(files, f"--{key}", value)


def test_the_configuration_merged_last_gives_the_default(check_run):
    check_run(["train", "slices"], "--roi_size", "[48,48]", "--slice_axis", "1")
    with pytest.raises(InputError, match="--roi_size: expected 2"):
        check_run(["train", "slices"], "--roi_size", "[48,48,48]")


def test_files_of_the_user_count_like_the_bundles(check_run, tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps({"my_key": 3, "train#trainer#amp": True}))
    files = ["train", str(tmp_path / "mine.json")]
    check_run(files, "--my_key", "4", "--train#trainer#amp", "False", "--epochs", "3")
    with pytest.raises(InputError, match="--my_key: expected a number"):
        check_run(files, "--my_key", "four")
    with pytest.raises(InputError, match="--my_ke: .*--my_key"):
        check_run(files, "--my_ke", "4")


def test_the_configuration_may_be_named_in_a_file_or_by_its_place(bundle, tmp_path):
    inference = str(bundle / "configs/inference.json")
    (tmp_path / "args.json").write_text(json.dumps({"config_file": inference, "epochs": 3}))
    for words in (
        ["--args_file", str(tmp_path / "args.json")],
        ["run", "initialize", "finalize", "metadata.json", inference, "--epochs", "3"],
        ["-config-file", inference, "--epochs=3"],
    ):
        with pytest.raises(InputError, match="--epochs: .*train.json.*inference.json"):
            check_arguments(bundle, command(*words))


def test_other_programs_are_left_alone(check, tmp_path):
    """The same words are refused of MONAI's."""
    check_arguments(tmp_path, ["/usr/bin/pytest", "--epoch", "3"])
    with pytest.raises(InputError, match="--epoch:"):
        check("--epoch", "3")
