"""The command: what is not as it must be is said in one sentence."""

import pytest

pytest.importorskip("pydantic_settings", reason="the demo's settings: pip install hart-stage-cache[demo]")

from hart.demo.__main__ import main
from hart.utils import extras


def test_a_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "gradio" else object())
    assert main([]) == 2
    assert capsys.readouterr().err == (
        "python -m hart.demo: hart.demo needs gradio; install the extra `demo`: pip install 'hart-stage-cache[demo]'.\n"
    )


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--port", "x"], "port must be a valid integer"),
        (["--model_path", "nowhere"], "nowhere"),
        (["--cache", "orignal-cache"], "original-cache"),
        (["--cache", "missing.json"], "missing.json"),
    ],
)
def test_what_does_not_fit_is_one_sentence(flags, sentence, capsys):
    pytest.importorskip("gradio", reason="the page: pip install hart-stage-cache[demo]")
    assert main(flags) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("python -m hart.demo: ") and sentence in shown and shown.count("\n") == 1


def test_help_names_the_flags(capsys):
    pytest.importorskip("gradio", reason="the page: pip install hart-stage-cache[demo]")
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    for flag in ("--model_path", "--cache", "--port", "--host", "--settings"):
        assert flag in shown
