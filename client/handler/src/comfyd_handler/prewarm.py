"""Has the version of `COMFY_VERSION_ID` started before the first job asks for it.

In a thread, since it goes on while the SDK is imported and makes its checks. Nothing waits for it: a job
that comes meanwhile joins the same start in the daemon, and tells of its failure. The claim is given back
at once, so that jobs of other versions may have the GPU.
"""

from __future__ import annotations

import asyncio
import logging
import threading

from . import daemon
from .call import target
from .errors import Disconnected, Failure
from .settings import Settings

_log = logging.getLogger(__name__)


def start(settings: Settings) -> None:
    """Starts the daemon, and the version that the settings name."""
    # It ends with the process; the daemon then sees its connection end.
    threading.Thread(target=lambda: asyncio.run(_prewarm(settings)), name="prewarm", daemon=True).start()


async def _prewarm(settings: Settings) -> None:
    try:
        async with await daemon.connect(settings) as connection:
            if settings.version_id is None:
                return
            warm = await connection.call("warm", target(settings.version_id, settings))
            await connection.call("release", {"lease": warm["lease"]})
            _log.info("version `%s` is ready after %d ms", settings.version_id, warm["timings"]["total_ms"])
    except Failure as failure:
        _log.warning("nothing is started yet: %s", "; ".join([failure.message, *failure.details]))
    except Disconnected as error:
        _log.warning("nothing is started yet: %s", error)
