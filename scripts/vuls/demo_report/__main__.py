"""`python3 -m demo_report`: what the local stack's `vuls report` runs."""

import sys

from demo_report.cli import main

sys.exit(main(sys.argv[1:]))
