# What takes a second process: argv[1] is a file that the daemon holds by flock, argv[2] a large file or nothing,
# argv[3] the seconds for reading that by a memory map, page by page, as torch and safetensors read models.
import fcntl, json, mmap, os, sys, time

lock, large, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
found = {}
with open(lock, "r+b") as file:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found["flock"] = True
    except OSError:
        found["flock"] = False
if large:
    try:
        with open(large, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            began, at = time.monotonic(), 0
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
                while at < len(view) and (at & 0xFFFFF or time.monotonic() - began < seconds):
                    view[at]
                    at += mmap.PAGESIZE
                at = min(at, len(view))
            found["mapped_bytes"] = at
            found["mapped_us"] = int((time.monotonic() - began) * 1e6)
    except (OSError, ValueError) as error:
        found["error"] = str(error)
print(json.dumps(found))
