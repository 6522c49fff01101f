"""A container's own /opt/ml: its directory is mounted there, for this process and its children only.

Code written for SageMaker names /opt/ml outright, the SageMaker SDK's own entry scripts among it, and several jobs run
side by side on one machine. So each job gets a mount namespace of its own; a user other than root gets it inside a user
namespace, in which the user stays who it is. Nothing is created on the machine: where there is no /opt/ml, the job sees
an /opt with the same entries and ml beside them.

See mount_namespaces(7) and user_namespaces(7). warm.py loads this file: nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import os
import sys

PATH = "/opt/ml"

# linux/sched.h, linux/mount.h, linux/prctl.h
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_NOSUID = 0x2
_MS_NODEV = 0x4
_MS_BIND = 0x1000
_MS_MOVE = 0x2000
_MS_REC = 0x4000
_MS_PRIVATE = 0x40000
_PR_SET_DUMPABLE = 4


def mount(base: str) -> None:
    """Make a directory this process's /opt/ml. The process must have one thread.

    Args:
        base: the directory; it stays where it is as well.

    Raises:
        OSError: the system does not allow it, or is not Linux.
    """
    if sys.platform != "linux":
        raise OSError(f"{sys.platform} has no mount namespaces")
    libc = ctypes.CDLL(None, use_errno=True)
    _separate(libc)
    _mount(libc, "", "/", "", _MS_REC | _MS_PRIVATE)
    if os.path.isdir(PATH):
        _mount(libc, base, PATH, "", _MS_BIND | _MS_REC)
        return
    parent, name = os.path.split(PATH)
    stage = os.path.join(base, f".{os.path.basename(parent)}")
    os.makedirs(stage, exist_ok=True)
    _mount(libc, "tmpfs", stage, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755,size=1m")
    for entry in os.scandir(parent):
        _repeat(libc, entry, os.path.join(stage, entry.name))
    os.mkdir(os.path.join(stage, name))
    _mount(libc, base, os.path.join(stage, name), "", _MS_BIND)
    _mount(libc, stage, parent, "", _MS_MOVE)
    os.rmdir(stage)


def _separate(libc: ctypes.CDLL) -> None:
    """Leave the machine's mount namespace; for anybody but root that takes a user namespace."""
    if os.geteuid() == 0 and libc.unshare(_CLONE_NEWNS) == 0:
        return
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWUSER) != 0:
        raise _failed("unshare")
    libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # else /proc/self belongs to root from here on
    for file, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{file}", "w") as target:
            target.write(text)


def _repeat(libc: ctypes.CDLL, entry: os.DirEntry[str], target: str) -> None:
    """The same entry at another place."""
    if entry.is_symlink():
        os.symlink(os.readlink(entry.path), target)
        return
    if entry.is_dir():
        os.mkdir(target)
    else:
        with open(target, "w"):
            pass
    _mount(libc, entry.path, target, "", _MS_BIND | _MS_REC)


def _mount(libc: ctypes.CDLL, source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    if libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()) != 0:
        raise _failed(f"mount {target}")


def _failed(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
