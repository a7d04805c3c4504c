"""The page: what stands where, and what happens when something is pressed."""

import logging
import random
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import gradio as gr

from hart import sample_prompts
from hart.demo import views
from hart.demo.studio import Pair, Request, Studio

logger = logging.getLogger(__name__)

MOST_WAITING = 16
TOO_MANY = "Too many visitors are waiting. Press Paint again in a moment."
# Visitors whose last pictures stay for the slider, and letters of a prompt that are sent at most.
MOST_SESSIONS, MOST_LETTERS = 64, 2000
# Pictures that Gradio keeps for its pages go after an hour; it looks every ten minutes.
KEPT_SECONDS = (600, 3600)
INTRO = """# HART with a stage cache

One prompt is painted twice from one seed: without cache, and with a setting that reuses or leaves out part of the
work."""
# Gradio's own marks of progress would cover the pictures.
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def launch_options() -> dict[str, Any]:
    """What `Blocks.launch` is given besides the address: no request leaves this machine, and nothing is shared."""
    style = files("hart.demo").joinpath("style.css").read_text(encoding="utf-8")
    return {
        "css": style,
        "theme": gr.themes.Default(
            primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        ),
        "footer_links": [],
        "share": False,
        "ssr_mode": False,
        "run_history": False,
        "state_session_capacity": MOST_SESSIONS,
        "quiet": True,
    }


class Page:
    """The demo's page around a studio.

    Args:
        studio: paints.
        guidance_scale: to begin with; None is the model's own.

    Attributes:
        stopped: sessions whose visitors pressed Stop.
        blocks: the page; `blocks.launch(**launch_options())` serves it.
    """

    def __init__(self, studio: Studio, guidance_scale: float | None = None):
        self.studio = studio
        self.stopped: set[str | None] = set()
        with gr.Blocks(title="HART with a stage cache", analytics_enabled=False, delete_cache=KEPT_SECONDS) as blocks:
            self.pair = gr.State(None, time_to_live=KEPT_SECONDS[1])
            gr.Markdown(INTRO)
            self._build_request(studio.guidance_scale if guidance_scale is None else guidance_scale)
            with gr.Tabs():
                with gr.Tab("Pictures"):
                    self._build_pictures()
                with gr.Tab("Stages"):
                    self._build_stages()
                with gr.Tab("Plan"):
                    self.plan = gr.HTML(views.plan(None), elem_id="plan")
            self._connect()
        self.blocks = blocks.queue(max_size=MOST_WAITING, api_open=False, default_concurrency_limit=1)

    # -- what stands where -------------------------------------------------------------------------------------------

    def _build_request(self, guidance_scale: float) -> None:
        self.prompt = gr.Textbox(
            sample_prompts()[0],
            label="Prompt",
            max_lines=3,
            max_length=MOST_LETTERS,
            elem_id="prompt",
            placeholder="a 3d fox on a blue background",
        )
        gr.Examples([[text] for text in sample_prompts()], [self.prompt], label="Prompts to try", elem_id="examples")
        names = list(self.studio.choices)
        with gr.Row(elem_id="actions"):
            self.setting = gr.Dropdown(
                names, value=names[0], label="Cache setting", scale=3, min_width=200, elem_id="setting"
            )
            self.paint = gr.Button("Paint", variant="primary", scale=2, min_width=120, elem_id="paint")
            self.stop = gr.Button("Stop", interactive=False, scale=1, min_width=80, elem_id="stop")
        with gr.Accordion("Guidance and seed", open=False, elem_id="more"), gr.Row(elem_id="seeds"):
            most = max(10.0, guidance_scale)
            self.guidance = gr.Slider(0, most, guidance_scale, step=0.5, label="Guidance", min_width=200, buttons=[])
            self.seed = gr.Number(0, label="Seed", precision=0, min_width=100, elem_id="seed")
            self.draw = gr.Button("New seed", min_width=100, elem_id="draw")
        self.status = gr.HTML(views.waiting(), elem_id="status")

    def _build_pictures(self) -> None:
        with gr.Row(elem_classes="pair"):
            self.plain, self.plain_caption = _picture("plain", "the picture without cache", "<b>No cache</b>")
            self.cached, self.cached_caption = _picture("cached", "the picture with the setting", "<b>With cache</b>")
        self.figures = gr.HTML("", elem_id="figures")
        with gr.Column(elem_id="apart", visible="hidden") as self.apart:  # there, so that its picture is not lost
            text = f"<b>Difference</b> <span>{views.GAIN} times as strong; black where both are equal</span>"
            self.difference, _ = _picture("difference", "where both pictures differ", text)

    def _build_stages(self) -> None:
        count = len(self.studio.patch_nums)
        self.stage = gr.Slider(1, count, count, step=1, label="Stage", interactive=False, elem_id="stage", buttons=[])
        self.stage_caption = gr.HTML(views.stage_caption(None, count), elem_id="stage-caption")
        with gr.Row(elem_classes="pair"):
            self.plain_stage, _ = _picture("plain-stage", "without cache, after the stage", "<b>No cache</b>")
            self.cached_stage, self.cached_stage_caption = _picture(
                "cached-stage", "with the setting, after the stage", "<b>With cache</b>"
            )

    # -- what happens ------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        asked = [self.prompt, self.seed, self.guidance, self.setting]
        changed = [self.pair, self.status, self.prompt, self.paint, self.stop, *self._pictures(), *self._results()]
        pressed = [self.paint.click, self.prompt.submit]
        begun = gr.on(pressed, self._cleared, None, changed, queue=False, **QUIET)
        painting = begun.then(self._paint, asked, changed, **QUIET)
        restored = [self.status, self.prompt, self.paint, self.stop]
        painting.failure(self._not_taken, None, restored, queue=False, **QUIET)
        self.stop.click(self._stop, None, self.status, queue=False, **QUIET)
        self.draw.click(lambda: random.randrange(10**6), None, self.seed, **QUIET)
        shown = [self.stage_caption, self.plain_stage, self.cached_stage]
        self.stage.input(self._show_stage, [self.pair, self.stage], shown, trigger_mode="always_last", **QUIET)

    def _pictures(self) -> list[Any]:
        return [self.plain, self.plain_caption, self.cached, self.cached_caption]

    def _results(self) -> list[Any]:
        stages = [self.stage, self.stage_caption, self.plain_stage, self.cached_stage, self.cached_stage_caption]
        return [self.figures, self.apart, self.difference, *stages, self.plan]

    def _paint(
        self, prompt: str, seed: float | None, guidance: float, setting: str, visitor: gr.Request
    ) -> Iterator[dict[Any, Any]]:
        """Give what changes on the page while both pictures grow, until they are whole or the visitor stops them."""
        request = Request(prompt or "", int(seed or 0), guidance, setting)
        try:
            for pair in self.studio.paint(request):
                if visitor.session_hash in self.stopped:
                    self.stopped.discard(visitor.session_hash)
                    yield {self.status: views.stopped(), **self._buttons(painting=False)}
                    return
                yield self._grown(pair) if not pair.finished else self._whole(pair)
        except ValueError as error:
            yield {self.status: views.failed(str(error)), **self._buttons(painting=False)}
        except Exception as error:
            logger.exception("painting failed")
            sentence = f"Painting failed with {type(error).__name__}; the program's log says more."
            yield {self.status: views.failed(sentence), **self._buttons(painting=False)}

    def _not_taken(self) -> dict[Any, Any]:
        """Say why a request was not painted at all: `_paint` itself does not fail."""
        return {self.status: views.failed(TOO_MANY), **self._buttons(painting=False)}

    def _stop(self, visitor: gr.Request) -> str:
        """Let the painting end itself after its stage: what it has sent must not arrive after its end."""
        self.stopped.add(visitor.session_hash)
        return views.stopping()

    def _buttons(self, painting: bool) -> dict[Any, Any]:
        return {
            self.prompt: gr.Textbox(interactive=not painting),
            self.paint: gr.Button(interactive=not painting),
            self.stop: gr.Button(interactive=painting),
        }

    def _cleared(self, visitor: gr.Request) -> dict[Any, Any]:
        """Take away what an earlier request left."""
        self.stopped.discard(visitor.session_hash)
        pictures: list[Any] = [self.plain, self.cached, self.difference, self.plain_stage, self.cached_stage]
        return {
            self.pair: None,
            self.status: views.queued(),
            **dict.fromkeys(pictures),
            self.figures: "",
            self.apart: gr.Column(visible="hidden"),
            self.stage: gr.Slider(interactive=False),
            self.stage_caption: views.stage_caption(None, 1),
            self.plan: views.plan(None),
            **self._buttons(painting=True),
        }

    def _grown(self, pair: Pair) -> dict[Any, Any]:
        return {
            self.status: views.progress(pair),
            self.plain: pair.plain.picture,
            self.plain_caption: views.caption(pair.plain),
            self.cached: pair.cached.picture,
            self.cached_caption: views.caption(pair.cached),
        }

    def _whole(self, pair: Pair) -> dict[Any, Any]:
        last = pair.num_stages
        caption, plain, cached = self._show_stage(pair, last)
        return self._grown(pair) | {
            self.pair: pair,
            self.figures: views.figures(pair),
            self.apart: gr.Column(visible=True),
            self.difference: views.difference(pair),
            self.stage: gr.Slider(value=last, interactive=True),
            self.stage_caption: caption,
            self.plain_stage: plain,
            self.cached_stage: cached,
            self.cached_stage_caption: views.named(pair.cached),
            self.plan: views.plan(pair),
            **self._buttons(painting=False),
        }

    def _show_stage(self, pair: Pair | None, stage: int) -> tuple[str, Any, Any]:
        """Give both pictures as they were after a stage (1-based)."""
        if pair is None:
            return views.stage_caption(None, stage), None, None
        return views.stage_caption(pair, stage), pair.plain.previews[stage - 1], pair.cached.previews[stage - 1]


def _picture(name: str, alt: str, caption: str) -> tuple[gr.Image, gr.HTML]:
    """Put a picture above its caption."""
    with gr.Column(min_width=140, elem_classes="picture"):
        image = gr.Image(
            type="pil",
            format="png",
            show_label=False,
            interactive=False,
            buttons=["download", "fullscreen"],
            alt_text=alt,
            elem_id=name,
        )
        text = gr.HTML(f'<p class="caption">{caption}</p>', elem_id=f"{name}-caption")
    return image, text
