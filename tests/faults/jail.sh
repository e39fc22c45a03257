#!/usr/bin/env bash
# What a container engine does for the image, done by hand where none runs: a root of its own that cannot be written,
# /data that can, /tmp without execution, an ordinary user without any right.
#
#   unshare --mount jail.sh ROOT DATA SECRETS CONFIG FOLDER… -- PROGRAM ARGUMENT…
#
# ROOT is an empty folder, CONFIG a file that is shown in the place of edge_config/agent.yaml of the last FOLDER.
set -euo pipefail
root=$1 data=$2 secrets=$3 config=$4
shift 4

show() { # show FROM AT OPTIONS: mount a file or a folder of this machine inside the root
  mount --bind "$1" "$root$2"
  mount -o "remount,bind,$3" "$root$2"
}

mount --make-rprivate /
mount -t tmpfs -o mode=755,size=1m tmpfs "$root"
mkdir "$root/tmp" # first, because the house may stand in it
mount -t tmpfs -o noexec,nosuid,nodev,mode=1777,size=16m tmpfs "$root/tmp"
while [ "$1" != -- ]; do
  if [ -L "$1" ]; then
    cp --no-dereference "$1" "$root$1" # /bin and /lib of a merged /usr
  else
    mkdir -p "$root$1"
    show "$1" "$1" ro,nosuid
  fi
  house=$1
  shift
done
shift
if [ -f "$config" ]; then show "$config" "$house/edge_config/agent.yaml" ro; fi

mkdir -p "$root"/{data,proc,dev,run/secrets}
show "$data" /data rw,noexec,nosuid,nodev
show "$secrets" /run/secrets ro,noexec,nosuid,nodev
mount --rbind /proc "$root/proc"
for device in null zero random urandom; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mount -o remount,ro "$root"

exec chroot "$root" /usr/bin/setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs \
  --bounding-set=-all --inh-caps=-all /usr/bin/env --chdir="$house" "$@"
