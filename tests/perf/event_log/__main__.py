"""Events a second of the event log: python -m tests.perf.event_log [--seconds N] [--out FILE].

Needs the test services; tests/perf/run.sh sees to them. The work is done in the web application's own environment.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.perf.fanout.servers import PYTHON, WEB_APP, direct_addresses


def main() -> int:
    """Run the measurement and return its exit status."""
    parser = argparse.ArgumentParser(prog="tests.perf.event_log", description="The benchmark of the event log.")
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--out", type=Path, default=Path("/dev/null"))
    arguments = parser.parse_args()
    command = [PYTHON, Path(__file__).with_name("measure.py"), arguments.out.absolute(), str(arguments.seconds)]
    environment = os.environ | {"PYTHONPATH": str(WEB_APP), **direct_addresses()}
    return subprocess.run(command, cwd=WEB_APP, env=environment, check=False).returncode


sys.exit(main())
