run_tcl() {
  vivado_hls -f "$1"
}

run_build() {
  vivado_hls -f build_prj.tcl "$1"
}
