import json

from tools.benchmarks import downstream
from tools.phantoms.pancreas import pancreas_phantoms


def test_the_table_has_every_figure(tmp_path, capsys):
    data = pancreas_phantoms(str(tmp_path / "set"), num_cases=4, size=(40, 36, 34), spacing=8.0)
    settings = {"roi_size": [16, 16, 16], "spacing": 8.0, "batch_size": 1, "test_fraction": 0.3}
    downstream.main(steps=3, output=str(tmp_path / "figures.json"), dataset_dir=data, **settings)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["inference"]["of_plain"] > 0
    assert 0 <= figures["reading"]["loader_wait_share"] <= 1
    assert figures["cached"]["cases_prepared_per_s"] > 0
    assert "of_plain" in capsys.readouterr().out
