import json

from tools.benchmarks import data_path


def test_all_data_sets_give_the_same_crops(tmp_path, capsys):
    file = tmp_path / "figures.json"
    data_path.main(cases=3, edge=12, size=(20, 24, 20), spacing=8.0, batch_size=3, repeats=1, output=str(file))
    figures = json.loads(file.read_text())
    names = [data_path.PLAIN, data_path.PERSISTENT, data_path.CACHED, *data_path.OURS]
    assert list(figures) == ["machine", *names]
    assert all(figures[name]["later_s"] > 0 and figures[name]["first_s"] > 0 for name in names)
    assert all(figures[name]["differs_by"] == 0 for name in names[:-1])
    assert 0 < figures["device"]["differs_by"] < 0.01  # half precision
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(names)
