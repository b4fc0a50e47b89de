#!/bin/sh
# Makes the root that the provisioner `nspawn` copies for every machine: a minimal Debian with systemd and Evercert's agent. Run it as root.
#
#   deploy/nspawn/make-image.sh DIR [--suite SUITE] [--mirror URL] [--include PACKAGES] [--base ROOT]
#
#   DIR                  the image; one that is there is replaced at the end, machines that were copied from it stay as they are
#   --suite SUITE        Debian's release (default: bookworm)
#   --mirror URL         where packages come from (default: debootstrap's)
#   --include PACKAGES   more packages, with commas between them
#   --base ROOT          begin with a copy of this root instead of debootstrap, without the network
#
# Needs debootstrap, and this source tree set up (`npm run setup`). To change the image by hand: systemd-nspawn -D DIR
set -eu

usage() {
  sed -n '2,/^$/{/^#/!d;s/^# \{0,1\}//;p;}' "$0"
}

fail() {
  echo "make-image.sh: $*" >&2
  exit 1
}

source=$(cd -- "$(dirname -- "$(readlink -f -- "$0")")/../.." && pwd)
# libatomic1 and libstdc++6: the bundled Node. The rest is what boots, talks to systemd and finds its network.
packages=systemd,systemd-sysv,dbus,libatomic1,libstdc++6,ca-certificates
image=
suite=bookworm
mirror=
base=
while [ $# -gt 0 ]; do
  case $1 in
    --suite | --mirror | --include | --base)
      [ $# -ge 2 ] || fail "$1 needs a value after it"
      case $1 in
        --suite) suite=$2 ;;
        --mirror) mirror=$2 ;;
        --include) packages=$packages,$2 ;;
        --base) base=${2%/} ;;
      esac
      shift
      ;;
    -h | --help)
      usage
      exit 0
      ;;
    /*) image=${1%/} ;;
    *) fail "unknown argument '$1'; try --help" ;;
  esac
  shift
done
[ -n "$image" ] || fail "name the image's folder by an absolute path; try --help"
[ "$(id -u)" = 0 ] || fail "run this as root: the image's files belong to root and to system users"

unfinished=$image.new
rm -rf --one-file-system "$unfinished" "$image.old"
mkdir -p "$(dirname -- "$image")"
if [ -n "$base" ]; then
  [ -d "$base/usr/lib/systemd" ] || fail "$base is no root of a system with systemd"
  cp --reflink=auto -a -T "$base" "$unfinished"
else
  command -v debootstrap >/dev/null || fail "debootstrap is missing (Debian: apt-get install debootstrap)"
  # shellcheck disable=SC2086 # no word where there is no mirror
  debootstrap --variant=minbase --include="$packages" "$suite" "$unfinished" $mirror
fi

"$source/deploy/install.sh" agent --destdir "$unfinished"
# Each machine is given its own configuration here, by the provisioner.
rm -f "$unfinished/etc/evercert-agent/agent.yaml"
mkdir -p "$unfinished/etc/systemd/system/multi-user.target.wants"
ln -sfn /lib/systemd/system/evercert-agent.service "$unfinished/etc/systemd/system/multi-user.target.wants/evercert-agent.service"

# What no two machines may share, and what Debian's installer would have written.
: >"$unfinished/etc/machine-id"
rm -rf "$unfinished/var/lib/dbus/machine-id" "$unfinished/var/lib/systemd/random-seed" "$unfinished"/var/log/journal/* "$unfinished"/etc/ssh/ssh_host_*
# systemd-nspawn mounts its own, and a confined coordinator could not copy devices.
find "$unfinished/dev" -mindepth 1 -delete
# What apt fetches anew whenever it is used; every machine would get a copy.
find "$unfinished/var/cache/apt" "$unfinished/var/lib/apt/lists" -type f ! -name lock -delete
[ -e "$unfinished/etc/hosts" ] || printf '127.0.0.1 localhost\n::1 localhost\n' >"$unfinished/etc/hosts"

if [ -e "$image" ]; then mv "$image" "$image.old"; fi
mv "$unfinished" "$image"
rm -rf --one-file-system "$image.old"
echo "Made $image: name it as image of a provisioner of type nspawn in coordinator.yaml"
