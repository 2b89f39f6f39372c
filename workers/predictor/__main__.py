"""`python -m workers.predictor [--socket PATH]`: one predictor, on HEADWAY_PREDICTOR_HOST and _PORT or on a socket."""

import argparse
import sys

import uvicorn

from services.contract.errors import DeviceUnavailable
from services.process import tether
from services.settings import Settings, settings
from workers.predictor.app import Predictor, create_app


def main(config: Settings, socket: str | None) -> int:
    config.start_logging()
    try:
        predictor = Predictor(config.predictor_device, config.files_at, config.weights_source, config.timing)
    except DeviceUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    options = uvicorn.Config(
        create_app(predictor, config.job_weights, config.timing.prediction),
        uds=socket,
        host=config.predictor_host,
        port=config.predictor_port,
        log_level=config.log_level.lower(),
        access_log=False,
        server_header=False,
    )
    server = uvicorn.Server(options)
    server.run()
    return 0 if server.started else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", help="listen here, and on no port")
    parser.add_argument("--tethered", action="store_true", help="end when stdin does")
    return parser.parse_args()


if __name__ == "__main__":
    tether.hold_if_asked()
    sys.exit(main(settings(), _options().socket))
