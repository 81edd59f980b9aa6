"""What lies in a model folder's place may be no file of it."""

from __future__ import annotations

import stat
from pathlib import Path

from xqg_qdrant.errors import ModelError


def check_inside(path: Path, folder: Path | None) -> None:
    """Check that a path is no device or pipe, which never end, and leads nowhere else.

    One that does not exist passes: opening it says so.

    Args:
        path: of a file.
        folder: that it must lie in, links followed; anywhere when None.

    Raises:
        ModelError: it is a link out of the folder, or no plain file.
    """
    try:
        mode = path.stat().st_mode
        resolved = path.resolve(strict=True)
        home = None if folder is None else folder.resolve(strict=True)
    except FileNotFoundError:
        return
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a NUL
        raise ModelError(f"{path}: cannot be read: {error}") from None
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ModelError(f"{path}: no plain file but a device or a pipe: the folder is hostile")
    if home is not None and not resolved.is_relative_to(home):
        raise ModelError(
            f"{path}: a link to {resolved}, outside the model folder: if you made that link, copy "
            "the folder with its files (cp -rL)"
        )
