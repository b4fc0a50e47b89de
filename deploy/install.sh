#!/bin/sh
# Installs Evercert from this source tree, offline; may be run again at any time.
#
#   deploy/install.sh coordinator|agent|cli [--prefix DIR] [--destdir DIR]
#
#   --prefix DIR    where programs go: DIR/lib/evercert and DIR/bin (default /usr)
#   --destdir DIR   put all files below DIR, for packages and images; then nothing on the running system is touched
#
# Configuration that exists is never overwritten, and no service is started. `coordinator` brings the command line too.
set -eu

usage() {
  sed -n '2,/^$/{/^#/!d;s/^# \{0,1\}//;p;}' "$0"
}

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

source=$(cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd)
part=
prefix=/usr
destdir=
while [ $# -gt 0 ]; do
  case $1 in
    coordinator | agent | cli) part=$1 ;;
    --prefix | --destdir)
      [ $# -ge 2 ] || fail "$1 needs a folder after it"
      case $2 in /*) ;; *) fail "$1 needs an absolute folder, not '$2'" ;; esac
      [ "$1" = --prefix ] && prefix=${2%/} || destdir=${2%/}
      shift
      ;;
    -h | --help)
      usage
      exit 0
      ;;
    *) fail "unknown argument '$1'; try --help" ;;
  esac
  shift
done
[ -n "$part" ] || fail "name what to install: coordinator, agent or cli"
[ -n "$destdir" ] || [ "$(id -u)" = 0 ] || fail "run this as root, or give --destdir"
node=$source/node_modules/.bin/node
[ -x "$node" ] || fail "$source/node_modules is missing: run 'npm run setup' there first (needs the network, once)"
"$node" --version >/dev/null || fail "$node does not run here: it needs libstdc++ and libatomic (Debian: apt-get install libstdc++6 libatomic1)"

library=$destdir$prefix/lib/evercert
case $part in coordinator) parts='coordinator cli' ;; *) parts=$part ;; esac
# What an earlier run installed stays installed.
for installed in coordinator agent cli; do
  case " $parts " in *" $installed "*) ;; *) if [ -d "$library/$installed" ]; then parts="$parts $installed"; fi ;; esac
done

# Copies one folder of the source tree with readable modes, whatever the umask and the owner here are.
copy() {
  [ ! -e "$stage/$1" ] || return 0
  mkdir -p "$stage/$(dirname -- "$1")"
  cp -R --no-preserve=ownership --preserve=mode,links,timestamps "$source/$1" "$stage/$1"
}

# The tree is built beside the old one and takes its place by renames, so that a daemon never starts on half of it.
umask 022
stage=$library.new
rm -rf "$stage" "$library.old"
mkdir -p "$stage/node_modules/.bin" "$stage/node_modules/node/bin" "$stage/node_modules/@evercert"
# shellcheck disable=SC2086 # a list of names
modules=$("$node" "$source/scripts/production-modules.ts" $parts)
for module in $modules; do copy "$module"; done
for name in $parts shared proto; do ln -s "../../$name" "$stage/node_modules/@evercert/$name"; done
cp "$(readlink -f -- "$node")" "$stage/node_modules/node/bin/node"
ln -s ../node/bin/node "$stage/node_modules/.bin/node"
cp "$source/package.json" "$source/LICENSE" "$stage/"
cp -R "$source/docs" "$stage/docs"
case " $parts " in *" coordinator "*) cp -R "$source/deploy/provisioners" "$stage/provisioners" ;; esac
chmod -R u=rwX,go=rX "$stage"
if [ -d "$library" ]; then mv "$library" "$library.old"; fi
mv "$stage" "$library"
rm -rf "$library.old"

mkdir -p "$destdir$prefix/bin"
for name in $parts; do
  case $name in cli) program=evercert ;; *) program=evercert-$name ;; esac
  ln -sfn "../lib/evercert/$name/bin/$program" "$destdir$prefix/bin/$program"
done

# install_service PART FOLDER FILE MODE: unit, users and folders, and the configuration with its mode where there is none.
install_service() {
  units=$destdir/lib/systemd/system
  mkdir -p "$units" "$destdir/usr/lib/tmpfiles.d" "$destdir/usr/lib/sysusers.d"
  sed "s|/usr/bin/evercert|$prefix/bin/evercert|; s|/usr/lib/evercert|$prefix/lib/evercert|" \
    "$source/deploy/systemd/evercert-$1.service" >"$units/evercert-$1.service"
  for kind in sysusers tmpfiles; do
    file=$source/deploy/systemd/$kind.d/evercert-$1.conf
    if [ -e "$file" ]; then cp "$file" "$destdir/usr/lib/$kind.d/evercert-$1.conf"; fi
  done
  if [ -z "$destdir" ] && [ -d /run/systemd/system ]; then
    if [ -e "/usr/lib/sysusers.d/evercert-$1.conf" ]; then systemd-sysusers "/usr/lib/sysusers.d/evercert-$1.conf"; fi
    systemd-tmpfiles --create "/usr/lib/tmpfiles.d/evercert-$1.conf"
    systemctl daemon-reload
  fi
  mkdir -p "$destdir$2"
  if [ -e "$destdir$2/$3" ]; then
    echo "Kept $destdir$2/$3"
  else
    install -m "$4" "$source/deploy/systemd/examples/$3" "$destdir$2/$3"
    echo "Wrote $destdir$2/$3: edit it before the first start"
  fi
}

case $part in
  coordinator) install_service coordinator /etc/evercert coordinator.yaml 0644 ;;
  agent) install_service agent /etc/evercert-agent agent.yaml 0600 ;;
esac
echo "Installed $part in $library"
if [ "$part" != cli ] && [ -z "$destdir" ]; then echo "Next: systemctl enable --now evercert-$part"; fi
