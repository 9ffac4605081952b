"""What the controller promises about a release: its id, its requirements, and that it is built only when missing."""

import importlib.util
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "files" / "build_release.py"
LOCK = """\
# made by a tool
async-timeout==5.0.1 ; python_full_version < '3.11.3' \\
    --hash=sha256:aaaa
    # via redis
backports==1.0 ; python_version < '3.11' \\
    --hash=sha256:bbbb
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:cccc
redis[hiredis]==8.1.0 \\
    --hash=sha256:dddd \\
    --hash=sha256:eeee
"""


@pytest.fixture(name="script")
def _script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_release", SCRIPT)
    assert spec
    assert spec.loader
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    monkeypatch.delitem(sys.modules, "release_sbom", raising=False)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(name="source")
def _source(tmp_path: Path) -> Path:
    source = tmp_path / "service"
    (source / "app").mkdir(parents=True)
    (source / "app" / "__init__.py").write_text("")
    (source / "requirements.lock").write_text(LOCK)
    (source / "pyproject.toml").write_text('[project]\nname = "some-app"\nversion = "1.2"\n')
    return source


def test_the_id_changes_with_the_source_and_with_the_lock_file(script: ModuleType, source: Path) -> None:
    ids = {script.release_id(source)}
    (source / "app" / "new.py").write_text("")
    ids.add(script.release_id(source))
    (source / "app" / "new.py").write_text("x = 1\n")
    ids.add(script.release_id(source))
    (source / "requirements.lock").write_text("")
    ids.add(script.release_id(source))
    assert len(ids) == 4


@pytest.mark.parametrize(
    "name", ["tests/test_x.py", ".env", "app/__pycache__/x.pyc", "requirements-dev.lock", "dist/a"]
)
def test_the_id_does_not_change_with_what_is_not_deployed(script: ModuleType, source: Path, name: str) -> None:
    before = script.release_id(source)
    (source / name).parent.mkdir(parents=True, exist_ok=True)
    (source / name).write_text("anything")
    assert script.release_id(source) == before


def test_a_service_without_lock_file_is_refused_in_one_sentence(
    script: ModuleType, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "requirements.lock").unlink()
    assert script.main(_arguments(source, tmp_path)) == 1
    assert "requirements.lock is missing" in capsys.readouterr().err


def test_requirements_are_judged_by_the_hosts_python_not_by_this_one(script: ModuleType) -> None:
    old, new = script.requirements_for(LOCK, "3.11"), script.requirements_for(LOCK, "3.13")
    assert "async-timeout==5.0.1 \\\n    --hash=sha256:aaaa" in old
    assert "async-timeout" not in new
    for text in (old, new):
        assert "redis[hiredis]==8.1.0 \\\n    --hash=sha256:dddd \\\n    --hash=sha256:eeee\n" in text
        assert not any(word in text for word in ("backports", "colorama", "#"))


def _wheel(path: Path, name: str, version: str, more: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            f"{name.replace('-', '_')}-{version}.dist-info/METADATA",
            f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{more}",
        )


def _check_sbom(sbom: dict[str, Any], identity: str) -> None:
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    assert sbom["metadata"]["component"]["bom-ref"] == f"some-app@{identity}"
    (redis,) = sbom["components"]
    assert redis["purl"] == "pkg:pypi/redis@8.1.0"
    assert redis["licenses"] == [{"license": {"id": "MIT"}}] or redis["licenses"] == [{"expression": "MIT"}]
    assert redis["hashes"][0]["alg"] == "SHA-256"
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in sbom["dependencies"]}
    assert needs[f"some-app@{identity}"] == ["pkg:pypi/redis@8.1.0"]


def test_a_release_names_the_commit_that_it_was_built_from(
    script: ModuleType, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(source.parent))
    assert script.commit_of(source) == "unknown"
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "--message=first"]):
        subprocess.run(["git", "-C", source, *command], check=True)
    commit = script.commit_of(source)
    assert re.fullmatch("[0-9a-f]{40}", commit)
    (source / "new.py").write_text("")
    assert script.commit_of(source) == f"{commit} and changes"


def test_an_archive_that_is_there_is_not_built_again(
    script: ModuleType,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[str, ...]] = []

    def pip(*arguments: str, environment: dict[str, str] | None = None) -> None:
        del environment
        calls.append(arguments)
        if arguments[0] == "wheel":
            out = Path(next(word for word in arguments if word.startswith("--wheel-dir=")).partition("=")[2])
            out.mkdir()
            _wheel(out / "some_app-1.2-py3-none-any.whl", "some-app", "1.2", "Requires-Dist: redis>=8\n")
        else:
            out = Path(next(word for word in arguments if word.startswith("--dest=")).partition("=")[2])
            _wheel(out / "redis-8.1.0-py3-none-any.whl", "redis", "8.1.0", "License-Expression: MIT\n")

    monkeypatch.setattr(script, "run_pip", pip)
    assert script.main([*_arguments(source, tmp_path), "--check"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] is True
    assert not calls, "a dry run builds nothing"

    assert script.main(_arguments(source, tmp_path)) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["changed"] is True
    with tarfile.open(first["archive"]) as tar:
        assert tar.getnames() == [
            "commit",
            "requirements.txt",
            "sbom.cdx.json",
            "wheels/redis-8.1.0-py3-none-any.whl",
            "wheels/some_app-1.2-py3-none-any.whl",
            "wheels/uv",
        ]
        assert {entry.uid for entry in tar} == {0}
        requirements = tar.extractfile("requirements.txt")
        assert requirements
        assert b"some-app==1.2 --hash=sha256:" in requirements.read()
        document = tar.extractfile("sbom.cdx.json")
        assert document
        sbom = json.load(document)
    _check_sbom(sbom, first["id"])

    built = len(calls)
    assert script.main(_arguments(source, tmp_path)) == 0
    assert json.loads(capsys.readouterr().out) == first | {"changed": False}
    assert len(calls) == built


def test_a_failed_build_leaves_no_archive(
    script: ModuleType, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: str, **__: dict[str, str]) -> None:
        raise script.BuildError("no index")

    monkeypatch.setattr(script, "run_pip", fail)
    assert script.main(_arguments(source, tmp_path)) == 1
    assert not list((tmp_path / "artifacts").glob("*.tar"))


def test_old_archives_of_the_same_service_and_python_go(script: ModuleType, tmp_path: Path) -> None:
    names = [f"app-{digit * 12}-py313-x86_64.tar" for digit in "12345"]
    others = ["app-111111111111-py311-x86_64.tar", "app-two-111111111111-py313-x86_64.tar"]
    for age, name in enumerate([*names, *others]):
        (tmp_path / name).write_text("")
        script.os.utime(tmp_path / name, (age, age))
    script.forget_old(tmp_path / names[-1], "app")
    assert {path.name for path in tmp_path.iterdir()} == {*names[2:], *others}


def _arguments(source: Path, tmp_path: Path) -> list[str]:
    return [
        *("--name", "some-app", "--source", str(source), "--python", "3.13"),
        *("--artifacts", str(tmp_path / "artifacts"), "--cache", str(tmp_path / "cache")),
    ]
