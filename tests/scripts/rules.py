"""Loads the plugins of a role, which are no package, for tests."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def plugin(role: str, kind: str, name: str) -> ModuleType:
    """Return the module of a role's plugin."""
    path = ROOT / "roles" / role / kind / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{role}_{kind}_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings(path: Path) -> dict[str, Any]:
    """Return what a YAML file holds. The library has no types, so it is no import."""
    held: dict[str, Any] = importlib.import_module("yaml").safe_load(path.read_text())
    return held
