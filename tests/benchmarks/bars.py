"""What the figures should reach."""

from typing import NamedTuple


class Bar(NamedTuple):
    """What a figure should reach: at least, or at most where `most`."""

    figure: str
    floor: float
    stretch: float
    most: bool = False

    def verdict(self, value: float) -> str:
        def reaches(wanted: float) -> bool:
            return value <= wanted if self.most else value >= wanted

        return "stretch" if reaches(self.stretch) else "floor" if reaches(self.floor) else "missed"


BARS = [
    Bar("tutorial / cold job, 1 epochs", 1.5, 1.9),
    Bar("tutorial / cold job, 10 epochs", 14, 18),
    Bar("tutorial / cold job, 25 epochs", 33, 45),
    Bar("tutorial / cold job, 10 epochs in bf16", 26, 36),
    Bar("tutorial / job on known images, 25 epochs", 500, 3000),
    Bar("pipeline / (decode and forward one after another)", 0.85, 0.95),
    Bar("head step, plain / ours", 6, 10),
    Bar("sweep of 16 / one job, cold", 1.15, 1.05, most=True),
    Bar("sweep of 16 / one job, known images", 3, 2, most=True),
    Bar("one pass, two workers / two independent processes", 0.93, 0.97),
    Bar("forward in fp32, OpenVINO / torch", 1.3, 1.4),
    Bar("streaming, told / silent", 1.05, 1.02, most=True),
    Bar("submit to first loss, known images, s", 1.0, 0.3, most=True),
    Bar("the same right after it / a new job", 0.2, 0.1, most=True),
    Bar("submit to running / Celery's round trip", 2.0, 1.0, most=True),
    Bar("one image, one client / (decode and bare forward)", 1.5, 1.2, most=True),
    Bar("32 clients / the pipeline's own img/s", 0.8, 0.9),
    Bar("1,000 models in turn / one model", 0.9, 0.98),
    Bar("predictor memory / torch and a backbone", 1.2, 1.1, most=True),
    Bar("predictor, start to listening, s", 3.0, 2.0, most=True),
    Bar("API start, s", 1.0, 0.7, most=True),
]
