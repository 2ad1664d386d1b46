"""Records what a start of ComfyUI does until it listens; comfyd puts it into the start as `sitecustomize`.

Python imports `sitecustomize` before anything else. This one notes the files that are opened, and at `bind` of
ComfyUI's own port, which comes after everything was loaded, the modules; then it writes all of it down and does
nothing any more. It takes itself out of the environment at once, so neither nodes nor children see it, and
whatever goes wrong in it is swallowed: a start never fails for being recorded.
"""
import os
import sys

VARIABLE = "COMFYD_RECORD"
SECRETS = ("TOKEN", "KEY", "SECRET", "PASS", "CREDENTIAL", "AUTH", "COOKIE")


def _begin():
    port, generation, out = os.environ.pop(VARIABLE).split("\n")
    here, _, rest = os.environ.pop("PYTHONPATH").partition(os.pathsep)
    if rest:
        os.environ["PYTHONPATH"] = rest
    while here in sys.path:
        sys.path.remove(here)
    sys.path_importer_cache.pop(here, None)
    sys.addaudithook(_Record(int(port), generation, out).hear)


def _chain():
    """Imports the environment's own `sitecustomize`, if it has one, in place of this one."""
    this = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # noqa: F401
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        # Who imports this one looks for it.
        sys.modules.setdefault("sitecustomize", this)


class _Record:
    def __init__(self, port, generation, out):
        self.port, self.generation, self.out, self.pid = port, generation, out, os.getpid()
        self.listening = True
        self.before = dict(os.environ)
        self.environ = None
        self.opened = {}  # in order; whether by the loader of libraries

    def hear(self, event, args):
        """The audit hook: called for a great deal of what Python does, so most is left at once."""
        if not self.listening:
            return
        try:
            if event == "open":
                path, mode, flags = args
                if path.__class__ is str and not flags & 3 and (mode is None or mode[:1] == "r" and "+" not in mode):
                    self.opened.setdefault(path, False)
            elif event == "import":
                if self.environ is None and args[0] == "torch":
                    self.environ = self._changes()
                if args[1].__class__ is str:
                    self.opened[args[1]] = True
            elif event == "socket.bind" and args[1][1] == self.port and self.pid == os.getpid():
                self.listening = False
                self._write()
        except Exception:  # noqa: BLE001, S110
            pass

    def _changes(self):
        now = dict(os.environ)
        changed = {name: value for name, value in now.items() if self.before.get(name) != value}
        changed.update({name: None for name in self.before if name not in now})
        # What nodes took from files of their own is not comfyd's to write down.
        return {name: value for name, value in changed.items() if not any(word in name.upper() for word in SECRETS)}

    def _write(self):
        import json

        text = json.dumps({
            "modules": list(_modules(_below(sys.prefix, sys.base_prefix, os.path.join(self.generation, ".venv")))),
            "environ": self._changes() if self.environ is None else self.environ,
            "files": list(self._files()),
        })
        staging = f"{self.out}.{self.pid}"
        with open(staging, "w") as file:
            file.write(text)
        os.rename(staging, self.out)

    def _files(self):
        """Yields what was opened, and after each library those that came with it: (path, whether it was mapped).

        Only what belongs to the version: its generation, Python's own library, checkouts of custom nodes.
        """
        came_with, last = {}, None
        libraries = list(_libraries())
        for path in libraries:
            if path in self.opened:
                last = path
            else:
                came_with.setdefault(last, []).append(path)
        mapped = {*libraries, *(path for path, loaded in self.opened.items() if loaded)}
        nodes = os.path.join(self.generation, "ComfyUI", "custom_nodes")
        entries = os.scandir(nodes) if os.path.isdir(nodes) else ()
        checkouts = [os.path.realpath(entry.path) for entry in entries]
        (inside,) = _below(self.generation)
        places = _below(self.generation, sys.prefix, sys.base_prefix, *checkouts)
        for first in [None, *self.opened]:
            for path in [first, *came_with.get(first, ())]:
                path = os.path.abspath(path) if path else ""
                if path.startswith(places):
                    yield path[len(inside):] if path.startswith(inside) else path, path in mapped


def _below(*directories):
    return tuple(os.path.join(directory, "") for directory in directories)


def _modules(places):
    """Yields the modules of the environment and of Python itself, in the order in which they were imported."""
    for name, module in list(sys.modules.items()):
        try:
            spec = vars(module).get("__spec__")
            origin = spec.origin or next(iter(spec.submodule_search_locations), None)
            if spec.name == name and (origin in ("built-in", "frozen") or origin.startswith(places)):
                yield name
        except Exception:  # noqa: BLE001, S112
            continue  # not a module that can be imported by its name


def _libraries():
    """Returns what is mapped and may be executed, the first first: the kernel maps from the top down."""
    found = {}
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.rstrip("\n").split(maxsplit=5)
            if len(fields) == 6 and fields[5].startswith("/") and "x" in fields[1]:
                found.setdefault(fields[5], None)
    return reversed(found)


try:
    _begin()
except Exception:  # noqa: BLE001
    pass
_chain()
