#!/usr/bin/env bash
# Builds the design in hls/ with __TOOL__, one step after the other:
#
#   ./build.sh                    csim csynth export synthesis
#   ./build.sh csim csynth cosim  only these, in this order
#
#   csim       compiles the C++ and compares its outputs with those of the test vectors
#   csynth     C++ to RTL: latency, initiation interval, first estimate of resources
#   cosim      simulates the RTL on the test vectors and compares it with csim (slow)
#   export     packs the RTL as an IP core
#   synthesis  logic synthesis with Vivado: the resources that count (pruned memory vanishes here)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/hls"
project=__PROJECT___prj

stop() {
  echo "build.sh: $*" >&2
  exit 1
}

on_path() {
  command -v "$1" >/dev/null || stop "$1 is not on PATH. Source settings64.sh of $2 first."
}

__RUN__

# Runs hls4ml's build_prj.tcl with the named stages on and all others off. It finds "synth=" also in
# "vsynth=", so their order counts.
build() {
  local options="" name
  [ -d "$project" ] || set -- reset "$@"
  for name in reset csim synth cosim validation export vsynth; do
    case " $* " in
      *" $name "*) options+="$name=1 " ;;
      *) options+="$name=0 " ;;
    esac
  done
  run_build "$options"
}

needs_rtl() {
  [ -d "$project/solution1/syn/verilog" ] || stop "$1 needs the RTL. Run first: ./build.sh csynth"
}

run_step() {
  echo "== $1"
  case $1 in
    csim)
      build csim
      run_tcl check_csim.tcl
      ;;
    csynth) build synth ;;
    cosim)
      needs_rtl cosim
      build cosim validation
      ;;
    export)
      needs_rtl export
      build export
      ;;
    synthesis)
      needs_rtl synthesis
      on_path vivado Vivado
      build vsynth
      ;;
  esac
}

[ $# -gt 0 ] || set -- csim csynth export synthesis
for name in "$@"; do
  case $name in
    csim | csynth | cosim | export | synthesis) ;;
    *) stop "unknown step '$name'. Allowed: csim csynth cosim export synthesis" ;;
  esac
done
on_path __PROGRAM__ "__TOOL__"
for name in "$@"; do run_step "$name"; done
echo "== done. Reports: hls/$project/solution1/syn/report, hls/vivado_synth.rpt"
