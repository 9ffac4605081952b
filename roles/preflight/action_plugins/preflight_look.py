"""Runs the module of this name between two looks at the controller's clock.

A host that cannot be looked at is an answer too.
"""

import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Returns `look` (what the module says), or `unreachable` or `broken` with the reason; never fails."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer, with `began` and `ended` by the controller's clock (seconds since the epoch)."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        began = time.time()
        try:
            answer = self._execute_module(module_name="preflight_look", task_vars=task_vars)
        except AnsibleConnectionFailure as error:
            return {**result, "changed": False, "no_connection": str(error)}
        except AnsibleError as error:
            return {**result, "changed": False, "broken": str(error)}
        if "look" not in answer:
            words = (answer.get(key) for key in ("msg", "module_stderr", "module_stdout", "exception"))
            said = " ".join(str(word).strip() for word in words if word)
            return {**result, "changed": False, "broken": said or "the module gave no answer"}
        return {**result, "changed": False, "look": answer["look"], "began": began, "ended": time.time()}
