"""Defaults and names of devices and dtypes."""

import pytest
import torch

from hart.utils import default_device, default_dtype, devices, parse_device, parse_dtype


def test_default_device_exists():
    assert torch.zeros(1, device=default_device()).item() == 0


@pytest.mark.parametrize(
    ("capabilities", "mkldnn", "dtype"),
    [
        ({"avx512_bf16": True}, True, torch.bfloat16),
        ({"amx_bf16": True}, True, torch.bfloat16),
        ({"bf16": True}, True, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": False}, True, torch.float32),
        ({}, True, torch.float32),
        ({"bf16": True}, False, torch.float32),
    ],
)
def test_a_processor_that_multiplies_bfloat16_uses_it(monkeypatch, capabilities, mkldnn, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: mkldnn)
    assert default_dtype("cpu") == dtype


@pytest.mark.parametrize("supported", [True, False])
def test_an_older_torch_is_asked_about_avx512(monkeypatch, supported):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert devices._cpu_multiplies_bfloat16() is supported


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float16), ((9, 0), torch.bfloat16)])
def test_cuda_uses_bfloat16_from_ampere_on(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", None)
    assert default_dtype("cuda") == dtype


def test_mps_uses_float32():
    assert default_dtype(torch.device("mps")) == torch.float32


@pytest.mark.parametrize("name", ["float16", "fp16", "FP16", " torch.float16 ", torch.float16])
def test_names_of_a_dtype(name):
    assert parse_dtype(name) == torch.float16


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match=r"dtype is 'flaot16'; allowed are float32, .*did you mean 'float16'\?"):
        parse_dtype("flaot16")
    with pytest.raises(ValueError, match=r"device is 'cdua'; allowed are cpu, cuda, mps.*did you mean 'cuda'\?"):
        parse_device("cdua")
    with pytest.raises(ValueError, match=r"device is 'cuda:one'; allowed are"):
        parse_device("cuda:one")


def test_names_of_a_device(monkeypatch):
    assert parse_device("cpu") == torch.device("cpu")
    assert parse_device(torch.device("cpu")) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert parse_device("CUDA:1") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match=r"device is 'cuda:2'; this machine has 2 of kind 'cuda'"):
        parse_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match=r"this machine has 0 of kind 'cuda'"):
        parse_device("cuda")
