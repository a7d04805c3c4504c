"""What the log says of speed, and where a script runs."""

import argparse

import pytest
import torch
from torch import nn

from hart.utils.devices import default_device
from training import common, meter
from training.common import add_device_arguments, chosen_device
from training.meter import Throughput, count_operations


def test_operations_of_forward_and_backward_are_counted():
    layer, x = nn.Linear(16, 8, bias=False), torch.randn(4, 16)
    forward = 2 * 4 * 16 * 8
    assert count_operations(lambda: layer(x)) == forward
    assert count_operations(lambda: layer(x).sum().backward()) == 2 * forward  # no gradient of the input
    assert count_operations(lambda: layer(x.clone().requires_grad_()).sum().backward()) == 3 * forward


def test_throughput_is_of_the_time_since_the_last_line(monkeypatch):
    monkeypatch.setattr(meter, "matrix_product_peak", lambda *given: 1.0)  # GFLOP/s
    throughput = Throughput(torch.device("cpu"))
    monkeypatch.setattr(throughput.watch, "lap", lambda: 2.0)
    throughput.add(16, 500_000_000)
    throughput.add(16, 500_000_000)
    assert throughput.take() == {"samples_per_second": 16.0, "peak_share": 0.5}
    assert throughput.take() == {"samples_per_second": 0.0, "peak_share": 0.0}


def parsed(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_device_arguments(parser)
    return parser.parse_args(given)


def test_devices_have_a_default_and_are_checked():
    assert chosen_device(parsed()) == default_device()
    assert chosen_device(parsed("--device", "cpu")) == torch.device("cpu")
    with pytest.raises(ValueError, match="device is 'gpu'"):
        chosen_device(parsed("--device", "gpu"))


def test_background_takes_one_thread_at_low_priority(monkeypatch):
    nice, threads = [], []
    monkeypatch.setattr(common.os, "nice", nice.append)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    chosen_device(parsed("--device", "cpu"))
    assert not nice and not threads
    chosen_device(parsed("--device", "cpu", "--background"))
    assert nice == [15] and threads == [1]
