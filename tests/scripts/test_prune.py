"""Images of earlier recipes do not pile up."""

import os
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TWO_WEEKS = 15 * 24 * 3600
# Knows four tags, and writes down which it was told to remove.
ENGINE = """#!/bin/sh
case "$1 $2" in
"image ls") printf '%s\\n' local current kept gone ;;
"image rm") echo "$3" >>"$REMOVED" ;;
*) exit 1 ;;
esac
"""


def test_what_has_neither_a_name_nor_a_recent_archive_goes(tmp_path: Path) -> None:
    engine, images, removed = tmp_path / "docker", tmp_path / "cache/images", tmp_path / "removed"
    engine.write_text(ENGINE)
    engine.chmod(0o755)
    images.mkdir(parents=True)
    for tag in ("kept", "gone"):
        (images / f"vuls-live-vuls-{tag}.tar").touch()
    (images / "vuls-live-base-trixie-1.tar").touch()
    long_ago = time.time() - TWO_WEEKS
    for name in ("vuls-live-vuls-gone.tar", "vuls-live-base-trixie-1.tar"):
        os.utime(images / name, (long_ago, long_ago))
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "VULS_LIVE_CACHE": str(tmp_path / "cache"),
        "REMOVED": str(removed),
    }
    script = f'source "{ROOT}/scripts/lib.sh"; prune_images vuls-live/vuls local current'
    subprocess.run(["bash", "-c", script], env=environment, timeout=30, check=True)
    assert removed.read_text().split() == ["vuls-live/vuls:gone"]
    kept = {path.name for path in images.iterdir()}
    assert kept == {"vuls-live-vuls-kept.tar", "vuls-live-base-trixie-1.tar"}, "what belongs to others stays"
