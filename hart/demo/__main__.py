"""The command: `python -m hart.demo`."""

import logging
import socket
import sys
from collections.abc import Sequence

from hart.utils.command_line import BAD_INPUT
from hart.utils.extras import need_extra

logger = logging.getLogger("hart.demo")


def main(argv: Sequence[str] | None = None) -> int:
    """Load the model, then serve the page until interrupted.

    Returns:
        0; 2 where settings, a file or an extra are not as they must be, said in one sentence.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        need_extra("demo", "hart.demo", "gradio", "pydantic_settings", "PIL")
        _serve(argv)
    except (ImportError, ValueError, OSError) as error:
        sys.stderr.write(f"python -m hart.demo: {error}\n")
        return BAD_INPUT
    return 0


def _serve(argv: Sequence[str] | None) -> None:
    # Here, so that a missing extra is a sentence.
    from hart import sample_prompts
    from hart.demo.fidelity import psnr_to_truth
    from hart.demo.page import Page, launch_options
    from hart.demo.settings import DemoSettings
    from hart.demo.studio import Studio
    from hart.settings import load_settings

    settings = load_settings(DemoSettings, argv, "A page that paints a prompt with and without the stage cache.")
    pipeline = settings.load_pipeline()
    judge = psnr_to_truth if settings.model_path is None else None
    studio = Studio(pipeline, settings.choices(pipeline.model.config.patch_nums), judge)
    studio.warm_up(sample_prompts()[0])
    page = Page(studio, settings.guidance_scale)
    port = settings.port or _free_port(settings.host)
    _, address, _ = page.blocks.launch(
        server_name=settings.host, server_port=port, prevent_thread_lock=True, **launch_options()
    )
    logger.info("the page is at %s; Ctrl-C ends it", address)
    page.blocks.block_thread()


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as server:
        port: int = server.getsockname()[1]
    return port


if __name__ == "__main__":
    sys.exit(main())
