"""Serve a model over HTTP as OpenAI's image clients expect it. HART_API_KEY, if set, is the key they must send."""

import contextlib
import logging
import signal
import sys
from collections.abc import Sequence
from typing import Any

import hart.serve  # noqa: F401 - names the extra where it is missing, before anything else does
from hart.serve.settings import ServiceSettings
from hart.settings import load_settings
from hart.utils.command_line import BAD_INPUT

logger = logging.getLogger("hart.serve")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the service until SIGINT or SIGTERM; return its exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        settings = load_settings(ServiceSettings, argv, __doc__)
        # Imported late: help and bad settings should not wait for torch.
        import uvicorn

        from hart.serve.app import build_app
        from hart.serve.painter import Painter

        painter = Painter(settings.load_pipeline(), settings.guidance_scale, settings.batch_size)
    except (ValueError, OSError, ImportError) as error:
        logger.error("%s", " ".join(str(error).split()))
        return BAD_INPUT
    logger.info("%s pictures on %s", painter.size, painter.pipeline.device)
    config = uvicorn.Config(
        build_app(settings, painter),
        host=settings.host,
        port=settings.port,
        access_log=False,  # the service writes its own line, without what a client sent
        log_config=None,
        timeout_graceful_shutdown=int(settings.time_limit) + 1,
    )
    # uvicorn finishes what runs and then sends itself the signal again, which would end in a status of failure.
    signal.signal(signal.SIGTERM, _leave)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run()
    return 0


def _leave(number: int, frame: Any) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
