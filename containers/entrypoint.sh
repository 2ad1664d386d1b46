#!/bin/sh
# The first process of both images. `pod` stays until the container is stopped, `worker` until its handler ends; anything
# else is a command to run instead.
#
# A shell that waits reaps whatever loses its parent, so no other init is needed. comfyd finds the volume at both of its
# mount points, and COMFYD_VOLUME_WAIT has it wait for one that is mounted later: see README.md.
set -eu

daemon='' handler='' others=''

say() {
    echo "entrypoint: $*" >&2
}

# Ends in order: the handler has its jobs done with comfyd's help, and comfyd ends what it runs.
end() {
    status=$?
    trap '' TERM INT
    trap - EXIT
    if [ -n "$handler" ]; then
        kill -TERM "$handler" 2>/dev/null || :
        status=0
        wait "$handler" || status=$?
    fi
    # Whichever serves: a comfyctl may have started another. One that waits for its volume does not listen yet.
    comfyctl --no-start --quiet shutdown >/dev/null 2>&1 || kill -TERM ${daemon:+"$daemon"} 2>/dev/null || :
    # shellcheck disable=SC2086 # a list of numbers
    kill -TERM $others 2>/dev/null || :
    wait
    exit "$status"
}

# Starts comfyd, whose log is the container's own; returns when it answers, and fails when it ends before.
serve() {
    comfyd &
    daemon=$!
    until comfyctl --no-start --quiet status >/dev/null 2>&1; do
        if ! kill -0 "$daemon" 2>/dev/null; then
            say 'comfyd did not begin: its reason is above'
            return 1
        fi
        sleep 0.1
    done
}

# Lets the owner of PUBLIC_KEY in, which RunPod gives its pods. Sessions find comfyd by the container's variables, but for
# secrets, which are written nowhere: the daemon has them.
allow_ssh() {
    [ -n "${PUBLIC_KEY:-}" ] || return 0
    if ! sshd=$(command -v sshd) || [ "$(id -u)" != 0 ]; then
        say 'PUBLIC_KEY is set, and there is no sshd that this user may run'
        return 0
    fi
    umask 077
    mkdir -p ~/.ssh
    grep -qxFe "$PUBLIC_KEY" ~/.ssh/authorized_keys 2>/dev/null || echo "$PUBLIC_KEY" >>~/.ssh/authorized_keys
    env | grep -E '^(COMFY[A-Z_]*|MODELS_DIR)=' | grep -Ev '^[^=]*(KEY|TOKEN|SECRET)' >~/.ssh/environment || :
    umask 022
    mkdir -p /run/sshd
    ssh-keygen -A >/dev/null
    "$sshd" -D -e -o 'PermitUserEnvironment=COMFY*,MODELS_DIR' &
    others="$others $!"
}

# Has the version of COMFY_VERSION_ID ready, for everyone who reaches COMFY_UI_PORT where that is set.
get_ready() {
    if [ -n "${COMFY_UI_PORT:-}" ]; then
        comfyctl ui "$COMFY_VERSION_ID" --listen 0.0.0.0 --port "$COMFY_UI_PORT" --detach
    else
        comfyctl warm "$COMFY_VERSION_ID"
    fi
}

pod() {
    allow_ssh
    while serve; do
        if [ -n "${COMFY_VERSION_ID:-}" ]; then
            get_ready &
        fi
        status=0
        wait "$daemon" || status=$?
        case $status in
        0) break ;; # it was shut down
        9) break ;; # another one has its place
        esac
        # A crash ends nobody's ComfyUI: the next comfyd goes on with it.
        say "comfyd ended with $status, and is started again"
        sleep 1
    done
    say 'no comfyd runs: the next comfyctl starts one'
    sleep infinity &
    others="$others $!"
    wait "$!"
}

worker() {
    serve
    comfyd-handler "$@" &
    handler=$!
    status=0
    wait "$handler" || status=$?
    handler=''
    return "$status"
}

case "${1:-}" in
pod | worker)
    trap end EXIT
    trap 'exit 0' TERM INT
    "$@"
    ;;
*) exec "$@" ;;
esac
