"""Encoder, quantiser and decoder equal the published ones in every entry of the fixture `vae`."""

from tests.golden import load
from tests.parity import replay_tokenizer


def test_every_recorded_tensor_is_repeated():
    report = replay_tokenizer()
    assert not report.too_large()
    assert len(report.compared) == len(load("vae")[0]) - 1  # all but the picture that goes in
