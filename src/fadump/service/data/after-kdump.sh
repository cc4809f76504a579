#!/bin/sh
# For the initramfs of kdump-utils (RHEL, Fedora) and of openSUSE's kdump, after they have saved the dump of a crash
# that the firmware has preserved: fadump proves what they have saved, or saves it itself, gives the memory back, removes
# old dumps and tells whoever wants to know, as /etc/fadump.toml says.
#
# fadump and its Python are those of the system whose root file system is mounted; the initramfs needs neither, only
# chroot. kdump-utils gives its own exit status as the first argument, which doesn't matter here: what it has saved is
# looked at. The exit status is that of fadump capture.

say() { echo "fadump: $*" >&2; }

[ -e /sys/kernel/fadump/release_mem ] || exit 0    # a dump of kdump's, not of the firmware's

# Where the dumps are, by whichever configuration the initramfs has; a root file system that is mounted elsewhere in the
# initramfs has them at the same place.
saved_in=$(sed -n "s/^path[[:space:]]\{1,\}\(\/[^#[:space:]]*\).*/\1/p; s/^KDUMP_SAVEDIR='\(file:\/\/\)\{0,1\}\(\/[^']*\)'$/\2/p" \
    /etc/kdump.conf 2>/dev/null | tail -n 1)

for root in /sysroot /kdump/mnt; do
    [ -x "$root/usr/bin/fadump" ] && break
    root=
done
if [ -z "$root" ]; then
    say "no root file system that has fadump is mounted: the dump is not proven"
    exit 1
fi
mount -o remount,rw "$root"
for directory in proc sys dev run; do
    mount --rbind "/$directory" "$root/$directory" || exit 1
    mount --make-rslave "$root/$directory"
done
OPENBLAS_NUM_THREADS=1 chroot "$root" /usr/bin/fadump capture --saved-in "${saved_in:-/var/crash}"
status=$?
for directory in run dev sys proc; do
    umount -l "$root/$directory"
done
exit "$status"
