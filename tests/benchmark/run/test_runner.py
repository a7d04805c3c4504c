"""A whole run on the tiny checkpoint: figures, interleaving, resuming and what must not be mixed."""

import json
import shutil
import subprocess
from dataclasses import replace

import pytest
import torch

from hart.benchmark.judge.quality import Judge
from hart.benchmark.report import write_report
from hart.benchmark.results import Quality, Results
from hart.benchmark.run.assemble import Finished, hit_shares, paired_ratios, portable, whole_batches
from hart.benchmark.run.batches import BatchRecord, Painter, full_flops
from hart.benchmark.run.journal import Journal
from hart.benchmark.run.runner import identity, run_benchmark
from hart.benchmark.run.similarity import _prompts as calibration_prompts
from hart.benchmark.run.work import WorkRequest, scenes_of, weights_digest
from hart.benchmark.settings.choose import NamedSetting, choose_settings
from hart.evaluation import parse_caption
from hart.evaluation.scenes import is_held_out
from hart.modules.cache_config import HARTCacheConfig
from hart.utils.digest import tensors_digest
from hart.utils.journal import FORMAT, first_difference
from hart.utils.machine import _git_revision, differences, this_machine
from tests.benchmark.conftest import setting as made_up

REQUEST = WorkRequest(num_pictures=3, batch_size=2, prompts=("a cat", "a dog"), seed=5)
NAMES = ["original-cache", "peer/calibrated-skip", "peer/stop-early-1"]


@pytest.fixture(scope="module")
def chosen(pipeline):
    return choose_settings(pipeline.model.config.patch_nums, pipeline.model.config.depth, NAMES)


@pytest.fixture(scope="module")
def finished(pipeline, chosen, checkpoint_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    quiet = {"memory": False, "progress": False}
    return folder, run_benchmark(pipeline, chosen, REQUEST, folder, checkpoint_root, **quiet)


def again(pipeline, chosen, folder, checkpoint_root, request=REQUEST):
    return run_benchmark(pipeline, chosen, request, folder, checkpoint_root, memory=False, progress=False)


def test_figures_of_a_run(finished, checkpoint_root):
    folder, results = finished
    assert Results.from_json(folder / "results.json") == results
    assert [setting.name for setting in results.settings] == ["no-cache", *NAMES]
    plain, original, calibrated, stop = results.settings
    assert plain.speed_up.median == 1 and plain.quality.psnr is None and plain.flops_saved == 0
    assert original.flops_computed < plain.flops_computed and 0 < original.flops_saved < 1
    assert original.flops_computed + original.flops_saved / (1 - original.flops_saved) * original.flops_computed == (
        pytest.approx(plain.flops_computed)
    )
    assert set(plain.computed.values()) == {1.0} and stop.computed["256"] == 0 and stop.computed["169"] == 1
    assert 0 <= original.computed["256"] < 1 and original.computed["100"] == 1
    assert set(original.hits) == {"attn", "mlp"} and set(original.hits["attn"]) == {"169", "256"}
    assert all(0 <= share <= 1 for branch in original.hits.values() for share in branch.values())
    assert calibrated.config["sim_path"] == "similarity.json"
    assert results.begun <= results.created and not results.partial and len(results.work.weights) == 64
    assert {name: len(digest) for name, digest in results.work.other_weights.items()} == {
        "tokenizer": 64,
        "text model": 64,
    }
    assert stop.quality.psnr.value < 100 and stop.stages["256"].median < plain.stages["256"].median
    assert results.work.prompts == ["a cat", "a dog", "a cat"] and results.work.checkpoint == str(checkpoint_root)
    assert set(plain.parts) == {"text", "decoder", "transformer", "diffusion_head"}


def test_similarity_table(finished):
    similarity = finished[1].similarity
    assert similarity.stages[0] == 1 and len(similarity.table["attn"]) == 3
    assert similarity.table["mlp"][0][0] is None and -1 <= similarity.table["mlp"][0][-1] <= 1


def test_a_finished_run_paints_nothing_again(finished, pipeline, chosen, checkpoint_root, monkeypatch):
    folder, results = finished
    monkeypatch.setattr(Painter, "paint", lambda *_: pytest.fail("painted again"))
    found = again(pipeline, chosen, folder, checkpoint_root)
    assert found.settings == results.settings


def test_a_killed_run_goes_on_with_the_same_pictures(
    finished, pipeline, chosen, checkpoint_root, tmp_path, monkeypatch
):
    calls, paint = [], Painter.paint

    def killed(painter, batch):
        calls.append((painter.setting.name, batch.index))
        if len(calls) == 10:  # four warm-ups and five batches are done
            raise KeyboardInterrupt
        return paint(painter, batch)

    monkeypatch.setattr(Painter, "paint", killed)
    with pytest.raises(KeyboardInterrupt):
        again(pipeline, chosen, tmp_path, checkpoint_root)
    lines = (tmp_path / "batches.jsonl").read_text()
    assert lines.count("\n") == 5
    (tmp_path / "batches.jsonl").write_text(lines + '{"setting": "no-ca')
    calls.clear()
    monkeypatch.setattr(Painter, "paint", lambda p, b: (calls.append((p.setting.name, b.index)), paint(p, b))[1])
    results = again(pipeline, chosen, tmp_path, checkpoint_root)
    assert len(calls) == 3 + 3 and all(index == 1 for _, index in calls[3:])  # only what is unfinished warms up
    for setting in results.settings:
        for index in range(3):
            file = f"{setting.folder}/{index:05d}.png"
            assert (tmp_path / file).read_bytes() == (finished[0] / file).read_bytes()


def test_speed_only_judges_nothing_and_measures_no_table_that_nobody_needs(
    pipeline, checkpoint_root, tmp_path, monkeypatch
):
    config = pipeline.model.config
    chosen = choose_settings(config.patch_nums, config.depth, ["peer/stop-early-1"])
    monkeypatch.setattr("hart.benchmark.run.runner.Judge", lambda *_: pytest.fail("judges"))
    request = WorkRequest(num_pictures=1, batch_size=1, prompts=("a cat",))
    results = run_benchmark(
        pipeline, chosen, request, tmp_path, checkpoint_root, memory=False, progress=False, speed_only=True
    )
    assert results.similarity is None and not (tmp_path / "similarity.json").exists()
    assert all(setting.quality == Quality() for setting in results.settings)
    assert [found.goal for found in results.recommendations] == ["speed"]


def test_a_warm_up_may_be_that_of_no_cache_alone(pipeline, chosen, checkpoint_root, tmp_path, monkeypatch):
    painted, paint = [], Painter.paint
    monkeypatch.setattr(Painter, "paint", lambda p, b: (painted.append(p.setting.name), paint(p, b))[1])
    request = WorkRequest(num_pictures=1, batch_size=1, prompts=("a cat",))
    quiet = {"memory": False, "progress": False, "speed_only": True}
    run_benchmark(pipeline, chosen, request, tmp_path, checkpoint_root, **quiet, warm_up="once")
    assert painted == ["no-cache", "no-cache", *NAMES]
    with pytest.raises(ValueError, match="warm_up is 'once' and compiled is True; allowed is 'each'"):
        run_benchmark(
            pipeline, chosen, replace(request, compiled=True), tmp_path, checkpoint_root, **quiet, warm_up="once"
        )


def test_settings_are_calibrated_on_captions_of_the_training_split(results_of):
    work = results_of(made_up("no-cache", 1.0)).work
    assert calibration_prompts(work.model_copy(update={"checkpoint": "elsewhere"}), 2) == ["a cat", "a dog"]
    scenes = [parse_caption(prompt) for prompt in calibration_prompts(work, 8)]
    assert len(scenes) == 8 and not any(map(is_held_out, scenes))


def test_an_interrupt_leaves_results_of_complete_rounds(pipeline, chosen, checkpoint_root, tmp_path, monkeypatch):
    paint, calls = Painter.paint, []

    def interrupted(painter, batch):
        calls.append(batch.index)
        if batch.index == 1 and calls.count(1) == 3:
            raise KeyboardInterrupt
        return paint(painter, batch)

    monkeypatch.setattr(Painter, "paint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        again(pipeline, chosen, tmp_path, checkpoint_root)
    found = Results.from_json(tmp_path / "results.json")
    assert found.partial and [setting.name for setting in found.settings] == ["no-cache", *NAMES]
    assert 0 < found.pictures < found.work.num_pictures
    assert len(Journal(tmp_path, json.loads((tmp_path / "run.json").read_text())).of(NAMES[0])) == 2
    page = write_report(found, tmp_path).read_text()
    assert page.count("These results are partial") == 1
    assert f"{found.pictures} of {found.work.num_pictures} pictures." in page


def test_an_interrupt_keeps_what_says_more(pipeline, chosen, checkpoint_root, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    judged = again(pipeline, chosen, tmp_path, checkpoint_root)
    path = tmp_path / "results.json"
    with monkeypatch.context() as patched:
        patched.setattr(Judge, "judge", interrupted)
        with pytest.raises(KeyboardInterrupt):
            again(pipeline, chosen, tmp_path, checkpoint_root)
        assert Results.from_json(path) == judged
        for other in ("{torn", judged.model_copy(update={"begun": "earlier"}).model_dump_json()):
            path.write_text(other)  # nothing that says anything of this run
            with pytest.raises(KeyboardInterrupt):
                again(pipeline, chosen, tmp_path, checkpoint_root)
            assert Results.from_json(path).partial
    monkeypatch.setattr("hart.benchmark.run.runner.measure_memory", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(pipeline, chosen, REQUEST, tmp_path, checkpoint_root, progress=False)
    assert Results.from_json(path).settings[1].quality == judged.settings[1].quality  # judged by now


def test_revisions_tell_changed_and_new_files(tmp_path):
    def git(*arguments):
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e", *arguments], check=True)

    git("init", "-q")
    (tmp_path / "a.py").write_text("1")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    ask = _git_revision.__wrapped__
    clean = ask(tmp_path)
    assert len(clean) == 40
    (tmp_path / "b.py").write_bytes(b"\x9d")
    added = ask(tmp_path)
    (tmp_path / "a.py").write_text("2")
    assert added.startswith(f"{clean}+changes-") and ask(tmp_path) not in (clean, added)


def test_a_torn_last_line_is_taken_out_and_any_other_is_named(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    path, identity = tmp_path / "run/batches.jsonl", json.loads((tmp_path / "run/run.json").read_text())
    whole, changed = path.read_text(), path.stat().st_mtime_ns
    assert identity["format"] == FORMAT
    assert len(Journal(path.parent, identity).batches) == 8 and path.stat().st_mtime_ns == changed
    path.write_text(whole + '{"setting": "no-ca')
    assert len(Journal(path.parent, identity).batches) == 8 and path.read_text() == whole
    path.write_text(whole.replace('"index"', '"indx"', 1))
    with pytest.raises(ValueError, match=r"line 1 of .*batches.jsonl' is no finished batch"):
        Journal(path.parent, identity)
    (path.parent / "run.json").write_text(json.dumps(identity | {"format": 1}))
    with pytest.raises(
        ValueError, match=rf"holds a run of format 1; this version of hart goes on with format {FORMAT}"
    ):
        Journal(path.parent, identity)


def test_other_code_or_weights_are_another_run(finished, tmp_path, caplog):
    shutil.copytree(finished[0], tmp_path / "run")
    there = json.loads((tmp_path / "run/run.json").read_text())
    here = there | {"git_revision": "other"}
    with pytest.raises(ValueError, match=r"git_revision is .* there and 'other' here"):
        Journal(tmp_path / "run", here)
    assert len(Journal(tmp_path / "run", here, ["git_revision"]).batches) == 8
    assert "it goes on with other" in caplog.text
    with pytest.raises(ValueError, match=r"work.weights is"):
        Journal(tmp_path / "run", there | {"work": there["work"] | {"weights": "x"}})


def test_tables_are_told_apart_by_content(pipeline, finished, tmp_path):
    work, machine = finished[1].work, finished[1].machine
    paths = [tmp_path / name for name in "abc"]
    for path, text in zip(paths, ("1", "1", "2"), strict=True):
        path.write_text(text)
    configs = [HARTCacheConfig(estimator="calibrated", sim_path=path) for path in paths]
    found = [identity([NamedSetting("x", "file", "", config)], work, machine) for config in configs]
    assert found[0] == found[1] != found[2]


def test_weights_are_known_by_files_or_by_tensors(pipeline):
    model = pipeline.model
    by_file = weights_digest(model)
    path, model.config.name_or_path = model.config.name_or_path, ""
    try:
        by_tensor = weights_digest(model)
        assert by_tensor == weights_digest(model) != by_file
    finally:
        model.config.name_or_path = path


def test_a_digest_tells_weights_apart(pipeline):
    vae = pipeline.model.vae
    before = tensors_digest(vae)
    bias = vae.decoder.conv_out.bias.data
    kept = bias.clone()
    try:
        bias += 1
        assert tensors_digest(vae) != before
    finally:
        bias.copy_(kept)
    assert tensors_digest(vae) == before


def test_a_share_of_layers_is_over_generations():
    record = made_record(0, 1.0).model_copy(update={"hits": {"attn": {"256": 3}}, "pictures": 4, "generations": 1})
    setting = NamedSetting("x", "file", "", HARTCacheConfig(skip_stages=[256]))
    assert hit_shares(Finished(setting, [record], None), depth=4)["attn"]["256"] == 0.75


def test_settings_take_turns_in_another_order_each_round(finished):
    lines = (finished[0] / "batches.jsonl").read_text().splitlines()
    order = [(record["setting"], record["index"]) for record in map(json.loads, lines)]
    names = ["no-cache", *NAMES]
    assert order == [(name, 0) for name in names] + [(name, 1) for name in names[1:] + names[:1]]


def test_another_run_in_the_same_folder_is_refused(finished, pipeline, chosen, checkpoint_root):
    folder = finished[0]
    with pytest.raises(ValueError, match=r"holds another run: work.seed is 5 there and 6 here; choose another"):
        again(pipeline, chosen, folder, checkpoint_root, replace(REQUEST, seed=6))
    with pytest.raises(ValueError, match=r"settings.peer/stop-early-1 is .* there and None here"):
        again(pipeline, chosen[:-1], folder, checkpoint_root)


def test_a_run_that_was_refused_before_its_first_batch_binds_nobody(pipeline, checkpoint_root, tmp_path, monkeypatch):
    chosen = choose_settings(pipeline.model.config.patch_nums, pipeline.model.config.depth, ["peer/stop-early-1"])
    with pytest.raises(ValueError, match="cfg is -1"):
        again(pipeline, chosen, tmp_path, checkpoint_root, replace(REQUEST, guidance_scale=-1.0))
    (tmp_path / "similarity.json").write_text("of the run that was refused")
    monkeypatch.setattr(Painter, "paint", lambda *_: pytest.fail("goes on"))
    with pytest.raises(pytest.fail.Exception):
        again(pipeline, chosen, tmp_path, checkpoint_root)
    assert json.loads((tmp_path / "run.json").read_text())["work"]["guidance_scale"] == 4.5
    table = tmp_path / "similarity.json"
    named = [*chosen, NamedSetting("mine", "file", "", HARTCacheConfig(sim_path=str(table)))]
    before = table.read_text()
    with pytest.raises(pytest.fail.Exception):  # given with the table, as a plan may be
        again(pipeline, named, tmp_path, checkpoint_root, replace(REQUEST, seed=6))
    assert table.read_text() == before


def test_a_picture_that_a_power_cut_emptied_is_painted_again(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    content = json.loads((tmp_path / "run/run.json").read_text())
    before = Journal(tmp_path / "run", content).batches
    (tmp_path / "run" / before["no-cache", 1].files[0]).write_bytes(b"")
    assert before.keys() - Journal(tmp_path / "run", content).batches.keys() == {("no-cache", 1)}


def test_only_the_runs_own_table_is_named_by_its_place(tmp_path):
    own, other = tmp_path / "run/similarity.json", tmp_path / "mine/similarity.json"
    assert portable({"sim_path": str(own)}, own) == {"sim_path": "similarity.json"}
    assert portable({"sim_path": str(other)}, own) == {"sim_path": str(other)}
    assert portable({"sim_path": None}, own) == {"sim_path": None}


def test_a_full_disk_keeps_what_was_finished(pipeline, chosen, checkpoint_root, tmp_path, monkeypatch):
    add, count = Journal.add, []

    def full(journal, *given):
        count.append(given)
        if len(count) == 3:
            raise OSError(28, "No space left on device")
        add(journal, *given)

    monkeypatch.setattr(Journal, "add", full)
    with pytest.raises(OSError, match="No space left"):
        again(pipeline, chosen, tmp_path, checkpoint_root)
    kept = Journal(tmp_path, json.loads((tmp_path / "run.json").read_text()))
    assert len(kept.batches) == 2 and all((tmp_path / f).is_file() for r in kept.batches.values() for f in r.files)


def made_record(index, seconds, pictures=2):
    return BatchRecord(
        setting="x", index=index, pictures=pictures, generations=1, seconds=seconds, parts={}, stages=[], hits={},
        hit_count=0, decisions=0, flops_computed=0, flops_saved=0, stage_flops=[], cache_peak_bytes=0,
    )  # fmt: skip


def test_ratios_are_paired_by_round_and_short_batches_count_in_no_median():
    record = made_record
    plain, other = [record(0, 2.0), record(1, 3.0), record(2, 1.0, 1)], [record(0, 1.0), record(1, 2.0)]
    assert paired_ratios(plain, other) == [2.0, 1.5]
    other[1].session = "after a kill"
    assert paired_ratios(plain, other) == [2.0, 1.5]  # one whole round would know no chance
    assert paired_ratios([*plain[:2], record(3, 4.0)], [*other, record(3, 1.0)]) == [2.0, 4.0]
    assert [one.index for one in whole_batches(plain)] == [0, 1]


def test_first_difference():
    assert first_difference({"a": {"b": 1}}, {"a": {"b": 1}}) is None
    assert first_difference({"a": {"b": 1}}, {"a": {"b": 2}, "c": 3}) == ("a.b", 1, 2)
    assert first_difference({"a": 1}, {"a": 1, "c": 3}) == ("c", None, 3)


def test_machines_are_compared():
    machine = this_machine(torch.device("cpu"))
    assert machine.cores >= 1 and machine.processor and machine.torch == str(torch.__version__)
    other = machine.model_copy(update={"cores": 99, "git_revision": "x"})
    assert differences(machine, machine) == [] and differences(machine, other) == [f"cores: {machine.cores} and 99"]


def test_only_the_embedded_model_is_judged_on_captions(finished):
    work = finished[1].work
    caption = "a small 3d fox on a yellow background at the top right"
    assert scenes_of(work) is None
    assert scenes_of(work.model_copy(update={"checkpoint": "embedded"})) is None
    found = scenes_of(work.model_copy(update={"checkpoint": "embedded", "prompts": [caption]}))
    assert found[0].caption() == caption


def test_operations_grow_with_pictures(pipeline):
    six, one = full_flops(pipeline.model, 6), full_flops(pipeline.model, 1)
    assert six == [6 * operations for operations in one] and len(one) == 10 and min(one) > 0


def test_work_requests():
    with pytest.raises(ValueError, match="batch_size is 0; allowed is a whole number from 1"):
        WorkRequest(batch_size=0)
    texts = WorkRequest(num_pictures=4).texts()
    assert len(set(texts)) == 4 and texts == WorkRequest(num_pictures=4).texts()
    many = WorkRequest(num_pictures=1000).texts()  # more than there are scenes: again, with other seeds
    assert len(set(many)) == 154 and many[154:308] == many[:154]
