# Compares the outputs of the C simulation with those that the same C++ gave when it was exported.
set here [file dirname [file normalize [info script]]]
source [file join $here project.tcl]

proc stop {text} {
    puts stderr "check_csim.tcl: $text"
    exit 1
}

proc rows {path} {
    set file [open $path r]
    set lines [split [string trim [read $file]] "\n"]
    close $file
    return $lines
}

set expected [file join $here tb_data tb_output_fixed_point.dat]
if {![file exists $expected]} {
    puts "The design was exported without a simulation: nothing to compare with."
    exit 0
}
set logs [list [file join $here tb_data csim_results.log] \
    [file join $here ${project_name}_prj solution1 csim build tb_data csim_results.log]]
set found ""
foreach log $logs {
    if {[file exists $log] && ($found eq "" || [file mtime $log] > [file mtime $found])} {
        set found $log
    }
}
if {$found eq ""} { stop "csim has written no csim_results.log." }

set want [rows $expected]
set have [rows $found]
if {[llength $have] != [llength $want]} {
    stop "csim gave [llength $have] rows, expected [llength $want]."
}
set number 0
foreach have_row $have want_row $want {
    incr number
    if {[llength $have_row] != [llength $want_row]} {
        stop "row $number has [llength $have_row] values, expected [llength $want_row]."
    }
    foreach a $have_row b $want_row {
        # The test bench prints six digits.
        if {abs($a - $b) > 1e-5 * max(1.0, abs($b))} {
            stop "row $number: csim gives $a, expected $b."
        }
    }
}
puts "csim: all $number rows as exported."
exit 0
