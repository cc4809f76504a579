#!/bin/sh
# Save the dump of a capture boot to a directory, and give its memory back: kdump-save.sh DIRECTORY
set -eu

[ -e /proc/vmcore ] || exit 0
umask 077
mkdir -p "$1"
dmesg >"$1/dmesg.capture"
cp --sparse=always /proc/vmcore "$1/vmcore.incomplete"
sync "$1/vmcore.incomplete"
mv "$1/vmcore.incomplete" "$1/vmcore"
echo 1 >/sys/kernel/fadump/release_mem
