"""Paints a prompt twice, without the cache and with a setting, and shows both while they grow."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from queue import Queue
from threading import Semaphore, Thread
from typing import TYPE_CHECKING, Any

from torch import Tensor

from hart.demo.settings import BASELINE
from hart.modules.cache_config import HARTCacheConfig
from hart.pipeline import HARTPipeline, PipelineOutput
from hart.token_maps import TokenMap, watched_pipeline
from hart.utils.images import to_pil
from hart.utils.psnr import psnr

if TYPE_CHECKING:
    from PIL.Image import Image


Judge = Callable[[Tensor, str], float | None]


@dataclass(frozen=True)
class Request:
    """What somebody asked for; `setting` is the name of one of the studio's choices."""

    prompt: str
    seed: int
    guidance_scale: float
    setting: str


@dataclass
class Painting:
    """One of the two pictures, as far as it is.

    Args:
        name: of the cache setting.
        previews: the picture after every stage so far.
        image: the finished picture [1, 3, H, W] in 0 to 1.
        seconds: time of text, stages and decoder; previews do not count.
        token_maps: what became of the tokens of every stage.
        work_saved: share of the floating-point operations that the setting saved.
        hit_rate: share of the cache's decisions that were to reuse; None where nothing was decided.
        score: what the studio's judge gives; None without a judge, or where it has no answer.
    """

    name: str
    previews: "list[Image]" = field(default_factory=list)
    image: Tensor | None = None
    seconds: float | None = None
    token_maps: tuple[TokenMap, ...] = ()
    work_saved: float = 0.0
    hit_rate: float | None = None
    score: float | None = None

    @property
    def picture(self) -> "Image | None":
        """The finished picture, else the latest preview, else None."""
        if self.image is not None:
            return to_pil(self.image)[0]
        return self.previews[-1] if self.previews else None

    def finish(self, output: PipelineOutput, token_maps: tuple[TokenMap, ...]) -> None:
        """Take over what the pipeline gave."""
        times = output.timings
        self.image, self.token_maps = output.images, token_maps
        self.seconds = times["text"] + sum(times["stages"]) + times["decoder"]
        statistics = output.cache_statistics or {}
        self.work_saved = statistics.get("flops_saved_ratio", 0.0)
        if statistics.get("per_stage"):
            self.hit_rate = statistics["cache_hit_rate"]


@dataclass
class Pair:
    """Both pictures of a request, as far as they are."""

    request: Request
    num_stages: int
    plain: Painting
    cached: Painting

    @property
    def done(self) -> int:
        """Stages painted of both pictures together."""
        return len(self.plain.previews) + len(self.cached.previews)

    @property
    def finished(self) -> bool:
        """Whether both pictures are whole."""
        return self.cached.image is not None

    @property
    def psnr(self) -> float:
        """Of one picture against the other, in dB; infinite where they are equal."""
        return psnr(self.cached.image, self.plain.image)[0]

    @property
    def speed_up(self) -> float:
        """Time without the cache over time with it."""
        if not self.plain.seconds or not self.cached.seconds:
            return math.nan
        return self.plain.seconds / self.cached.seconds


class Studio:
    """A loaded model and the cache settings to choose from.

    Args:
        pipeline: it is not changed.
        choices: cache settings by name.
        judge: (picture [1, 3, H, W] in 0 to 1, prompt) to its PSNR in dB to the truth, or None where there is none.
    """

    def __init__(self, pipeline: HARTPipeline, choices: Mapping[str, HARTCacheConfig], judge: Judge | None = None):
        self.pipeline, self.choices, self.judge = pipeline, dict(choices), judge
        self.patch_nums: tuple[int, ...] = pipeline.model.config.patch_nums
        self.guidance_scale: float = pipeline.generation_config["guidance_scale"]

    def check(self, request: Request) -> None:
        """Refuse what cannot be painted; costs no model.

        Raises:
            ValueError: one sentence.
        """
        if not request.prompt.strip():
            raise ValueError("The prompt must be a text, got nothing.")
        if request.setting not in self.choices:
            raise ValueError(f"The cache setting must be one of {', '.join(self.choices)}, got {request.setting!r}.")
        self.pipeline.checked_prompts(request.prompt)

    def paint(self, request: Request) -> Iterator[Pair]:
        """Paint both pictures; gives the same pair after every stage and at the end.

        Painting waits, off the clock, while the caller is busy with what it got; closing the iterator ends it.

        Raises:
            ValueError: the request cannot be painted.
        """
        self.check(request)
        pair = Pair(request, len(self.patch_nums), Painting(BASELINE), Painting(request.setting))
        for painting, config in ((pair.plain, None), (pair.cached, self.choices[request.setting])):
            for _ in self._painted(painting, request, config):
                yield pair

    def _painted(self, painting: Painting, request: Request, config: HARTCacheConfig | None) -> Iterator[None]:
        """Let a painting grow by a preview at a time, then finish it."""
        watched = watched_pipeline(self.pipeline, config)
        model: Any = watched.model

        def paint(show: Callable[[Any], None]) -> PipelineOutput:
            def stage_done(index: int, info: Any) -> None:
                model.note_tokens(index, info)
                show(to_pil(info.preview())[0])

            return watched(
                request.prompt,
                guidance_scale=request.guidance_scale,
                seed=request.seed,
                output_type="pt",
                callback_on_stage_end=stage_done,
            )

        for shown in step_by_step(paint):
            if isinstance(shown, PipelineOutput):
                painting.finish(shown, model.token_maps)
                painting.score = self.judge(shown.images, request.prompt) if self.judge else None
            else:
                painting.previews.append(shown)
            yield

    def warm_up(self, prompt: str) -> None:
        """Paint a picture that nobody sees, so that the first one shown is not slower than the others."""
        for _ in self.paint(Request(prompt, 0, self.guidance_scale, next(iter(self.choices)))):
            pass


class _Ended(Exception):
    """Nobody waits for the rest any more."""


def step_by_step(work: Callable[[Callable[[Any], None]], Any]) -> Iterator[Any]:
    """Turn work that shows things into an iterator over them; what the work returns comes last.

    The work runs in a thread of its own and waits inside `show` until the next thing is asked for.

    Args:
        work: called with `show`.

    Raises:
        Exception: what the work raised.
    """
    shown: Queue[tuple[str, Any]] = Queue()
    asked, ended = Semaphore(0), False

    def show(thing: Any) -> None:
        shown.put(("shown", thing))
        asked.acquire()
        if ended:
            raise _Ended

    def run() -> None:
        try:
            shown.put(("returned", work(show)))
        except _Ended:
            pass
        except Exception as error:
            shown.put(("raised", error))

    thread = Thread(target=run, name="painting", daemon=True)
    thread.start()
    try:
        while True:
            kind, thing = shown.get()
            if kind == "raised":
                raise thing
            yield thing
            if kind == "returned":
                return
            asked.release()
    finally:
        ended = True
        asked.release()
        thread.join()


__all__ = ["Painting", "Pair", "Request", "Studio", "step_by_step"]
