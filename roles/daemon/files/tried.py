"""Whether a release takes the settings of this environment.

Run by that release's Python. Exit status 1, and a line for each setting that it does not take: name and reason, without
the value.
"""

import sys

from app.config import get_settings
from pydantic import ValidationError


def main() -> None:
    """Answer."""
    try:
        get_settings()
    except ValidationError as error:
        for one in error.errors(include_url=False, include_context=False, include_input=False):
            sys.stdout.write(f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
