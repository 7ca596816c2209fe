"""What is counted, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Measures:
    """Counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "quickstudy_requests",
            "Answered requests.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "quickstudy_request_seconds",
            "From the arrival of a request to its answer.",
            ("route",),
            registry=self.registry,
        )
        self.batch_items = Histogram(
            "quickstudy_batch_items",
            "Items that were encoded at once.",
            buckets=_SIZES,
            registry=self.registry,
        )
        self.batch_seconds = Histogram(
            "quickstudy_batch_seconds", "Time to encode a batch.", registry=self.registry
        )
        self.answers = Counter(
            "quickstudy_answers", "Answers by kind.", ("name", "kind"), registry=self.registry
        )
        self.active = Gauge("quickstudy_active", "Requests in work.", registry=self.registry)

    def batch(self, items: int, seconds: float) -> None:
        """Count a batch."""
        self.batch_items.observe(items)
        self.batch_seconds.observe(seconds)

    def page(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
