"""The environment in which tests run Ansible's programs."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def of_the_checkout(*foreign: str, **further: str) -> dict[str, str]:
    """Return this process' environment with Ansible's settings of the checkout and nobody else's.

    Molecule hands down its own: colours among them, which hide the counts from whoever reads the output.

    Args:
        foreign: How names begin that are left out, too.
        further: What is set besides.

    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", *foreign))}
    return kept | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"} | further
