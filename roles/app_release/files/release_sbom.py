"""The list of components of a release (SBOM), in CycloneDX 1.6, made from the wheels that are in it."""

import hashlib
import uuid
from datetime import UTC, datetime
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

FILE = "sbom.cdx.json"  # the name that the specification recommends ends in .cdx.json
# Licences that a classifier names, for packages that do not state an SPDX expression yet.
_CLASSIFIERS = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD License",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


def sbom(own: Path, wheels: list[Path], identity: str, python: str, built: int) -> str:
    """Return the document as JSON, the same for the same content.

    `own` is the service's wheel, `wheels` are those of its lock file, `identity` is the release's id, `python` the
    version of the hosts' Python, and `built` the time that is noted, in seconds since 1970.
    """
    service = _component(own, _metadata(own), ComponentType.APPLICATION)
    service.bom_ref.value = f"{service.name}@{identity}"
    found = {canonicalize_name(service.name): (service, _metadata(own))}
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, f"{service.name}-{identity}-{python}"))
    bom.metadata.timestamp = datetime.fromtimestamp(built, UTC)
    bom.metadata.component = service
    for wheel in sorted(wheels):
        metadata = _metadata(wheel)
        component = _component(wheel, metadata, ComponentType.LIBRARY)
        found[canonicalize_name(component.name)] = (component, metadata)
        bom.components.add(component)
    for component, metadata in found.values():
        names = _needs(metadata, python)
        bom.register_dependency(component, [found[name][0] for name in names if name in found])
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode("utf-8"))


def _component(wheel: Path, metadata: Message, kind: ComponentType) -> Component:
    name, version = metadata["Name"], metadata["Version"]
    purl = PackageURL(type="pypi", name=canonicalize_name(name), version=version)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    licence = _licence(metadata)
    return Component(
        name=name,
        version=version,
        type=kind,
        purl=purl,
        bom_ref=purl.to_string(),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
    )


def _licence(metadata: Message) -> str | None:
    """Return the package's own SPDX expression, or what its classifiers or its free text say in a line."""
    if metadata["License-Expression"]:
        return str(metadata["License-Expression"])
    for classifier in metadata.get_all("Classifier", []):
        last = classifier.rpartition(" :: ")[2]
        if classifier.startswith("License ::") and last != "OSI Approved":
            return _CLASSIFIERS.get(last, last)
    text = (metadata["License"] or "").strip()
    return text if text and "\n" not in text else None


def _needs(metadata: Message, python: str) -> list[str]:
    """Return the names that a package asks for on a host with Python `python`, extras included."""
    host = {
        "python_version": python,
        "python_full_version": f"{python}.99",
        "sys_platform": "linux",
        "os_name": "posix",
    }
    extras = ["", *metadata.get_all("Provides-Extra", [])]
    names = []
    for line in metadata.get_all("Requires-Dist", []):
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue
        if wanted.marker is None or any(wanted.marker.evaluate(host | {"extra": extra}) for extra in extras):
            names.append(canonicalize_name(wanted.name))
    return sorted(set(names))
