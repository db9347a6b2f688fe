#!/bin/bash
# First process of the guest: prepares the system, runs /.kernels/command and
# reports its exit code. $MARK, from the kernel's command line, is unique per
# run, so that nothing the command prints is taken for the end.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /run /tmp
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/mounts /etc/mtab
mkdir -p /run/netns /var
ln -s /run /var/run
chmod 1777 /tmp
hostname guest
ip link set lo up
for word in $(</proc/cmdline); do
	case $word in kernels.mark=*) MARK=${word#*=} ;; esac
done
echo "$MARK boot"
if [ -s /.kernels/modules ]; then
	xargs modprobe -a </.kernels/modules
fi
env -u MARK bash /.kernels/command </dev/null
code=$?
sync
echo "$MARK exit $code"
poweroff -f
