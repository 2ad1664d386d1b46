"""How well idle time foresees which version is asked for next: `make bench ONLY=prefetch`.

    traces.rs   histories, each drawn from a law of its own
    rivals.rs   LRU, LFU, Markov-1, and an oracle that knows the law but not the dice
    main.rs     replays them against comfyd's predictor; its tests hold the goals
"""

from __future__ import annotations

import subprocess
from pathlib import Path


def measure(programs: Path) -> None:
    """Prints the figures: seconds, and nothing is realized."""
    subprocess.run([programs / "examples/prefetch"], check=True)
