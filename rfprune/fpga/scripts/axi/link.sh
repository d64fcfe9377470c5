#!/usr/bin/env bash
# Links the kernel for an Alveo card: ./link.sh PLATFORM [hw_emu|hw]
#
# PLATFORM as `platforminfo -l` lists it, e.g. xilinx_u50_gen3x16_xdma_5_202210_1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
stop() {
  echo "link.sh: $*" >&2
  exit 2
}
[ $# -ge 1 ] || stop "which platform? ./link.sh PLATFORM [hw_emu|hw]"
command -v v++ >/dev/null || stop "v++ is not on PATH. Source settings64.sh of Vitis first."
[ -f __KERNEL__.xo ] || stop "__KERNEL__.xo is missing; run build_kernel.tcl with Vitis HLS first."
v++ --link --target "${2:-hw}" --platform "$1" --kernel_frequency __MHZ__ \
  --connectivity.nk __KERNEL__:1 --output __KERNEL__.xclbin __KERNEL__.xo
