"""The pinned wheels: which a language needs, which are in the cache, what they say of themselves."""

import re
import zipfile
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path

from ..errors import UsageError
from ..files import read_lines, sha256

PIN = re.compile(
    r"(?P<name>[\w.-]+)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})(?:\s+#(?P<languages>.*))?"
)
LICENCE_CLASSIFIER = "License :: "


@dataclass(frozen=True)
class Wheel:
    """One line of the pin list."""

    name: str
    version: str
    sha256: str

    def in_cache(self, cache: Path) -> tuple[Path | None, bool]:
        """Returns where the wheel lies and whether it is whole."""
        damaged = None
        for path in sorted(cache.glob("*.whl")):
            name, version = [*path.stem.split("-"), ""][:2]
            if (canonical(name), version) == (canonical(self.name), self.version):
                if sha256(path) == self.sha256:
                    return path, True
                damaged = path
        return damaged, False


def canonical(name: str) -> str:
    """The form of a project's name that all its spellings share."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(pin_list: Path, language: str) -> list[Wheel]:
    """Reads the wheels that the pin list has for a language.

    Raises:
        UsageError: if a line of the list is invalid, or no wheel is for the language.
    """
    wheels = []
    for number, line in enumerate(read_lines(pin_list), 1):
        if not line.strip() or line.startswith("#"):
            continue
        pin = PIN.fullmatch(line.strip())
        if not pin:
            raise UsageError(f"{pin_list} line {number} is not NAME==VERSION --hash=sha256:... [# LANGUAGES]")
        if pin["languages"] is None or language in pin["languages"].split():
            wheels.append(Wheel(pin["name"], pin["version"], pin["sha256"]))
    if not wheels:
        raise UsageError(f"{pin_list} has no wheel for {language}")
    return wheels


def licence(path: Path) -> str:
    """The licence that a wheel's own metadata names."""
    with zipfile.ZipFile(path) as wheel:
        name = next((name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")), None)
        metadata = BytesParser().parsebytes(wheel.read(name) if name else b"")
    named = [entry for entry in metadata.get_all("Classifier", []) if entry.startswith(LICENCE_CLASSIFIER)]
    if metadata["License-Expression"]:
        return metadata["License-Expression"]
    return named[0].rpartition(" :: ")[2] if named else (metadata["License"] or "not named").split("\n")[0]
