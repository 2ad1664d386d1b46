//! The one table of all variables.

/// A variable: name, what it means, what holds when it is not set.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What holds when it is not set.
    pub default: &'static str,
}

const fn variable(name: &'static str, meaning: &'static str, default: &'static str) -> Variable {
    Variable { name, meaning, default }
}

/// An id that goes with a secret: listed, and its value shown to nobody.
pub(super) const AWS_KEY: &str = "AWS_ACCESS_KEY_ID";

/// Every variable that comfyd or comfyctl reads.
pub const VARIABLES: &[Variable] = &[
    variable(
        "COMFY_VOLUME",
        "the volume that holds versions, models and caches",
        "the first writable one of `/runpod-volume`, `/workspace`; else the home directory",
    ),
    variable(
        "COMFYD_VOLUME_WAIT",
        "seconds to wait until the volume is mounted, before anything else; none in that time is a failure",
        "0: what is at the mount point when the daemon starts is the volume",
    ),
    variable(
        "COMFY_HOME",
        "home of a version, read from comfyctl's environment; may hold `{version_id}`",
        "`<volume>/comfy-<id>`, else `~/comfy-<id>`",
    ),
    variable(
        "COMFY_VERSIONS_DIR",
        "where specs are sought first; `./versions` of comfyctl's directory comes second",
        "`<volume>/versions`",
    ),
    variable(
        "MODELS_DIR",
        "the one place of the models",
        "`$COMFY_HOME/models` where COMFY_HOME names one home, else `models` beside the versions' homes",
    ),
    variable(
        "COMFY_CACHE_NODES",
        "checkouts of custom nodes, `<repo>@<commit>`",
        "`<volume>/custom_nodes/workspace`, else `~/.comfy-cache/custom_nodes`",
    ),
    variable("COMFY_CACHE_ROOT", "locks (`resolved/<id>.lock.json`) and uv itself", "`~/.comfy-cache`"),
    variable(
        "COMFY_WHEELS_DIR",
        "a directory of wheels that uv looks into (`--find-links`)",
        "`/wheels` where it exists",
    ),
    variable("COMFY_OFFLINE", "`1`: use only what is cached", "off"),
    variable("COMFYD_NO_INSTALL_SCRIPTS", "`1`: run no custom node's `install.py`", "off"),
    variable("HF_TOKEN", "sent to Hugging Face only", "the token that `hf auth login` left"),
    variable("HF_ENDPOINT", "a mirror of Hugging Face", "the Hub itself"),
    variable("CIVITAI_TOKEN", "sent to Civitai only", "none"),
    variable(
        AWS_KEY,
        "for `s3://`, with `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`; roles of containers and web \
         identities work too",
        "the profile that `aws configure` left (`AWS_PROFILE`); else objects are asked for anonymously",
    ),
    variable(
        "AWS_REGION",
        "where the buckets lie",
        "`AWS_DEFAULT_REGION`, else the profile's, else `us-east-1`",
    ),
    variable("AWS_ENDPOINT_URL", "a store that speaks S3's language", "S3 itself"),
    variable(
        "GOOGLE_APPLICATION_CREDENTIALS",
        "a file of credentials, for `gs://`",
        "those that gcloud left; else objects are asked for anonymously",
    ),
    variable(
        "HF_HUB_CACHE",
        "a cache of huggingface_hub: what lies in it is linked, not fetched (`HUGGINGFACE_HUB_CACHE` too)",
        "`$HF_HOME/hub`, `${XDG_CACHE_HOME:-~/.cache}/huggingface/hub` and `huggingface-cache/hub` on the volume are looked into anyway",
    ),
    variable(
        "COMFY_VOLUME_QUOTA",
        "what may be stored on the volume where `df` tells of a larger disk: bytes, or `200GB`, `200GiB`, `0.5TB`",
        "the disk decides",
    ),
    variable(
        "COMFYD_SOCKET",
        "the control socket; under systemd, `ListenStream=` of comfyd.socket says where it is",
        "`$XDG_RUNTIME_DIR/comfyd.sock`, else `comfyd.sock` in the state directory; where nobody listens there, clients go on to `/run/comfyd/comfyd.sock`",
    ),
    variable(
        "COMFYD_STATE_DIR",
        "logs of ComfyUI and of the daemon, the socket where there is no runtime directory",
        "`$XDG_STATE_HOME/comfyd`, else `~/.local/state/comfyd`",
    ),
    variable(
        "COMFYD_MAX_INSTANCES",
        "ComfyUI processes that may run at the same time",
        "as many as asked for",
    ),
    variable(
        "COMFYD_GPU_RESERVE",
        "what must be free on a GPU for another ComfyUI, beyond what is known to be needed: `2GiB`",
        "`1GiB`",
    ),
    variable(
        "COMFYD_PINNED",
        "ids of versions, with commas, that make room for others last, and that idle time keeps primed",
        "none: first who was not used for longest",
    ),
    variable(
        "COMFYD_SHADOW_BUDGET",
        "local disk for copies of what starts read from a slow volume, below `$COMFY_CACHE_ROOT/shadows`; `0`: none",
        "`4GiB`, and never more than 80 % of the disk",
    ),
    variable(
        "COMFYD_GROUP",
        "a group, by name or number, whose members may use the daemon too",
        "its own user and root only",
    ),
    variable("COMFYD_LOG", "what the daemon logs, such as `comfyd=debug`", "`info`"),
    variable("COMFYD_BIN", "the daemon that comfyctl starts", "`comfyd` beside comfyctl, else on PATH"),
    variable("COMFYD_MAX_QUEUE", "workflows that may wait for one version; more are refused", "64"),
    variable(
        "COMFYD_PREFETCH",
        "how far idle time lifts likely versions: `off`, `fetched`, `realized`, `primed` or `running` (which takes GPU memory)",
        "`primed`",
    ),
    variable("COMFYD_PREFETCH_WARM", "versions that idle time keeps primed", "2"),
    variable(
        "COMFYD_PREFETCH_MEMORY",
        "what primed versions and files read ahead may take of the memory: `25%`, or `8GiB`",
        "`25%`",
    ),
    variable(
        "COMFYD_PREFETCH_DISK",
        "what idle time leaves free on each disk",
        "`20GiB`, or a tenth of the disk where that is less",
    ),
    variable(
        "COMFYD_PREFETCH_RATE",
        "bytes a second of models that are fetched in the background: `20MB`",
        "unbounded",
    ),
    variable("COMFYD_PREFETCH_AFTER", "seconds without other work before idle time begins", "5"),
    variable("COMFYD_UV", "the uv to use", "`uv` on PATH, else one installed into the cache by pip"),
    variable(
        "UV_CACHE_DIR",
        "uv's cache; hard links need it on the volume's filesystem",
        "`<volume>/.comfy-cache/uv`, else `~/.comfy-cache/uv`",
    ),
];
