"""File systems small enough to fill."""

from __future__ import annotations

import subprocess
from pathlib import Path


def mount(disk: Path) -> bool:
    """Mount 400 kB; tell whether that is allowed here."""
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk]
    return not subprocess.run(command, capture_output=True, check=False).returncode


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def unmount(disk: Path) -> None:
    subprocess.run(["umount", "-l", disk], check=True)
