#!/bin/bash
# A machine from its power button to its service manager, in namespaces of its own, which `machine.py` has made.
#
#   FOLDER    what the machine's disk has of its own (`upper`), over everything that this machine has installed
#   FRESH     what a new disk has instead of what is here: `mysql`, as the package of the database leaves it
#   OUTSIDE   what is outside of the machine: the exports of the file server, and the door to the management network
#   LIBRARY   the packages that the program needs
#   PROGRAMS  stand-ins for programs
#   NAME, ADDRESS
set -e
mount --make-rprivate /
R=$FOLDER/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$FOLDER/upper,workdir=$FOLDER/work" "$R"

# Nothing of the kernel's that is not this machine's own may be written: as systemd-nspawn does it.
mount -t proc proc "$R/proc"
mount --bind "$R/proc/sys" "$R/proc/sys"
mount -o remount,ro,bind "$R/proc/sys"
mount -t sysfs -o ro sysfs "$R/sys"
mountpoint -q "$R/sys/fs/cgroup" || mount -t tmpfs tmpfs "$R/sys/fs"
mkdir -p "$R/sys/fs/cgroup"
mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$R/dev"
for node in null zero full random urandom tty; do
    touch "$R/dev/$node"
    mount --bind "/dev/$node" "$R/dev/$node"
done
mkdir "$R/dev/pts" "$R/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$R/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$R/dev/shm"
ln -s pts/ptmx "$R/dev/ptmx"
ln -s /proc/self/fd "$R/dev/fd"
mount -t tmpfs -o mode=755 tmpfs "$R/run"
mount -t tmpfs -o mode=1777 tmpfs "$R/tmp"

# A kernel that starts draws an id for the boot; the mainboard has one for ever.
uuid=$(cat /proc/sys/kernel/random/uuid)
echo "$uuid" > "$R/run/boot_id"
mount --bind "$R/run/boot_id" "$R/proc/sys/kernel/random/boot_id"
[ -e "$FOLDER/product_uuid" ] || cat /proc/sys/kernel/random/uuid > "$FOLDER/product_uuid"
if ! [ -e "$R/sys/class/dmi/id/product_uuid" ]; then
    mkdir -p "$R/run/class/dmi/id"
    touch "$R/run/class/dmi/id/product_uuid"
    mount -t overlay overlay -o "lowerdir=$R/run/class:$R/sys/class" "$R/sys/class"
fi
mount --bind "$FOLDER/product_uuid" "$R/sys/class/dmi/id/product_uuid"

if ! [ -e "$FOLDER/installed" ]; then
    # Nothing of what is enabled on the machine below; of what Debian starts, the little that is needed.
    units=$R/usr/lib/systemd/system
    rm -rf "$R"/etc/systemd/system "$R"/etc/rc?.d/* "$R"/etc/init.d/* "$R"/etc/resolv.conf "$R"/etc/machine-id
    rm -rf "$R"/etc/breezeblock "$R"/var/lib/breezeblock "$R"/opt/breezeblock "$R"/var/lib/mysql "$units"/*.wants
    mkdir -p "$R/etc/systemd/system/multi-user.target.wants" "$units/sysinit.target.wants" "$units/sockets.target.wants"
    ln -s ../systemd-journald.service ../systemd-tmpfiles-setup.service "$units/sysinit.target.wants/"
    ln -s ../systemd-journald.socket ../systemd-journald-dev-log.socket "$units/sockets.target.wants/"
    ln -s "$units/remote-fs.target" "$R/etc/systemd/system/multi-user.target.wants/"
    ln -s /usr/lib/systemd/system/multi-user.target "$R/etc/systemd/system/default.target"
    # Units that are kept from the kernel's tunables get a fresh /proc from it, which knows nothing of this boot.
    mkdir "$R/etc/systemd/system/service.d"
    printf '[Service]\nBindReadOnlyPaths=/run/boot_id:/proc/sys/kernel/random/boot_id\n' > "$R/etc/systemd/system/service.d/boot.conf"
    : > "$R/etc/fstab"
    echo "$NAME" > "$R/etc/hostname"
    tr -d - < "$FOLDER/product_uuid" > "$R/etc/machine-id"
    cp -a --sparse=always "$FRESH/mysql" "$R/var/lib/mysql"
    install "$PROGRAMS"/apt-get "$PROGRAMS"/scp "$PROGRAMS"/python3 "$R/usr/local/sbin/"
    install "$PROGRAMS"/mount.nfs4 "$PROGRAMS"/fence_ipmilan "$R/usr/sbin/"
    rm -rf "$R/opt/dependencies" "$R/outside"
    mkdir -p "$R/opt/dependencies" "$R/outside"
    touch "$FOLDER/installed"
fi
mount --bind "$LIBRARY" "$R/opt/dependencies"
mount --rbind "$OUTSIDE" "$R/outside"
hostname "$NAME"

# The cable is plugged in from outside.
until ip link show eth0 > /dev/null 2>&1; do sleep 0.02; done
ip link set lo up
ip address add "$ADDRESS/24" dev eth0
ip link set eth0 up

cd "$R"
mkdir -p .before
pivot_root . .before
umount -l .before
# What a unit is given (credentials) is mounted from a namespace of its own, and must be seen here.
mount --make-rshared /
# Nobody here may load modules, set the clock, or touch what only the kernel's first namespaces have.
exec env -i container=guide PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-syslog,-audit_control,-audit_read \
    /usr/lib/systemd/systemd --system --show-status=0 < /dev/null
