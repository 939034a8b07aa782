#!/bin/sh
# The installer of tools/install-cd.sh: a menu on the console. It runs in the initrd, with busybox, sfdisk,
# mkfs.ext4 and e2fsck, and puts the packages of the CD on a disk.
PATH=/bin:/sbin
target=/target
disk=/dev/vda

menu() {
	cat <<TEXT

  Installation of a small Debian system on $disk

    1  Partition and format the disk
    2  Install the system
    3  Open a console
    4  Finish the installation and reboot

TEXT
	printf 'Choice: '
}

ask() { # ask QUESTION DEFAULT: the answer in $answer
	printf '%s [%s]: ' "$1" "$2"
	read -r answer || answer=
	answer=${answer:-$2}
}

mounted() {
	grep -q " $1 " /proc/mounts
}

part() {
	case $disk in *[0-9]) echo "${disk}p1" ;; *) echo "${disk}1" ;; esac
}

mount_cd() {
	mkdir -p /cd
	[ -e /cd/install/first ] && return
	for n in 1 2 3 4 5 6 7 8 9 10; do
		for d in /dev/sr* /dev/vd* /dev/sd*; do
			mount -t iso9660 -o ro "$d" /cd 2>/dev/null && [ -e /cd/install/first ] && return
		done
		sleep 1
	done
	echo "There is no installation CD in any drive."
	return 1
}

mount_target() {
	mkdir -p $target
	mounted $target || mount -t ext4 "$(part)" $target || {
		echo "$(part) cannot be mounted: partition and format the disk first."
		return 1
	}
}

partition() {
	ask "Disk to use, all that is on it will be lost" "$disk"
	disk=$answer
	[ -b "$disk" ] || { echo "There is no $disk."; return; }
	leave_target
	echo ',,L,*' | sfdisk -q --label dos --wipe always "$disk" || return
	for n in 1 2 3 4 5; do [ -b "$(part)" ] && break; sleep 1; done
	mkfs.ext4 -q -F -L root "$(part)" && echo "The disk is ready."
}

# A package's files, without its scripts: what dpkg needs to run at all.
extract() {
	member=$(ar t "$1" | grep '^data\.tar')
	case $member in
	*.xz) ar p "$1" "$member" | xz -dc ;;
	*.gz) ar p "$1" "$member" | gzip -dc ;;
	*) ar p "$1" "$member" ;;
	esac | tar x -C $target
}

# The path of env keeps busybox from running an applet of its own instead.
in_target() {
	DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot $target /usr/bin/env "$@"
}

enter_target() {
	mkdir -p $target/proc $target/sys $target/dev $target/cd $target/run
	for d in proc sys dev cd; do
		mounted $target/$d || mount -o bind /$d $target/$d
	done
}

leave_target() {
	for d in /cd /dev /sys /proc ""; do
		! mounted "$target$d" || umount "$target$d"
	done
}

settings() {
	echo "$1" >$target/etc/hostname
	echo "127.0.0.1 localhost $1" >$target/etc/hosts
	echo "$(part) / ext4 errors=remount-ro 0 1" >$target/etc/fstab
	echo "root:$2" | in_target chpasswd
	mkdir -p $target/etc/systemd/network
	printf '[Match]\nType=ether\n[Network]\nDHCP=yes\n' >$target/etc/systemd/network/wired.network
	in_target systemctl -q enable systemd-networkd
	rm -f $target/usr/sbin/policy-rc.d $target/etc/apt/sources.list.d/cd.list
}

first_packages() {
	mkdir -p $target/usr/bin $target/usr/sbin $target/usr/lib $target/usr/lib64
	for d in bin sbin lib lib64; do ln -sfn usr/$d $target/$d; done
	count=$(grep -c . /cd/install/first)
	n=0
	while read -r f; do
		n=$((n + 1))
		echo "Extracting $n of $count: ${f%%_*}"
		extract "/cd/pool/$f" || return 1
	done </cd/install/first
	mkdir -p $target/var/lib/dpkg $target/etc/dpkg/dpkg.cfg.d $target/etc/apt/sources.list.d
	echo force-unsafe-io >$target/etc/dpkg/dpkg.cfg.d/installer
	printf '#!/bin/sh\nexit 101\n' >$target/usr/sbin/policy-rc.d
	chmod +x $target/usr/sbin/policy-rc.d
	: >$target/var/lib/dpkg/status
	: >$target/var/lib/dpkg/available
	in_target dpkg --force-depends --install $(sed 's,^,/cd/pool/,' /cd/install/first)
}

other_packages() {
	echo "deb [trusted=yes] file:/cd ./" >$target/etc/apt/sources.list.d/cd.list
	mkdir -p $target/etc/initramfs-tools/conf.d
	echo COMPRESSLEVEL=1 >$target/etc/initramfs-tools/conf.d/installer
	in_target apt-get -q update || return 1
	echo 'grub-pc grub-pc/install_devices_empty boolean true' | in_target debconf-set-selections
	while read -r list; do
		in_target apt-get -q -y --no-install-recommends install $list </dev/null || return 1
	done </cd/install/packages
}

# From now on the scripts of kernel packages keep the menu as it should be.
boot_loader() {
	in_target grub-install "$disk" && in_target update-grub
}

install_system() {
	mount_cd && mount_target || return
	ask "Name of the machine" guest
	name=$answer
	ask "Password of root" secret
	enter_target
	if first_packages && other_packages && settings "$name" "$answer" && boot_loader; then
		rm -f $target/etc/dpkg/dpkg.cfg.d/installer
		sync
		echo "The system is installed."
	else
		echo "The installation has failed."
	fi
}

console() {
	mount_target && enter_target
	echo "The new system is in $target; exit goes back to the menu."
	sh -i
}

finish() {
	leave_target
	sync
	reboot -f
}

ip link set lo up
ip link set eth0 up 2>/dev/null && udhcpc -q -n -t 5 -s /etc/udhcpc -i eth0 >/dev/null 2>&1
while :; do
	menu
	read -r choice || exit
	case $choice in
	1) partition ;;
	2) install_system ;;
	3) console ;;
	4) finish ;;
	*) echo "1, 2, 3 or 4, please." ;;
	esac
done
