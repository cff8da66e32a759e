"""Folders of this machine in which models lie: those of the package, those that users registered, and any other."""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path

from skelzoo.errors import WeightsUnavailableError, WriteError
from skelzoo.weights.files import MAY_READ

NAME_PATTERN = re.compile(r"[A-Za-z0-9][\w.-]*")
"""A model's name, which is its folder's too."""


def bundled_folder(name: str) -> Path:
    """Folder of weights that ship in the package.

    Raises:
        WeightsUnavailableError: the folder is not there.
    """
    folder = Path(str(resources.files("skelzoo.weights"))) / "bundled" / name
    if not folder.is_dir():
        raise WeightsUnavailableError(f"{name}: the bundled folder {folder} is missing. Reinstall skelzoo.")
    return folder


def of_home(path: str | os.PathLike[str], settings: str) -> Path:
    """A path in which ``~`` is the user's home folder.

    Args:
        settings: which name another path, for the message.

    Raises:
        WriteError: nobody's home folder, as in a container that runs as a user it does not know.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise WriteError(f"{path}: the user that runs this has no home folder. Set HOME, or name a folder with {settings}.") from error


def models_folder() -> Path:
    """Where the models lie that a user registered under names of their own.

    ``models`` in ``$SKELZOO_HOME``, or where that is not set in ``$XDG_DATA_HOME/skelzoo``, else in ``~/.local/share/skelzoo``.

    Raises:
        WriteError: there is no home folder.
    """
    home = os.environ.get("SKELZOO_HOME") or Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "skelzoo"
    return of_home(home, "SKELZOO_HOME") / "models"


def registered_names() -> list[str]:
    """Names of the models in ``models_folder``; none where this user has no such folder, or may not look into it."""
    try:
        return sorted(p.name for p in models_folder().iterdir() if p.is_dir() and NAME_PATTERN.fullmatch(p.name))
    except OSError:
        return []


def registered_folder(name: str) -> Path | None:
    """Folder of a registered model, or None."""
    return models_folder() / name if name in registered_names() else None


def local_folder(path: str) -> Path:
    """Folder named by ``local:PATH``.

    Raises:
        WeightsUnavailableError: no such folder.
    """
    fix = "Give the folder that encoder.save(...) wrote."
    try:
        folder = Path(path).expanduser()
        if folder.is_dir():
            return folder
        why = f"there is no folder {folder.absolute()}"
    except PermissionError as error:
        why, fix = f"cannot be looked at ({error})", MAY_READ
    except (OSError, RuntimeError) as error:  # RuntimeError: ~ of nobody
        why = f"cannot be looked at ({error})"
    raise WeightsUnavailableError(f"local:{path}: {why}. {fix}")
