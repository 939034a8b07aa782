# To be sourced in a new user, network and mount namespace (unshare -rnm): a tap device and a namespace "far"
# at 10.9.0.2, on a bridge with a pair of virtual cables.
set -e
mount -t tmpfs none /run
ip netns add far
ip link add near type veth peer name eth0 netns far
ip link add bridge0 type bridge
ip tuntap add tap0 mode tap
for i in near tap0; do ip link set $i master bridge0 up; done
ip link set lo up; ip link set bridge0 up
ip -n far addr add 10.9.0.2/24 dev eth0
ip -n far link set eth0 up; ip -n far link set lo up
