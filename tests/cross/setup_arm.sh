#!/usr/bin/env bash
# An arm64 CPython with hwkd's runtime packages, emulated on this machine: for the cross-machine test.
#
#     tests/cross/setup_arm.sh [FOLDER]        default build/arm; afterwards: FOLDER/arm-python -m hwkd ...
#
# No root, no chroot, no binfmt. apt works with the system's sources and keys, but in a state of its own inside FOLDER:
# the system's packages stay as they are. What is there already is not fetched again; everything is made in a folder
# beside its place and then renamed, so an interrupted run leaves nothing half-made.
set -euo pipefail

readonly PYTHON=python3.11 # as Debian 12 ships it
readonly GLIBC_MINOR=36    # the newest glibc (2.x) that a wheel may ask for: Debian 12's

checkout=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "${1:-$checkout/build/arm}"
folder=$(cd "${1:-$checkout/build/arm}" && pwd)
constraints=$checkout/.ci/constraints.txt
host_python=$checkout/.venv/bin/python
[[ -x $host_python ]] || host_python=python3

fail() {
    echo "setup_arm.sh: $*" >&2
    exit 1
}

for tool in apt-get dpkg; do
    command -v "$tool" >/dev/null || fail "there is no $tool; run this on Debian 12"
done
host=$(dpkg --print-architecture)
"$host_python" -c "import pip, tomllib" ||
    fail "$host_python must be Python 3.11 or later with pip; run \`make test\` once, it makes one"

work=$(mktemp -d "$folder/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# apt as on an arm64 machine with nothing installed, so that it finds every dependency.
apt_arm64() {
    local settings=(
        APT::Architecture=arm64
        "APT::Architectures=arm64,$host"
        APT::Install-Recommends=false
        APT::Sandbox::User="$(id -un)" # the user that root's apt would change to cannot read FOLDER
        Dir::State="$work/apt"
        Dir::State::status="$work/apt/status"
        Dir::Cache="$work/apt"
    )
    apt-get -q=2 "${settings[@]/#/-o}" "$@"
}

fetch_packages() {
    echo "fetching the arm64 packages and the emulator"
    mkdir -p "$work"/apt/{lists,archives}/partial "$work/emulator"
    touch "$work/apt/status"
    apt_arm64 update
    apt_arm64 install --yes --download-only "$PYTHON" libstdc++6 >/dev/null ||
        fail "apt has no $PYTHON for arm64: its sources must be Debian 12's, from a mirror that carries arm64"
    (cd "$work/emulator" && apt_arm64 download "qemu-user-static:$host") ||
        fail "apt has no qemu-user-static for $host: its sources must be Debian 12's"
}

unpack_packages() {
    local package
    for package in "$work"/apt/archives/*.deb; do
        dpkg -x "$package" "$work/root"
    done
    describe_processor
    dpkg -x "$work"/emulator/*.deb "$work/emulator"
    mv "$work/emulator/usr/bin/qemu-aarch64-static" "$folder/"
    rm -rf "$folder/root"
    mv "$work/root" "$folder/"
}

# onnxruntime reads /proc/cpuinfo and crashes on that of an x86 machine; the emulator looks into its root first.
# A Cortex-A72 stands for every core: it is plain ARMv8.0, and what a core has beyond that is found through AT_HWCAP.
describe_processor() {
    local processor
    mkdir "$work/root/proc"
    grep '^processor' /proc/cpuinfo | while read -r processor; do
        echo "$processor"
        printf '%s\t: %s\n' BogoMIPS 108.00 Features "fp asimd evtstrm crc32 cpuid" "CPU implementer" 0x41 \
            "CPU architecture" 8 "CPU variant" 0x0 "CPU part" 0xd08 "CPU revision" 3
        echo
    done >"$work/root/proc/cpuinfo"
}

# hwkd's requirements with its runtime extra, one a line.
requirements() {
    "$host_python" - "$checkout/pyproject.toml" <<'PYTHON'
import sys, tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text())["project"]
print(*project["dependencies"], *project["optional-dependencies"]["runtime"], sep="\n")
PYTHON
}

fetch_wheels() {
    local minor platforms=(--platform manylinux2014_aarch64)
    for ((minor = 17; minor <= GLIBC_MINOR; minor++)); do
        platforms+=(--platform "manylinux_2_${minor}_aarch64")
    done
    echo "fetching the aarch64 wheels"
    "$host_python" -m pip download --quiet --only-binary=:all: "${platforms[@]}" \
        --implementation cp --python-version "${PYTHON#python}" \
        --requirement "$work/requirements" --constraint "$constraints" --dest "$work/wheels"
}

unpack_wheels() {
    local wheel
    for wheel in "$work"/wheels/*.whl; do
        "$host_python" -m zipfile --extract "$wheel" "$work/site"
    done
    cp "$work/wanted" "$work/site/"
    rm -rf "$folder/site"
    mv "$work/site" "$folder/"
}

# What it compiles goes into FOLDER, even where the machine keeps no bytecode: a start takes 4 s with it, 12 s without.
# An OPENBLAS_CORETYPE that is set names a core of the machine itself.
write_wrapper() {
    cat >"$work/arm-python" <<WRAPPER
#!/bin/sh
# $PYTHON on an emulated ARM core, with hwkd's runtime packages and this checkout; QEMU_CPU picks another core.
unset OPENBLAS_CORETYPE PYTHONDONTWRITEBYTECODE
export QEMU_CPU="\${QEMU_CPU:-cortex-a72}" PYTHONPATH="$folder/site:$checkout" PYTHONNOUSERSITE=1
export PYTHONPYCACHEPREFIX="$folder/compiled"
exec "$folder/qemu-aarch64-static" -L "$folder/root" "$folder/root/usr/bin/$PYTHON" "\$@"
WRAPPER
    chmod +x "$work/arm-python"
    mv "$work/arm-python" "$folder/"
}

if [[ ! -d $folder/root || ! -x $folder/qemu-aarch64-static ]]; then
    fetch_packages
    unpack_packages
fi
requirements >"$work/requirements"
cat "$work/requirements" "$constraints" >"$work/wanted"
if ! cmp --silent "$work/wanted" "$folder/site/wanted"; then
    fetch_wheels
    unpack_wheels
fi
write_wrapper
"$folder/arm-python" -c "
import platform, llvmlite, numpy, onnxruntime
print(platform.machine(), 'Python', platform.python_version(), end=': ')
print(*(f'{module.__name__} {module.__version__}' for module in (numpy, llvmlite, onnxruntime)), sep=', ')
" || fail "the emulated interpreter does not work; remove $folder and run this again"
echo "ready: $folder/arm-python"
