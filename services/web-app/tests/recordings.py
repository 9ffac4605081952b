"""Real runs of Vuls, recorded: what the programs wrote and how they ended."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).parents[3] / "tests" / "data" / "vuls" / "recordings"


@dataclass(frozen=True)
class Recording:
    """One recorded run of `vuls scan` or `vuls report`."""

    name: str

    @property
    def exit_status(self) -> int:
        return int((ROOT / self.name / "exit").read_text())

    @property
    def log(self) -> list[str]:
        return (ROOT / self.name / "stderr").read_text().splitlines()

    def result(self, server: str) -> dict[str, Any]:
        (path,) = (ROOT / self.name / "results").glob(f"*/{server}.json")
        document: dict[str, Any] = orjson.loads(path.read_bytes())
        return document
