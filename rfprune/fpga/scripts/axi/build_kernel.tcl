# Makes of the kernel an IP core (kernel.zip) and, with Vitis HLS, a .xo file, in this folder.
#
#   vitis-run --mode hls --tcl build_kernel.tcl      or      vitis_hls -f build_kernel.tcl
#   vivado_hls -f build_kernel.tcl                   (before 2021: the IP core only)
open_project -reset kernel_prj
set_top __KERNEL__
add_files __KERNEL__.cpp -cflags "-std=c++0x -I../hls/firmware"
add_files ../hls/firmware/__PROJECT__.cpp -cflags "-std=c++0x"
add_files -tb ../hls/firmware/weights
open_solution -reset solution1
set_part __DEVICE__
create_clock -period __CLOCK__ -name default
config_compile -name_max_length 80
csynth_design
export_design -format ip_catalog -output kernel.zip
if {[catch {export_design -format xo -output __KERNEL__.xo} message]} {
    puts "no .xo file, which only Alveo cards need: $message"
}
exit
