"""The messages of the benchmark: 300 bytes that say which they are and when they were published."""

import json
import time

SIZE = 300  # bytes of a message
MARK = "perf:{number:06d}:{at:017d}"  # what the client looks for


def message(number: int, at: int | None = None) -> str:
    """Return a message as the peers get it, of the same size and much the same content as our own."""
    mark = MARK.format(number=number, at=time.monotonic_ns() if at is None else at)
    counts = {"verdict": "assessed", "vulnerabilities": 9, "critical": 1, "high": 3, "medium": 3, "low": 2}
    data = {"task_id": 7, "task_run_id": 15, "status": "success", "task_name": mark, "result_data": counts}
    text = json.dumps({"type": "task_update", "id": "k3f9-1842", "data": data})
    data["task_name"] = mark + " " + "x" * (SIZE - len(text) - 1)
    return json.dumps({"type": "task_update", "id": "k3f9-1842", "data": data})
