"""A terminal that is recorded: commands are typed, run on a pseudo-terminal, and played faster where they wait.

What it writes is an asciicast of version 2: a header, then one line for each output, `[seconds, "o", text]`.
"""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import shlex
import struct
import termios
import time
from pathlib import Path

COLUMNS, ROWS = 80, 24

_PROMPT = "\x1b[1;32m$\x1b[0m "
_KEY_S = 0.03
_READ_S = 2.5
"""How long a reader gets after each command."""
_LONGEST_S = 7.0
"""How long any command takes in the recording."""
_FRAME_S = 0.2
"""Outputs closer than this are shown as one: each becomes a frame of the picture."""


class Recording:
    """What was typed and shown so far."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._directory = directory
        self._environment = environment
        self._shown: list[tuple[float, str]] = []
        self._now = 0.0

    def play(self, command: str) -> int:
        """Types the command and runs it to its end; returns its exit status."""
        self._show(0.0, _PROMPT)
        self._show(0.8, "")
        for key in command:
            self._show(_KEY_S, key)
        self._show(0.5, "\r\n")
        outputs, status = _run(shlex.split(command), self._directory, self._environment)
        took = outputs[-1][0] if outputs else 0.0
        faster = max(1.0, took / _LONGEST_S)
        began = self._now
        for moment, text in outputs:
            self._show(began + moment / faster - self._now, text)
        self._show(_READ_S, "")
        return status

    def write(self, cast: Path) -> None:
        """Writes what was recorded."""
        header = {"version": 2, "width": COLUMNS, "height": ROWS}
        events = [[round(moment, 3), "o", text] for moment, text in _frames(self._shown)]
        cast.write_text("".join(json.dumps(line) + "\n" for line in [header, *events]))

    def _show(self, after_s: float, text: str) -> None:
        self._now += max(0.0, after_s)
        self._shown.append((self._now, text))


def _frames(shown: list[tuple[float, str]]) -> list[tuple[float, str]]:
    frames: list[tuple[float, str]] = []
    for moment, text in shown:
        if frames and moment - frames[-1][0] < _FRAME_S:
            frames[-1] = (frames[-1][0], frames[-1][1] + text)
        else:
            frames.append((moment, text))
    return frames


def _run(words: list[str], directory: Path, environment: dict[str, str]) -> tuple[list[tuple[float, str]], int]:
    child, terminal = pty.fork()
    if child == 0:
        # Before the command can ask for it.
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.chdir(directory)
        os.execvpe(words[0], words, environment)
    # A character may arrive in two pieces.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    began, outputs = time.monotonic(), []
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break  # Linux's way to say that the child's side is closed
        if not data:
            break
        outputs.append((time.monotonic() - began, decoder.decode(data)))
    os.close(terminal)
    return outputs, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
