import pytest

from tools.benchmarks.scaling import compare


def figures(step, **sent):
    return {"step_s": step, "bytes_per_step": sent, "bytes_besides": {"all_reduce": 500}}


def test_rates_are_compared_per_process():
    """Ten steps a second alone; the machine leaves two of them 8 and 6, talking leaves them 5."""
    together = [figures(1 / 5, gradients=4000, buffers=0)] * 2
    found = compare(3, [figures(0.1)], [figures(1 / 8), figures(1 / 6)], together)
    assert found["samples/s"] == pytest.approx(
        {"one_per_process": 30, "apart_per_process": 21, "together_per_process": 15}
    )
    assert found["efficiency"] == pytest.approx({"machine": 7 / 10, "weak_scaling": 5 / 10, "communication": 5 / 7})
    assert found["traffic"] == {"gradients_kb_per_step": 4.0, "all_reduce_kb_besides": 0.5}
