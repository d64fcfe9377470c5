# A block design for a board with a Zynq: its processor, the kernel, and memory between them.
#
#   vivado -mode batch -source block_design.tcl                    up to the block design
#   vivado -mode batch -source block_design.tcl -tclargs bitstream up to the bitstream
#
# Needs kernel.zip of build_kernel.tcl. Writes board_prj/, and with `bitstream` the files
# design.bit and design.hwh, which PYNQ loads.
set host __HOST__
set here [file dirname [file normalize [info script]]]
if {$host ne "zynq" && $host ne "zynqmp"} {
    puts stderr "block_design.tcl: is for boards with a Zynq (pynq-z1, pynq-z2, zedboard, zcu102);\
        set hardware.part to one of them, or use link.sh for Alveo cards."
    exit 2
}
if {![file exists $here/kernel.zip]} {
    puts stderr "block_design.tcl: kernel.zip is missing; run build_kernel.tcl first."
    exit 2
}
file delete -force $here/ip
file mkdir $here/ip
exec unzip -q $here/kernel.zip -d $here/ip

create_project -force board_prj $here/board_prj -part __DEVICE__
set_property ip_repo_paths $here/ip [current_project]
update_ip_catalog
create_bd_design design_1
set vlnv [lindex [get_ipdefs -filter {NAME == __KERNEL__}] 0]
set kernel [create_bd_cell -type ip -vlnv $vlnv kernel]

if {$host eq "zynq"} {
    set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:processing_system7 ps]
    apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 \
        -config {make_external "FIXED_IO, DDR"} $ps
    set_property -dict [list CONFIG.PCW_USE_M_AXI_GP0 1 CONFIG.PCW_USE_S_AXI_HP0 1 \
        CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ __MHZ__] $ps
    set master /ps/M_AXI_GP0
    set memory /ps/S_AXI_HP0
} else {
    set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:zynq_ultra_ps_e ps]
    set_property -dict [list CONFIG.PSU__USE__M_AXI_GP0 1 CONFIG.PSU__USE__M_AXI_GP1 0 \
        CONFIG.PSU__USE__S_AXI_GP2 1 CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ __MHZ__] $ps
    set master /ps/M_AXI_HPM0_FPD
    set memory /ps/S_AXI_HP0_FPD
}
# The processor starts the kernel through its registers; the kernel reads and writes memory itself.
apply_bd_automation -rule xilinx.com:bd_rule:axi4 -config \
    [list Clk_master Auto Clk_slave Auto Clk_xbar Auto Master $master \
        Slave /kernel/s_axi_control intc_ip Auto master_apm 0] \
    [get_bd_intf_pins kernel/s_axi_control]
apply_bd_automation -rule xilinx.com:bd_rule:axi4 -config \
    [list Clk_master Auto Clk_slave Auto Clk_xbar Auto Master /kernel/m_axi_gmem \
        Slave $memory intc_ip Auto master_apm 0] \
    [get_bd_intf_pins [string trimleft $memory /]]
assign_bd_address
validate_bd_design
save_bd_design
set file [get_files design_1.bd]
make_wrapper -files $file -top -import
set_property top design_1_wrapper [current_fileset]

if {[lindex $argv 0] eq "bitstream"} {
    launch_runs impl_1 -to_step write_bitstream -jobs 4
    wait_on_run impl_1
    if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} {
        puts stderr "block_design.tcl: the implementation failed; see board_prj/."
        exit 1
    }
    set run $here/board_prj/board_prj.runs/impl_1
    file copy -force $run/design_1_wrapper.bit $here/design.bit
    foreach hwh [glob $here/board_prj/board_prj.gen/sources_1/bd/design_1/hw_handoff/*.hwh] {
        file copy -force $hwh $here/design.hwh
    }
}
