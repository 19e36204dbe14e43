#!/bin/bash
# Builds the cloud's image: Debian's packages and nothing else. No secret, no address, no configuration of a site is in
# it, so that one image serves every cloud on the machine.
#
#   build-image.sh IMAGE PACKAGES_FILE
#
# The whole file system is made on a tmpfs in a mount namespace of its own: fast, and nothing is left when it is killed.
set -euo pipefail

image=$1
packages_file=$2

if docker image inspect "$image" >/dev/null 2>&1; then
  echo "phase: image exists"
  exit 0
fi

if [[ ${OPENSTACK_IMAGE_NAMESPACE:-} != private ]]; then
  export OPENSTACK_IMAGE_NAMESPACE=private
  exec unshare --mount --propagation private -- "$0" "$@"
fi

work=$(mktemp --directory)
trap 'umount --lazy "$work" && rmdir "$work"' EXIT
mount -t tmpfs -o size=8g,mode=0755 tmpfs "$work"
mkdir "$work/tmp"
export TMPDIR=$work/tmp
root=$work/root

# The machine's own Debian sources and the way it reaches them, read from apt: they hold behind a mirror or a proxy too.
# shellcheck disable=SC2016  # apt expands these
apt-get indextargets --format 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(REPO_URI) $(RELEASE) $(COMPONENT)' \
  'Created-By: Packages' 'Origin: Debian' >"$work/sources.list"
if [[ ! -s $work/sources.list ]]; then
  echo "apt knows no Debian source: run 'apt-get update'." >&2
  exit 1
fi
apt-config dump | grep -E '^Acquire::(https?|Check|Retries)' >"$work/apt.conf" || true

include=$(sed -e 's/#.*//' "$packages_file" | tr -s '[:space:]' ',' | sed -e 's/^,//' -e 's/,$//')

# Python packages compile their modules one interpreter start each; one pass at the end, on all cores, is much shorter.
cat >"$work/before-packages" <<'HOOK'
#!/bin/bash
set -euo pipefail
root=$1
chroot "$root" dpkg-divert --quiet --local --rename --divert /usr/bin/py3compile.real --add /usr/bin/py3compile
ln -s /bin/true "$root/usr/bin/py3compile"
# Each package would set up a database and register itself at a Keystone that is not there.
chroot "$root" debconf-set-selections <<'DEBCONF'
keystone keystone/configure_db boolean false
keystone keystone/create-admin-tenant boolean false
keystone keystone/register-endpoint boolean false
glance-common glance/configure_db boolean false
glance-common glance/configure_ksat boolean false
glance-api glance/register-endpoint boolean false
placement-common placement/configure_db boolean false
placement-common placement/configure_ksat boolean false
placement-api placement/register-endpoint boolean false
nova-common nova/configure_db boolean false
nova-common nova/configure_ksat boolean false
nova-api nova/register-endpoint boolean false
neutron-common neutron/configure_db boolean false
neutron-common neutron/configure_ksat boolean false
neutron-common neutron/configure_rabbit boolean false
neutron-api neutron/register-endpoint boolean false
DEBCONF
HOOK

cat >"$work/after-packages" <<'HOOK'
#!/bin/bash
set -euo pipefail
root=$1
echo "phase: compiling Python modules"
rm "$root/usr/bin/py3compile"
chroot "$root" dpkg-divert --quiet --local --rename --remove /usr/bin/py3compile
chroot "$root" python3 -m compileall -q -j 0 -x 'tests?/|lib2to3' /usr/lib/python3/dist-packages /usr/lib/python3.11 >/dev/null 2>&1 || true
# What would make two clouds from this image alike, or belongs to the machine that built it.
rm -rf "$root"/etc/keystone/{fernet-keys,credential-keys} "$root"/etc/ssl/private/ssl-cert-snakeoil.key
rm -f "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* "$root"/etc/apt/apt.conf.d/99mmdebstrap
rm -f "$root"/etc/hostname "$root"/etc/resolv.conf "$root"/var/log/*.log "$root"/var/lib/rabbitmq/.erlang.cookie
: >"$root/etc/machine-id"
HOOK
chmod +x "$work/before-packages" "$work/after-packages"

echo "phase: installing Debian packages"
mmdebstrap --quiet --mode=root --variant=minbase --format=directory --include="$include" \
  --aptopt="$work/apt.conf" --aptopt='Acquire::Languages "none"' \
  --dpkgopt='force-unsafe-io' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --essential-hook="$work/before-packages \"\$1\"" --customize-hook="$work/after-packages \"\$1\"" \
  bookworm "$root" "$work/sources.list"

echo "phase: importing the image into docker"
# Under its name only when complete: an import that was cut short would look like an image.
tar --create --numeric-owner --xattrs --one-file-system --directory "$root" . | docker import \
  --change 'ENV container=docker' --change 'CMD ["/lib/systemd/systemd"]' - "$image-partial" >/dev/null
docker tag "$image-partial" "$image"
docker rmi "$image-partial" >/dev/null
echo "phase: image ready"
