"""Settings of service and demo: what wins over what, and one sentence for what does not fit."""

from typing import ClassVar

import pytest

pytest.importorskip("pydantic_settings")

from pydantic import Field, SecretStr

from hart.settings import Settings, load_settings
from hart.utils.extras import need_extra


class ToySettings(Settings):
    program = "toy"
    secret: ClassVar = frozenset({"api_key"})

    api_key: SecretStr | None = Field(None, description="the key")
    log_prompts: bool = Field(False, description="whether to log")


@pytest.fixture
def load(monkeypatch):
    """Gives settings for flags, without those of this machine's environment."""
    for name in ToySettings.model_fields:
        monkeypatch.delenv(f"HART_{name.upper()}", raising=False)
    monkeypatch.delenv("HART_SETTINGS", raising=False)
    return lambda *flags: load_settings(ToySettings, flags)


def test_a_flag_wins_over_the_environment_the_environment_over_the_file(load, monkeypatch, tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('host = "file"\nport = 3\n[toy]\nguidance_scale = 2\n[other]\nport = 5\n')
    assert (load().host, load().port, load().guidance_scale) == ("127.0.0.1", 8000, None)
    monkeypatch.setenv("HART_PORT", "81")
    monkeypatch.setenv("HART_SETTINGS", str(file))
    assert (load().host, load().port, load().guidance_scale) == ("file", 81, 2.0)
    assert load("--port", "9", "--log_prompts").port == 9
    assert load("--log_prompts").log_prompts and not load("--no-log_prompts").log_prompts


def test_json_is_read_as_well(load, tmp_path):
    file = tmp_path / "settings.json"
    file.write_text('{"port": 3, "toy": {"port": 4}}')
    assert load("--settings", str(file)).port == 4


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--port", "x"], "port must be a valid integer, .*, got 'x'"),
        (["--port", "70000"], "port must be less than or equal to 65535, got '70000'"),
        (["--guidance_scale", "nan"], "guidance_scale must be a finite number, got 'nan'"),
        (["--safety_checker", "builtins"], "safety_checker must be MODULE:FUNCTION, got 'builtins'"),
        (["--api_key", "hidden"], "api_key must be given as HART_API_KEY or in the file, got a flag"),
        (["--settings", "missing.toml"], "settings must be a readable TOML or JSON file, got 'missing.toml'"),
    ],
)
def test_what_does_not_fit_is_one_sentence(load, flags, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        load(*flags)
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize("text", ["prot = 3", "port =", "[toy]\nprot = 3"])
def test_a_file_with_a_mistake_is_refused(load, tmp_path, text):
    file = tmp_path / "settings.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"no such setting|readable TOML"):
        load("--settings", str(file))


def test_a_file_that_is_a_list_is_refused(load, tmp_path):
    file = tmp_path / "settings.json"
    file.write_text("[1]")
    with pytest.raises(ValueError, match="must hold names and values, got a list"):
        load("--settings", str(file))


def test_an_unknown_flag_ends_with_a_sentence(load, capsys):
    with pytest.raises(SystemExit) as stopped:
        load("--prot", "3")
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "python -m hart.toy: unrecognized arguments: --prot 3; see --help.\n"


def test_a_key_comes_by_environment_and_is_not_shown(load, monkeypatch):
    monkeypatch.setenv("HART_API_KEY", "hidden")
    assert load().api_key.get_secret_value() == "hidden" and "hidden" not in repr(load())


def test_what_is_loaded_is_what_is_named(load, checkpoint_root):
    settings = load("--model_path", str(checkpoint_root), "--device", "cpu", "--cache", "original-cache",
                    "--safety_checker", "builtins:len")  # fmt: skip
    pipeline = settings.load_pipeline()
    assert pipeline.safety_checker is len and pipeline.model.use_cache and not pipeline.progress


@pytest.mark.parametrize("name", ["nowhere_at_all:f", "builtins:nothing"])
def test_a_safety_checker_that_is_not_there_is_refused(load, name):
    with pytest.raises(ValueError, match="safety_checker must be importable, got"):
        load("--safety_checker", name).load_safety_checker()


def test_a_missing_extra_is_named():
    need_extra("serve", "the service", "json")
    with pytest.raises(ImportError, match=r"the service needs nowhere_at_all; install the extra `serve`: pip install"):
        need_extra("serve", "the service", "json", "nowhere_at_all")
