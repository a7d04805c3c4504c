"""A benchmark: the same prompts and seeds under every setting in turn, resumable, then judged and put together."""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from tqdm.auto import tqdm

from hart.benchmark.judge.quality import Judge, need_metrics
from hart.benchmark.judge.recommend import recommend
from hart.benchmark.results import Machine, Quality, Results, Work
from hart.benchmark.run.assemble import Finished, assemble
from hart.benchmark.run.batches import Batch, Painter, compile_branches
from hart.benchmark.run.journal import Journal
from hart.benchmark.run.memory import measure_memory
from hart.benchmark.run.similarity import FILE as TABLE
from hart.benchmark.run.similarity import MeasuredTable, is_table_of, measured_table, needs_table, similarity_table
from hart.benchmark.run.work import WorkRequest, batches, describe_work, scenes_of
from hart.benchmark.settings.choose import NamedSetting
from hart.pipeline import HARTPipeline
from hart.utils.machine import this_machine

logger = logging.getLogger(__name__)

RESULTS = "results.json"

WarmUp = Literal["each", "once"]


def run_benchmark(
    pipeline: HARTPipeline,
    settings: Sequence[NamedSetting],
    request: WorkRequest,
    folder: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str] | None = None,
    text_model_path: str | os.PathLike[str] | None = None,
    memory: bool = True,
    progress: bool = True,
    command: str = "run_benchmark",
    speed_only: bool = False,
    any_revision: bool = False,
    warm_up: WarmUp = "each",
) -> Results:
    """Measure settings and write `results.json`.

    Finished batches stay in the folder; the same call goes on where a killed one stopped. A run that is interrupted, or
    whose disk is full, leaves results of its complete rounds. A setting with an adaptive
    threshold then begins to adapt anew.

    Args:
        pipeline: a loaded model; with `request.compiled` its blocks stay compiled.
        settings: from `choose_settings`; the first is no-cache.
        request: what to paint.
        folder: the output folder.
        checkpoint, text_model_path: where the pipeline was loaded from; None for the embedded model.
        memory: measure peaks, each in a fresh process that loads `checkpoint` again.
        progress: show a bar with the time left.
        command: how it was called, for the record.
        speed_only: do not judge pictures; the same call without it judges what was painted.
        any_revision: go on with a run that another revision of the code began.
        warm_up: "each" setting paints a batch that does not count before the first round; "once": no-cache alone, whose
            weights all share, for models that take minutes a picture.

    Raises:
        ImportError: the packages for quality are missing; the message names the extra.
        ValueError: the folder holds another run, or a prompt is one that the pipeline refuses.
        OSError: the folder cannot be written to; what was finished before is readable.
    """
    if not speed_only:
        need_metrics()
    if request.compiled and warm_up == "once":
        raise ValueError("warm_up is 'once' and compiled is True; allowed is 'each', or compiling would be timed.")
    work = describe_work(pipeline, checkpoint, request)
    pipeline.checked_prompts(work.prompts, "truncate")
    machine = this_machine(pipeline.device)
    ignored = ("git_revision",) if any_revision else ()
    journal = Journal(Path(folder), identity(settings, work, machine), ignored)
    if journal.replaced and not any(is_table_of(one.config.to_dict(), journal.folder / TABLE) for one in settings):
        (journal.folder / TABLE).unlink(missing_ok=True)
    table = None
    if not speed_only or any(needs_table(setting.config) for setting in settings):
        table = measured_table(pipeline, work, journal.folder, progress)
        settings = [_with_table(setting, table.path) for setting in settings]
    run = _Run(command, settings, work, machine, journal, table)
    if request.compiled:
        compile_branches(pipeline.model)
    qualities = [Quality() for _ in settings]
    try:
        _paint(pipeline, settings, work, journal, progress, warm_up)
        if not speed_only:
            judge = Judge(pipeline.model.vae, journal.folder, scenes_of(work), work.prompts)
            qualities = judge.judge([one.files for one in run.finished()], progress)
    except (KeyboardInterrupt, Exception):
        run.save_what_is_there()
        raise
    peaks = {}
    if memory:
        run.save_partly(qualities)
        peaks = measure_memory(settings, work, checkpoint, text_model_path, journal.folder, progress)
    return run.save(qualities, peaks)


@dataclass(frozen=True)
class _Run:
    """What results are made of, besides quality and peaks."""

    command: str
    settings: Sequence[NamedSetting]
    work: Work
    machine: Machine
    journal: Journal
    table: MeasuredTable | None

    def finished(self, peaks: Mapping[str, Any] | None = None) -> list[Finished]:
        """Every setting with the batches that all settings have."""
        rounds = complete_rounds(self.journal, self.settings)
        return [
            Finished(
                setting,
                [record for record in self.journal.of(setting.name) if record.index in rounds],
                (peaks or {}).get(setting.name),
            )
            for setting in self.settings
        ]

    def save(
        self, qualities: Sequence[Quality], peaks: Mapping[str, Any] | None = None, partial: bool = False
    ) -> Results:
        """Put together and write `results.json`."""
        finished = self.finished(peaks)
        results = Results(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=self.command,
            machine=self.machine,
            work=self.work,
            settings=assemble(finished, self.work, qualities, self.journal.folder / TABLE),
            similarity=None if self.table is None else similarity_table(self.table, self.work),
            partial=partial,
            begun=self.journal.begun,
            num_painted=len(finished[0].files),
        )
        results.recommendations = recommend(results)
        results.to_json(self.journal.folder / RESULTS)
        return results

    def save_partly(self, qualities: Sequence[Quality]) -> None:
        """Results so far, unless those of an earlier call of this run say as much."""
        old = self._saved()
        if (
            old is None
            or old.pictures < len(self.finished()[0].files)
            or (_are_judged(qualities) and not _are_judged([setting.quality for setting in old.settings]))
        ):
            self.save(qualities, partial=True)

    def _saved(self) -> Results | None:
        """What an earlier call of this run left; None where it left nothing that can be read."""
        try:
            found = Results.from_json(self.journal.folder / RESULTS)
        except (FileNotFoundError, ValueError):
            return None
        return found if found.begun == self.journal.begun else None

    def save_what_is_there(self) -> None:
        """Results of the complete rounds, unjudged; nothing where there are none, or the disk is full."""
        with suppress(OSError):
            if complete_rounds(self.journal, self.settings):
                self.save_partly([Quality() for _ in self.settings])


def _are_judged(qualities: Sequence[Quality]) -> bool:
    return any(quality != Quality() for quality in qualities)


def complete_rounds(journal: Journal, settings: Sequence[NamedSetting]) -> set[int]:
    """Numbers of the batches that every setting has painted."""
    return set.intersection(*({record.index for record in journal.of(setting.name)} for setting in settings))


def identity(settings: Sequence[NamedSetting], work: Work, machine: Machine) -> dict[str, Any]:
    """What must be equal for a run to go on."""
    ours = machine.model_dump()
    return {
        "work": work.model_dump(),
        "git_revision": machine.git_revision,
        "machine": {
            name: ours[name]
            for name in ("processor", "cores", "accelerator", "python", "torch", "transformers", "hart")
        },
        "settings": {setting.name: _by_content(setting.config.to_dict()) for setting in settings},
    }


def _by_content(config: dict[str, Any]) -> dict[str, Any]:
    """Settings with their table's digest in place of its path: the same table may lie elsewhere."""
    path = config["sim_path"]
    if path is None or not Path(path).is_file():
        return config
    return config | {"sim_path": f"sha256 {hashlib.sha256(Path(path).read_bytes()).hexdigest()}"}


def _with_table(setting: NamedSetting, path: Path) -> NamedSetting:
    """Settings that want a calibrated table and name none get the run's own."""
    if not needs_table(setting.config):
        return setting
    return replace(setting, config=replace(setting.config, sim_path=str(path)))


def _paint(
    pipeline: HARTPipeline,
    settings: Sequence[NamedSetting],
    work: Work,
    journal: Journal,
    progress: bool,
    warm_up: WarmUp,
) -> None:
    """Round i: every setting paints batch i, in an order that each round turns by one."""
    rounds = list(batches(work))
    total = len(rounds) * len(settings)
    done = sum(len(journal.of(setting.name)) for setting in settings)
    unfinished = [setting for setting in settings if len(journal.of(setting.name)) < len(rounds)]
    painters = {setting.name: Painter(setting, pipeline, work.guidance_scale) for setting in unfinished}
    _warm_up(list(painters.values())[: 1 if warm_up == "once" else None], rounds[0], progress)
    with tqdm(total=total, initial=done, desc="benchmark", unit="batch", disable=not progress) as bar:
        for batch in rounds:
            turn = batch.index % len(settings)
            for setting in [*settings[turn:], *settings[:turn]]:
                if journal.record(setting.name, batch.index) is None:
                    record, images = painters[setting.name].paint(batch)
                    journal.add(setting, record, images, batch.index * work.batch_size)
                    bar.update()


def _warm_up(painters: Sequence[Painter], batch: Batch, progress: bool) -> None:
    """Paint one batch with each, which does not count."""
    for painter in tqdm(painters, desc="warm-up", unit="batch", disable=not progress or not painters):
        painter.paint(batch)
        painter.forget()


__all__ = ["RESULTS", "WarmUp", "run_benchmark"]
