run_tcl() {
  vitis-run --mode hls --tcl "$1"
}

run_build() {
  echo "array set opt {${1//=/ } fifo_opt 0}" >build_opt.tcl
  run_tcl build_prj.tcl
}
