#!/bin/sh
# Installs what `whetstone-cluster up --node` needs from Debian or Ubuntu, and only what is not there: on a machine with
# Docker, whose containerd.io package already has containerd and runc, Debian's packages would push it out.
set -eu

missing() { ! command -v "$1" >/dev/null 2>&1; }

packages=
if missing containerd || missing ctr; then packages="$packages containerd"; fi
if missing runc; then packages="$packages runc"; fi
if missing iptables; then packages="$packages iptables"; fi
if missing conntrack; then packages="$packages conntrack"; fi
if [ ! -x /usr/lib/cni/ptp ] && [ ! -x /opt/cni/bin/ptp ]; then packages="$packages containernetworking-plugins"; fi
if [ -z "$packages" ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "install-node.sh: run it as root to install:$packages" >&2
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# shellcheck disable=SC2086 # a list of words
apt-get install -q -y --no-install-recommends $packages

# The package starts a containerd for the whole machine. The test cluster runs its own, so that one ends again.
case $packages in
*containerd*)
    if [ -d /run/systemd/system ]; then
        systemctl disable --now containerd
    elif [ -x /etc/init.d/containerd ]; then
        service containerd stop || true # It may not have been started.
    fi
    ;;
esac
