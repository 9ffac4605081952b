"""`/static`: the page's own files. Revalidated each time, so that a release shows at once."""

from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles


class RevalidatedFiles(StaticFiles):
    """Static files whose copies a browser asks about before it uses them (answered 304 by ETag)."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:  # noqa: ANN401  (handed on as they are)
        """Return a file with `Cache-Control: no-cache`."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def files(folder: Path) -> RevalidatedFiles:
    """Serve the files of `folder`."""
    return RevalidatedFiles(directory=folder)
