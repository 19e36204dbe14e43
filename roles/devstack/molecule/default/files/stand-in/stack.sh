#!/usr/bin/env bash
# Stands in for DevStack's stack.sh where no server of the real one can be reached. It does for real what stack.sh stumbles
# over (a git server that refuses, a full disk, a cloud that does not answer, being stopped) and makes no cloud.
set -u
place=/srv/stand-in
logs=/opt/stack/logs
now=$(date +%s%N)
echo "$now" >>"$place/starts"
echo "2026-01-01 00:00:00.000 | Installing OpenStack project source" >"$logs/stack.sh.log.summary.$now"
ln -sfn "$logs/stack.sh.log.summary.$now" "$logs/stack.sh.log.summary"
case $(cat "$place/mode") in
  git)
    clone=(clone --no-checkout git://127.0.0.1:9/openstack/keystone.git /opt/stack/keystone)
    git "${clone[@]}" && exit 0
    echo "[ERROR] /opt/stack/devstack/functions-common:701 git call failed: [git ${clone[*]}]" | tee "$logs/error.log"
    exit 1
    ;;
  disk)
    dd if=/dev/zero of="$place/small/file" bs=128k count=1 || exit 1
    ;;
  hang)
    exec sleep infinity
    ;;
esac
