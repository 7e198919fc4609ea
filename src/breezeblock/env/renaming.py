"""Renaming a file to a name that must not be anybody's yet."""

import errno
import functools
import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ctypes

__all__ = ["rename_new"]

_AT_FDCWD: Final = -100
_NOREPLACE: Final = 1
# Filesystems that know no such flag (NFS), kernels and C libraries that know no such call.
_CANNOT: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


def rename_new(source: PurePosixPath, target: PurePosixPath) -> None:
    """Rename in one step, and raise FileExistsError where `target` is there. OSError as os.rename has it.

    Where the filesystem cannot do both in one step it is looked for first: then only somebody who makes that very name by hand
    between the two lines is overwritten.
    """
    number = _try(os.fsencode(source), os.fsencode(target))
    if number == 0:
        return
    if number not in _CANNOT:
        raise OSError(number, os.strerror(number), str(source), None, str(target))
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    os.rename(source, target)


def _try(source: bytes, target: bytes) -> int:
    """The number of the error; 0 for none."""
    import ctypes  # takes a while, and most processes never come here

    function = _renameat2()
    if function is None:
        return errno.ENOSYS
    return ctypes.get_errno() if function(_AT_FDCWD, source, _AT_FDCWD, target, _NOREPLACE) else 0


@functools.cache
def _renameat2() -> "ctypes._NamedFuncPointer | None":
    import ctypes

    function: ctypes._NamedFuncPointer | None = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return function
