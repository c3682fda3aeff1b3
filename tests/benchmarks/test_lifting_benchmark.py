import json

from tools.benchmarks import lifting


def test_the_table_has_every_figure(tmp_path, capsys):
    lifting.main(edge=16, output=str(tmp_path / "figures.json"))
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["reading"]["of_plain"] > 0
    assert "of_plain" in capsys.readouterr().out
