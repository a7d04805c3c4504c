"""The service of `python -m hart.serve` on a Ray cluster: replicas, and more of them while requests wait.

Needs the extra `ray`. All flags, variables and files of the service count here, too, and those of the replicas.
"""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hart.utils.extras import need_extra

need_extra("ray", "examples/ray_serve.py", "ray", "fastapi", "pydantic_settings")

from pydantic import Field  # noqa: E402
from ray import serve  # noqa: E402

from hart.serve.app import build_app  # noqa: E402
from hart.serve.batcher import Batcher, Entry  # noqa: E402
from hart.serve.painter import Painter  # noqa: E402
from hart.serve.settings import ServiceSettings  # noqa: E402
from hart.settings import load_settings  # noqa: E402
from hart.utils.command_line import BAD_INPUT  # noqa: E402


class RayServiceSettings(ServiceSettings):
    """Settings of the service, and how many of it run."""

    min_replicas: int = Field(1, ge=1, description="models that are always loaded")
    max_replicas: int = Field(1, ge=1, description="models at most; each asks for the CPUs and GPUs below")
    replica_cpus: float = Field(1, ge=0, description="CPUs of a replica, which are its threads, too")
    replica_gpus: float = Field(0, ge=0, description="GPUs of a replica")
    target_requests: float = Field(4, gt=0, description="open requests per replica that are thought right")


class RayBatcher(Batcher):
    """The service's queue with batches put together by `ray.serve.batch`."""

    def start(self) -> None:
        """Begin to paint; needs the replica's event loop."""

        @serve.batch(max_batch_size=self.batch_size, batch_wait_timeout_s=self.batch_wait)
        async def paint_together(entries: list[Entry]) -> list[None]:
            batch = [entry for entry in entries if entry in self._waiting]
            for entry in batch:
                self._waiting.remove(entry)
            if batch:
                await self.paint_batch(batch)
            return [None] * len(entries)

        self._paint_together = paint_together
        self._tasks: set[Any] = set()

    def arrived(self, entry: Entry) -> None:
        """Hand a job to Ray's queue of batches."""
        task = asyncio.ensure_future(self._paint_together(entry))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def application(settings: RayServiceSettings) -> serve.Application:
    """Return the service as a Ray Serve application; models are loaded by the replicas."""

    def build() -> Any:
        import torch

        if settings.replica_cpus >= 1:
            torch.set_num_threads(int(settings.replica_cpus))
        painter = Painter(settings.load_pipeline(), settings.guidance_scale, settings.batch_size)
        return build_app(settings, painter, RayBatcher)

    deployment = serve.deployment(
        serve.ingress(build)(),
        name="hart",
        # Requests beyond the queue must reach the replica, which answers 429.
        max_ongoing_requests=settings.open_requests,
        graceful_shutdown_timeout_s=settings.time_limit,
        ray_actor_options={"num_cpus": settings.replica_cpus, "num_gpus": settings.replica_gpus},
        autoscaling_config={
            "min_replicas": settings.min_replicas,
            "max_replicas": max(settings.min_replicas, settings.max_replicas),
            "target_ongoing_requests": settings.target_requests,
        },
    )
    return deployment.bind()


def shared_pictures(settings: RayServiceSettings) -> RayServiceSettings:
    """Return settings whose folder of pictures all replicas of this machine share."""
    folder = settings.url_folder or Path(tempfile.gettempdir()) / "hart-pictures"
    return settings.model_copy(update={"url_folder": folder})


def main(argv: Sequence[str] | None = None) -> int:
    """Start the application on the cluster of this machine and wait for SIGINT."""
    try:
        settings = load_settings(RayServiceSettings, argv, __doc__, "ray_serve.py")
    except ValueError as error:
        print(f"ray_serve.py: {error}", file=sys.stderr)
        return BAD_INPUT
    serve.start(http_options={"host": settings.host, "port": settings.port})
    serve.run(application(shared_pictures(settings)), blocking=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
