"""How the handler comes to a daemon: the places, the start, the first words."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import multiprocessing
import tempfile
import time
import unittest
from pathlib import Path

from comfyd_handler import daemon
from comfyd_handler.connection import Connection
from comfyd_handler.errors import Failure
from comfyd_handler.settings import SYSTEM_SOCKET, Settings

from .machine import golden, settings


class Places(unittest.TestCase):
    """Handler and comfyctl must come to the same socket."""

    def test_the_socket_is_the_first_place_that_is_set(self) -> None:
        for variables, expected in (
            ({"COMFYD_SOCKET": "/s.sock", "XDG_RUNTIME_DIR": "/run/u", "HOME": "/h"}, "/s.sock"),
            ({"COMFYD_SOCKET": " ", "XDG_RUNTIME_DIR": "/run/u", "HOME": "/h"}, "/run/u/comfyd.sock"),
            ({"COMFYD_STATE_DIR": "/st", "XDG_STATE_HOME": "/x"}, "/st/comfyd.sock"),
            ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/comfyd/comfyd.sock"),
            ({"HOME": "/h"}, "/h/.local/state/comfyd/comfyd.sock"),
            ({"COMFY_VOLUME": "/workspace"}, "/workspace/.local/state/comfyd/comfyd.sock"),
        ):
            self.assertEqual(str(Settings.read(variables).socket), expected, variables)

    def test_what_cannot_be_followed_is_refused(self) -> None:
        for variables in (
            {"COMFYD_SOCKET": "s.sock"},
            {"COMFYD_SOCKET": "/" + "x" * 107},
            {"OUTPUT_MODE": "ftp"},
            {"COMFY_MAX_CONCURRENCY": "0"},
            {"COMFYD_VOLUME_WAIT": "soon"},
            {"BUCKET_ENDPOINT_URL": "bucket"},
        ):
            with self.assertRaises(Failure, msg=variables):
                settings(**variables)

    def test_secrets_are_not_shown(self) -> None:
        read = settings(
            BUCKET_ENDPOINT_URL="https://s3.example", BUCKET_SECRET_ACCESS_KEY="s3cr3t", COMFY_ORG_API_KEY="k3y"
        )
        self.assertNotIn("s3cr3t", repr(read))
        self.assertNotIn("k3y", repr(read))


class Machines(unittest.TestCase):
    """The socket that systemd keeps for the whole machine."""

    def test_it_is_the_place_after_the_users_own_and_before_a_start(self) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            call = json.loads(await reader.readline())["id"]
            writer.write(json.dumps({"jsonrpc": "2.0", "id": call, "result": golden("hello_answer")}).encode() + b"\n")

        async def serve_and_connect(home: str) -> None:
            # Where none listens, one would be started.
            alone = settings(HOME=home, COMFYD_BIN="/nonexistent")
            self.assertEqual(alone.system_socket, SYSTEM_SOCKET)
            beside = dataclasses.replace(alone, system_socket=Path(home, "system.sock"))
            with self.assertRaisesRegex(Failure, "failed to start the daemon"):
                await daemon.connect(beside)
            async with await asyncio.start_unix_server(answer, beside.system_socket):
                (await daemon.connect(beside)).close()

        with tempfile.TemporaryDirectory() as home:
            asyncio.run(serve_and_connect(home))

    def test_who_names_a_socket_means_that_one(self) -> None:
        self.assertIsNone(settings(COMFYD_SOCKET="/s.sock").system_socket)


class Daemons(unittest.TestCase):
    """A daemon that cannot be started."""

    def test_it_is_told_with_its_last_words(self) -> None:
        with tempfile.TemporaryDirectory() as home:
            program = Path(home, "broken")
            program.write_text("#!/bin/sh\necho there is no luck today >&2\nexit 3\n")
            program.chmod(0o755)
            for named, words, detail in (
                (str(program), "ended with 3", "there is no luck today"),
                ("/nonexistent", "`/nonexistent`: No such file", "hint: name it with COMFYD_BIN"),
            ):
                with self.assertRaises(Failure) as caught:
                    asyncio.run(daemon.connect(settings(HOME=home, COMFYD_BIN=named)))
                self.assertIn(words, caught.exception.message)
                self.assertIn(detail, caught.exception.details)


class Connections(unittest.TestCase):
    """A connection to a daemon that says what a test wants."""

    def test_a_forked_child_does_not_hold_it(self) -> None:
        async def serve_and_fork(socket: Path) -> bytes:
            ended: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(self._answer(await reader.readline(), protocol=1))
                ended.set_result(await reader.read())
                writer.close()

            async with await asyncio.start_unix_server(serve, socket):
                connection = await Connection.open(socket)
                child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
                child.start()
                try:
                    connection.close()
                    return await asyncio.wait_for(ended, 10)
                finally:
                    child.kill()
                    child.join()

        with tempfile.TemporaryDirectory() as place:
            self.assertEqual(asyncio.run(serve_and_fork(Path(place, "s"))), b"")

    def test_a_daemon_of_another_protocol_is_refused(self) -> None:
        async def serve_and_open(socket: Path) -> None:
            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(self._answer(await reader.readline(), protocol=2))
                writer.close()

            async with await asyncio.start_unix_server(serve, socket):
                await Connection.open(socket)

        with tempfile.TemporaryDirectory() as place, self.assertRaises(Failure) as caught:
            asyncio.run(serve_and_open(Path(place, "s")))
        self.assertEqual(caught.exception.kind, "protocol")

    def _answer(self, line: bytes, protocol: int) -> bytes:
        """Returns the answer to `hello`."""
        hello = json.loads(line)
        self.assertEqual(set(hello["params"]) - set(golden("hello")), set())
        result = golden("hello_answer") | {"protocol": protocol}
        return json.dumps({"jsonrpc": "2.0", "id": hello["id"], "result": result}).encode() + b"\n"
