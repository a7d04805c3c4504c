"""Which settings are measured."""

import pytest

from hart.benchmark.settings.choose import choose_settings, known_settings, plan_setting
from hart.benchmark.settings.peers import peer_names, read_peer
from hart.modules.cache_config import HARTCacheConfig
from hart.tuning.planner.proposal import CacheProposal, PlanCost, Verification

TEN = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
FOURTEEN = (1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64)


def test_by_default_all_presets_and_peers_no_cache_first():
    chosen = choose_settings(TEN, 6)
    assert [setting.name for setting in chosen] == known_settings()
    assert chosen[0].name == "no-cache" and {setting.kind for setting in chosen} == {"preset", "peer"}
    assert all(setting.why for setting in chosen)


@pytest.mark.parametrize("name", peer_names())
@pytest.mark.parametrize("sides", [TEN, FOURTEEN])
def test_peers_fit_every_pyramid(name, sides):
    why, config = read_peer(name, sides)
    config.validate([side * side for side in sides])
    assert len(why) > 40 and not config.changes_nothing


def test_peers_move_by_rank():
    _, fastvar = read_peer("peer/fastvar", FOURTEEN)
    assert fastvar.refresh_ratio == {48 * 48: 0.5, 64 * 64: 0.25} and fastvar.cache_stages == [36 * 36]
    _, stop = read_peer("peer/stop-early-3", FOURTEEN)
    assert stop.drop_stages == [36 * 36, 48 * 48, 64 * 64]


def test_what_does_not_fit_a_short_pyramid_is_left_out_or_refused(caplog):
    names = [setting.name for setting in choose_settings((1, 2), 2)]
    assert names[0] == "no-cache" and "peer/stop-early-1" in names and "peer/fastvar" not in names
    assert "peer/fastvar leaves" in caplog.text
    with pytest.raises(ValueError, match=r"peer/fastvar leaves cache_stages empty"):
        choose_settings((1, 2), 2, ["peer/fastvar"])


def test_files_and_names(tmp_path):
    HARTCacheConfig(drop_stages=[256]).to_json(tmp_path / "mine.json")
    chosen = choose_settings(TEN, 6, ["ultra-fast", "no-cache"], [tmp_path / "mine.json"])
    assert [(setting.name, setting.kind) for setting in chosen] == [
        ("no-cache", "preset"),
        ("ultra-fast", "preset"),
        ("mine", "file"),
    ]


def test_plans_are_settings_with_their_evidence(tmp_path):
    kept = Verification(
        run_tag="t", settings={}, pictures=100, speed_up=1.7, speed_low=1.6, speed_high=1.8,
        quality_drop=0.01, drop_low=-0.02, drop_high=0.04,
        psnr=27.3, worse=1, better=0, kept=True,
    )  # fmt: skip
    cost = PlanCost(
        seconds=1,
        pictures=2,
        num_search=1,
        num_verify=1,
        num_confirm=1,
        device="cpu",
        dtype="float32",
        threads=2,
        machine="m",
        torch="2",
    )
    plan = CacheProposal(
        format=3, settings=HARTCacheConfig(drop_stages=[256]).to_dict(), max_quality_drop=0.01, min_psnr=25.0,
        judged_by="program", tried=[], verified=[], confirmed=[kept], seed=0, cfg=4.5, cost=cost,
    )  # fmt: skip
    plan.to_json(tmp_path / "mine.json")
    setting = choose_settings(TEN, 6, paths=[tmp_path / "mine.json"])[1]
    assert (setting.name, setting.kind, setting.config.drop_stages) == ("mine", "plan", [256])
    assert setting.why == (
        "Planned for a drop of at most 1.0% and a median PSNR of 25 dB (judged by program): 1.70x as fast at a drop of "
        "1.0% (-2.0% to 4.0%) and 27.3 dB on 100 other pictures; 0 settings tried."
    )
    plan.max_quality_drop, plan.max_fidelity_loss, plan.judged_by = None, 0.5, "fidelity"
    assert plan_setting("x", plan).why == (
        "Planned for a loss of at most 0.5 dB of fidelity and a median PSNR of 25 dB (judged by fidelity): 1.70x as "
        "fast at a loss of 0.01 dB (-0.02 to 0.04) and 27.3 dB on 100 other pictures; 0 settings tried."
    )
    plan.confirmed = []
    assert "nothing faster keeps that" in plan_setting("x", plan).why


@pytest.mark.parametrize(
    "text, names",
    [
        ("threshold=0.5:0.9:0.1", [f"threshold={t}" for t in (0.5, 0.6, 0.7, 0.8, 0.9)]),
        ("corrector_layers=0:2:1", ["corrector_layers=0", "corrector_layers=1", "corrector_layers=2"]),
        ("token_selector=edge,random", ["token_selector=edge", "token_selector=random"]),
        ("layers=[0,1],[2]", ["layers=[0,1]", "layers=[2]"]),
    ],
)
def test_sweeps(text, names):
    chosen = choose_settings(TEN, 6, sweeps=[text])[1:]
    assert [setting.name for setting in chosen] == names
    assert all(setting.config.skip_stages == [169, 256] and setting.kind == "sweep" for setting in chosen)


def test_sweep_of_refresh_ratios():
    chosen = choose_settings(TEN, 6, sweeps=["refresh"])[1:]
    assert len(chosen) == 9 and chosen[0].name == "refresh=0+0.25"
    assert chosen[0].config.refresh_ratio == {169: 0.0, 256: 0.25}


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"names": ["fastvar"]}, r"unknown setting 'fastvar', nearest to it is 'peer/fastvar'; known are .*'no-cache'"),
        ({"sweeps": ["treshold=0.5,0.6"]}, r"unknown field to sweep 'treshold', nearest .* 'threshold'; known are"),
        ({"sweeps": ["threshold"]}, r"sweep is 'threshold'; allowed is 'field=start"),
        ({"sweeps": ["threshold=0.5:0.9:0"]}, r"step not 0"),
        ({"sweeps": ["threshold=0.9:0.5:0.1"]}, r"allowed are 1 to 200"),
        ({"sweeps": ["threshold=2"]}, r"threshold is 2; allowed is a number from 0 to 1"),
        ({"sweeps": ["corrector_layers=0.5"]}, r"corrector_layers is 0.5"),
        ({"sweeps": ["refresh"], "base": "high-quality"}, r"skip_stages is \[256\]; allowed are two"),
        ({"sweeps": ["layers=[9]"]}, r"setting 'layers=\[9\]': layers names layer 9"),
        ({"names": ["ultra-fast", "ultra-fast"]}, r"allowed is each once"),
    ],
)
def test_bad_settings(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        choose_settings(TEN, 6, **given)
