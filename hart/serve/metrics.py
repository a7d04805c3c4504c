"""What `/metrics` tells, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
BATCHES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The service's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("hart_requests", "Answered requests.", ["path", "status"], registry=self.registry)
        self.seconds = Histogram(
            "hart_request_seconds", "From a request to the end of its answer.", ["path"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.pictures = Counter("hart_pictures", "Painted pictures.", registry=self.registry)
        self.batches = Histogram("hart_batch_pictures", "Pictures of a batch.", buckets=BATCHES, registry=self.registry)
        self.painting = Histogram("hart_paint_seconds", "Painting a batch.", buckets=SECONDS, registry=self.registry)
        self.occupied = Gauge("hart_queue_pictures", "Pictures that wait or are being painted.", registry=self.registry)

    def text(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self.registry)
