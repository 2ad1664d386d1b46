"""RunPod serverless handler for comfyd.

A job of RunPod becomes one call of `run` on comfyd's socket; everything that is hard about ComfyUI is
the daemon's. Read `main`, then `handler`: the other modules are its steps. `job`, `bucket`, `answer` and
`concurrency` are pure; only `settings` reads the environment, only `connection` knows JSON-RPC, only
`sdk` knows RunPod's package.

No module but `sdk` imports more than the standard library, and none is imported before it is needed:
a worker's cold start is paid by whoever waits for the image.
"""

__version__ = "0.1.0"
