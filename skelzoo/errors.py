"""Every exception a user of skelzoo can meet, and how it warns. Each message says what is wrong, where, and what to do next."""

from __future__ import annotations

import os
import sys
import warnings

_PASSED_OVER = ("skelzoo", "contextlib", "functools", "torch", "tqdm")
"""Packages whose lines no warning names: skelzoo, and what stands as decorator, property or iterator between its functions and whoever calls them."""


class SkelzooError(Exception):
    """Base of all skelzoo errors."""

    @property
    def one_line(self) -> str:
        """The message on a single line."""
        return "; ".join(line.strip() for line in str(self).splitlines() if line.strip())


class LayoutError(SkelzooError, ValueError):
    """An unknown joint layout, or joints that do not fit the layout named."""


class AxesError(SkelzooError, ValueError):
    """An array whose shape does not fit the axes it was said to have."""


class ClipError(SkelzooError, ValueError):
    """A clip whose values cannot be used: NaN, all zero, no persons, too short, too many persons."""


class CoverageError(SkelzooError, ValueError):
    """Too few joints of the target layout can be taken from the source layout."""


class ContractError(SkelzooError, ValueError):
    """A contract that cannot be read, or that the clip or the net does not fulfil."""


class ReadError(SkelzooError, ValueError):
    """A file that cannot be read as skeleton data.

    Attributes: ``path``, the offending file.
    """

    def __init__(self, path: str | os.PathLike[str], problem: str, fix: str) -> None:
        self.path = os.fspath(path)
        super().__init__(f"{self.path}: {problem}. {fix}")


class WriteError(SkelzooError, OSError):
    """A result that cannot be written: a suffix of no known format, a folder in the way, no permission, a full disk."""


class StoreError(SkelzooError, RuntimeError):
    """A store of embeddings that cannot be gone on with: of another run, in use by one, or a shard of it keeps killing its worker."""


class ExportError(SkelzooError, RuntimeError):
    """An encoder that cannot be exported, or whose export does not give the same vectors."""


class UnknownModelError(SkelzooError, LookupError):
    """A name that is not in the manifest."""


class UnknownArchError(SkelzooError, LookupError):
    """An architecture name that is not in ``skelzoo.nets.archs``, and that ``skelzoo.register_arch`` was not given."""


class WeightsUnavailableError(SkelzooError, LookupError):
    """A known model without published weights, or a source that cannot be reached."""


class IntegrityError(SkelzooError, ValueError):
    """Bytes on disk that are not the bytes the manifest names."""


class CheckpointError(SkelzooError, ValueError):
    """Weights or a ``config.json`` that do not fit the net."""


class ManifestError(SkelzooError, ValueError):
    """A manifest that does not follow its schema."""


class DeviceError(SkelzooError, RuntimeError):
    """A device that is not there, or that has too little memory for one clip."""


class TrainingError(SkelzooError, RuntimeError):
    """Training or probing that cannot go on: diverged loss, unusable data, a checkpoint of another run."""


class DoubtWarning(UserWarning):
    """What is odd about a clip, file or head that is taken all the same. Not an error; a category to filter warnings by."""


class MissingDependencyError(SkelzooError, ImportError):
    """An optional extra is needed.

    Raised with the pip command that installs it.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f'{purpose} needs {package}, which is not installed. Install it with: pip install "skelzoo[{extra}]"')


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn of the line that called skelzoo, however deep in skelzoo this is called."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED_OVER:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
