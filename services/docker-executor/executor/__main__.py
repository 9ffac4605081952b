"""Starts the executor: `python -m executor`."""

import logging
import sys

from pydantic import ValidationError

from executor.api import Parts, create_app
from executor.server import Server, bind
from executor.settings import ConfigurationError, Settings

log = logging.getLogger("executor")


def main() -> None:
    """Serve until SIGTERM; exit status 2 when the deployment is wrong."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        settings = Settings()
        key = settings.read_api_key()
        settings.jobs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        parts = Parts(settings)
        listener = bind(settings.socket)
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            log.error("configuration: %s: %s", f"VULS_EXECUTOR_{name}" if name else "settings", problem["msg"])  # noqa: TRY400
        sys.exit(2)
    except (ConfigurationError, OSError) as error:
        log.error("configuration: %s", error)  # noqa: TRY400 (the text says all; a traceback says less)
        sys.exit(2)
    log.info("executor serves %s, image %s, containers run as user %d", settings.socket, settings.image, settings.uid)
    Server(create_app(parts, key), parts.feed, settings.socket).run(sockets=[listener])


if __name__ == "__main__":
    main()
