#!/bin/sh
# The first program of a build's virtual machine, in the initial file system: finds the disk and the port, and hands over to the
# agent, which has to be run by the perl of the image. Nothing that it reads comes from a package's build.
export PATH=/sbin:/usr/sbin:/bin:/usr/bin
mkdir -p /proc /sys /dev /root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in virtio_pci virtio_blk virtio_console ext4; do
	modprobe -q "$module" 2>/dev/null
done
n=0
until [ -b /dev/vda ] || [ $n -ge 300 ]; do
	sleep 0.1
	n=$((n + 1))
done
mount -t ext4 -o noatime,discard /dev/vda /root || echo "the image cannot be mounted"
for dir in dev proc sys; do
	mkdir -p "/root/$dir"
	mount -o move "/$dir" "/root/$dir"
done
# Not every initial file system has it.
[ -d /root/sys/class/virtio-ports ] || chroot /root modprobe -q virtio_console
cat /machine/agent >/root/dev/agent
if command -v run-init >/dev/null; then
	exec run-init /root /usr/bin/perl /dev/agent <>/root/dev/console >&0 2>&1
fi
cd /root || exit 1
exec switch_root /root /usr/bin/perl /dev/agent <>/root/dev/console >&0 2>&1
