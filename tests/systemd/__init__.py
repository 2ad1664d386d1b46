"""The Debian package where systemd runs it: in a small Debian that debootstrap makes and systemd-nspawn boots.

`python3 -m tests.systemd` as root. What is booted is thrown away; the Debian itself stays in `.cache/systemd`.
"""
