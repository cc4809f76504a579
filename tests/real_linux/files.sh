# Says of FADump's files what can be said of them: which there are, their modes, what they show, and what comes of using
# them. Run in a guest of QEMU's and in fadump shell, in a first boot and in a capture boot: the output is to be the same.
# Uses what busybox and the GNU tools have in common, and of an error only Linux's own words.

fadump=/sys/kernel/fadump
region=/sys/kernel/debug/powerpc/fadump_region
mpipl=/sys/firmware/opal/mpipl
tree=/proc/device-tree
mkdir -p /tmp  # the guest has none
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

outcome() {  # WHAT STATUS: what a dd came to
    error=$(sed -n 's/^dd: .*: //p' "$work/said" | head -n 1)
    printf '%s: %s\n' "$1" "${error:-$([ "$2" = 0 ] && echo done)}"
}

look() {
    for path in "$@"; do
        if [ -L "$path" ]; then
            echo "$path -> $(readlink "$path")"
        elif [ -d "$path" ]; then
            stat -c '%n %a directory' "$path"
        elif [ -e "$path" ]; then
            stat -c '%n %a %s' "$path"
        else
            echo "$path is absent"
        fi
    done
}

show() {  # PATH
    dd if="$1" of="$work/content" bs=64k 2>"$work/said"
    outcome "reading $1" $?
    cat "$work/content"
    : >"$work/content"
}

put() {  # PATH TEXT: in one write, where printf's escapes are known
    # shellcheck disable=SC2059
    printf -- "$2" >"$work/data"
    put_data "$1" "$2"
}

put_data() {  # PATH NAME
    dd if="$work/data" of="$1" bs=256k conv=notrunc 2>"$work/said"
    outcome "$2 to $1" $?
}

put_long() {  # PATH COUNT
    head -c "$2" /dev/zero | tr '\0' x >"$work/data"
    put_data "$1" "$2 letters"
}

echo "== which files there are"
look /sys/kernel/fadump_enabled /sys/kernel/fadump_registered /sys/kernel/fadump_release_mem /sys/kernel/fadump_mem_reserved
look "$fadump"
for name in $(ls "$fadump"); do
    look "$fadump/$name"
done
look /sys/kernel /sys/kernel/debug /sys/kernel/debug/powerpc "$region"
look /sys/kernel/kexec_loaded /sys/kernel/kexec_crash_loaded /sys/kernel/vmcoreinfo
look /proc /proc/cmdline /proc/iomem /proc/meminfo /proc/kmsg /proc/sysrq-trigger /proc/device-tree /proc/vmcore "$mpipl"
look "$tree/chosen" "$tree/chosen/name" "$tree/reserved-ranges" "$tree/ibm,opal/dump" "$tree/ibm,opal/dump/mpipl-boot"
for name in configure-kernel-dump configure-kernel-dump-sizes configure-kernel-dump-version kernel-dump; do
    look "$tree/rtas/ibm,$name"
done

echo "== what they show"
for name in $(ls "$fadump"); do
    show "$fadump/$name"
done
show "$region"
for name in kexec_loaded kexec_crash_loaded; do
    show "/sys/kernel/$name"
done
sed 's/^0x[0-9a-f]\{16\} /ADDRESS /' /sys/kernel/vmcoreinfo
tr ' ' '\n' </proc/cmdline | sort
grep 'System RAM' /proc/iomem
grep CmaTotal /proc/meminfo
od -c "$tree/chosen/name"
[ ! -e "$tree/rtas/name" ] || od -c "$tree/rtas/name"
show /proc/sysrq-trigger
dd if="$region" bs=7 skip=2 count=3 2>/dev/null | od -c

echo "== writing where nothing is to be written"
for path in "$fadump/enabled" "$fadump/mem_reserved" "$fadump/hotplug_ready" "$region" /sys/kernel/kexec_crash_loaded \
    /proc/cmdline /proc/iomem /proc/meminfo; do
    put "$path" 1
done
[ ! -e /proc/vmcore ] || put /proc/vmcore 1
for path in "$fadump/enabled" "$fadump/new" /sys/kernel/new; do
    (: >"$path") 2>/dev/null || echo "redirecting to $path: refused"
done

echo "== bootargs_append"
if [ -e "$fadump/bootargs_append" ]; then
    room=$((2048 - $(stat -c %s /proc/cmdline)))
    for text in 'nr_cpus=1\n' 'a\nb\n' 'ab\000cd' 'ab\000\n' '\n' 'no end'; do
        put "$fadump/bootargs_append" "$text"
        od -c "$fadump/bootargs_append"
    done
    for count in 2047 2048 2560 70000 $((room + 1)); do
        put_long "$fadump/bootargs_append" "$count"
    done
    put_long "$fadump/bootargs_append" "$room"
    cat "$fadump/bootargs_append" | wc -c  # GNU wc believes the size, if told the file
    put "$fadump/bootargs_append" 'panic=7\n'
fi

echo "== registered"
for text in 2 -1 '\n' ' 1' '1 ' '1\n\n' x 0x 08 4294967297 99999999999999999999 0x0 '+1\n' 00 01 0x1 '1\0002' -0 '0\n' 0 '1\n'; do
    put "$fadump/registered" "$text"
    cat "$fadump/registered"
done
cat "$region"
put /sys/kernel/fadump_registered 0
cat "$fadump/registered"
put "$fadump/registered" 1

echo "== release_mem"
if [ -e "$fadump/release_mem" ]; then
    exec 4</proc/vmcore
    for text in x 2 0 '1\n\n' 1 1; do
        put "$fadump/release_mem" "$text"
    done
    dd bs=16 count=1 <&4 2>"$work/said" | od -c
    echo "reading on: $(sed -n 's/^dd: .*: //p' "$work/said")"
    exec 4<&-
    look /proc/vmcore "$fadump/release_mem" /sys/kernel/fadump_release_mem
    words='s/cmdline append: .*/cmdline append: whatever is in memory that Linux has given away/'
    sed "$words" "$region"
    cat "$fadump/mem_reserved"
    put "$fadump/registered" 1
    cat "$fadump/registered"
    sed "$words" "$region"
else
    put "$fadump/release_mem" 1
fi

echo "== release_core"
if [ -e "$mpipl/release_core" ]; then
    look "$mpipl/core" "$mpipl/release_core"
    for text in x 2 0; do
        put "$mpipl/release_core" "$text"
    done
    put "$mpipl/core" x
    put "$mpipl/release_core" 1
    look "$mpipl/core" "$mpipl/release_core"
    put "$mpipl/release_core" 1
fi

echo "== the log"
{ timeout 3 cat /proc/kmsg | sed -n 's/^<\(.\)>\[ *[0-9.]*\] \(.*fadump: .*\)/\1 \2/p'; } 2>/dev/null
echo "== the end"
